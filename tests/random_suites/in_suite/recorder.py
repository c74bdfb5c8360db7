"""A plugin: a line for each call of a hook that tells, in the file that TOLD names."""

import json
import os


def put(kind, where, **what):
    row = {"kind": kind, "where": str(where), "pid": os.getpid(), **what}
    line = json.dumps(row, default=str) + "\n"
    descriptor = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def pytest_sessionstart(session):
    put("main", "")


def pytest_collectreport(report):
    if not report.passed:
        put("collect", report.nodeid, outcome=report.outcome, longrepr=report.longreprtext)


def pytest_runtest_logstart(nodeid, location):
    put("start", nodeid, location=location)


def pytest_runtest_logreport(report):
    put(
        "report",
        report.nodeid,
        when=report.when,
        type=type(report).__name__,
        outcome=report.outcome,
        wasxfail=getattr(report, "wasxfail", None),
        location=report.location,
        context=str(getattr(report, "context", None)),
        sections=report.sections,
        properties=[[name, str(value)] for name, value in report.user_properties],
        keywords=sorted(report.keywords),
        longrepr=report.longreprtext,
        timed=report.duration >= 0 and report.stop >= report.start > 0,
    )


def pytest_runtest_logfinish(nodeid, location):
    put("finish", nodeid, location=location)


def pytest_warning_recorded(warning_message, when, nodeid, location):
    put(
        "warning",
        nodeid,
        when=when,
        location=location,
        category=warning_message.category.__name__,
        text=str(warning_message.message),
        file=f"{os.path.basename(warning_message.filename)}:{warning_message.lineno}",
    )


def pytest_keyboard_interrupt(excinfo):
    put("interrupt", "", type=excinfo.typename, text=str(excinfo.value))


def pytest_internalerror(excrepr):
    put("internal error", "", text=str(excrepr))


def pytest_terminal_summary(terminalreporter):
    counts = {name: len(rows) for name, rows in terminalreporter.stats.items()}
    put("summary", "", counts=counts)


def pytest_sessionfinish(session, exitstatus):
    put("session", "", status=int(exitstatus), failed=session.testsfailed)
