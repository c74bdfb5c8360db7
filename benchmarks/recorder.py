"""A pytest plugin that writes what a run told, one JSON row per line, into the file $RECORD.

Loaded into both runs of a comparison with ``-p recorder``. Nothing is written by workers of xdist
or by children: a hook that was called there as well would otherwise count twice.
"""

from __future__ import annotations

import json
import os
import re
from types import SimpleNamespace
from typing import Any

import pytest

# What a test patches in os, or pyfakefs in each module that has it, is not for who records.
REAL = SimpleNamespace(**vars(os))
MAIN_PID = os.getpid()
RECORD = os.path.abspath(os.environ["RECORD"])  # a test may empty the environment
IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ

# those of the terminal, which capture catches as unittest's subtests are told
LETTERS = re.compile(r"([,uy-]|\s|\[ *\d+%\])*")


def put(kind: str, **what: Any) -> None:
    if REAL.getpid() == MAIN_PID and not IN_WORKER:
        line = json.dumps({"kind": kind, **what}, default=str) + "\n"
        descriptor = REAL.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            REAL.write(descriptor, line.encode("utf-8", "backslashreplace"))
        finally:
            REAL.close(descriptor)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if not report.passed:
        put(
            "collect",
            nodeid=str(report.nodeid),
            outcome=report.outcome,
            longrepr=report.longreprtext,
        )


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    put("start", nodeid=str(nodeid), location=location)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    put(
        "report",
        nodeid=str(report.nodeid),
        when=report.when,
        type=type(report).__name__,
        outcome=report.outcome,
        xfail=getattr(report, "wasxfail", None),
        location=report.location,
        context=str(getattr(report, "context", None)),
        sections=[each for each in report.sections if not LETTERS.fullmatch(each[1])],
        properties=[[name, str(value)] for name, value in report.user_properties],
        keywords=sorted(report.keywords),
        longrepr=report.longreprtext,
        timed=report.duration >= 0 and report.stop >= report.start > 0,
    )


def pytest_runtest_logfinish(nodeid: str, location: Any) -> None:
    put("finish", nodeid=str(nodeid), location=location)


def pytest_warning_recorded(warning_message: Any, when: str, nodeid: str) -> None:
    place = f"{warning_message.filename}:{warning_message.lineno}"
    text = f"{place}: {warning_message.category.__name__}: {warning_message.message}"
    put("warning", nodeid=nodeid, when=when, text=text)


def pytest_internalerror(excrepr: Any) -> None:
    put("internal error", nodeid="", text=str(excrepr))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    put("summary", counts={name: len(rows) for name, rows in stats.items() if name})


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    put(
        "session",
        status=int(exitstatus),
        failed=session.testsfailed,
        collected=session.testscollected,
    )
