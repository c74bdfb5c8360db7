"""A pytest plugin that writes what a run told, one JSON row per line, into the file $RECORD.

Loaded into both runs of a comparison with ``-p recorder``. Nothing is written by workers of xdist
or by children: a hook that was called there as well would otherwise count twice.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

MAIN_PID = os.getpid()


def put(kind: str, **what: Any) -> None:
    if os.getpid() == MAIN_PID and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["RECORD"], "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps({"kind": kind, **what}, default=str) + "\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    put(
        "report",
        nodeid=str(report.nodeid),
        when=report.when,
        outcome=report.outcome,
        xfail=getattr(report, "wasxfail", None),
        context=str(getattr(report, "context", None)),
        sections=report.sections,
        properties=[[name, str(value)] for name, value in report.user_properties],
        longrepr=report.longreprtext,
    )


def pytest_warning_recorded(warning_message: Any, when: str, nodeid: str) -> None:
    put("warning", nodeid=nodeid, when=when, text=str(warning_message.message))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    put("summary", counts={name: len(rows) for name, rows in stats.items() if name})


def pytest_sessionfinish(exitstatus: int) -> None:
    put("session", status=int(exitstatus))
