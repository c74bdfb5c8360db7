"""Run a suite plainly and forked, and compare what the two runs told.

Where plain pytest defines what is right, a test does not spell it out: it asks
for the same rows. A recorder is loaded into both runs; it writes one row for
each call of a hook that tells, with the process in which it was called, so a
hook called twice, or in a child, is a difference. Addresses, seconds and the
numbers of temporary folders are masked.

What a suite wants to tell beside that (which fixture was set up, in which
process) it notes with ``import noting; noting.note("word", ...)``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang
PLUGIN = ("-p", "pytest_procrastinate")
FORKED = (*PLUGIN, "--forked")

MASKS = [
    (r"\b0x[0-9A-Fa-f]+", "0xADDRESS"),
    (r"runpytest-\d+", "runpytest-N"),
    (r"cache-(plain|forked)", "cache"),
    (r"\b\d+\.\d+(s\b| seconds\b)", "N s"),
    (r"\b\d{1,2}:\d\d:\d\d\b", "TIME"),
    (r"line repeated \d+ more times", "line repeated N more times"),
    (r"\bforked_\w+, ", ""),  # our own fixtures, among those available
    (r"([=_!-])\1{2,}", r"\1\1\1"),  # rules are as long as what they surround is short
]

NOTING = """
import os

def note(*words):
    line = "\\t".join(map(str, (os.getpid(), *words))) + "\\n"
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode("utf-8", "backslashreplace"))
    finally:
        os.close(descriptor)
"""

RECORDER = """
import json, os, re
from os import getpid  # a test may patch the other

# those of the terminal, which capture catches as unittest's subtests are told
LETTERS = re.compile(r"([,uy-]|\\s|\\[ *\\d+%\\])*")

def pytest_configure(config):
    global main_pid
    main_pid = getpid()
    if hasattr(config, "workerinput"):  # one of xdist: the controller tells
        config.pluginmanager.unregister(name="recorder")

def put(kind, where, **what):
    row = {"kind": kind, "where": str(where), "main": getpid() == main_pid, **what}
    line = json.dumps(row, default=str) + "\\n"
    descriptor = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)

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
        sections=[s for s in report.sections if not LETTERS.fullmatch(s[1])],
        properties=[[name, text_of(value)] for name, value in report.user_properties],
        keywords=sorted(report.keywords),
        longrepr=report.longreprtext,
        longrepr_kind=kind_of(report.longrepr),
        timed=report.duration >= 0 and report.stop >= report.start > 0,
    )

def kind_of(longrepr):
    if longrepr is None or isinstance(longrepr, (str, tuple)):
        return type(longrepr).__name__
    return "repr"

def text_of(value):
    try:
        return str(value)
    except BaseException:
        return "has no text"

def pytest_runtest_logfinish(nodeid, location):
    put("finish", nodeid, location=location)

def pytest_warning_recorded(warning_message, when, nodeid, location):
    put(
        "warning",
        nodeid,
        when=when,
        location=location,
        category=warning_message.category.__name__,
        is_warning=isinstance(warning_message.message, Warning),
        text=str(warning_message.message),
        file=f"{os.path.basename(warning_message.filename)}:{warning_message.lineno}",
    )

def pytest_keyboard_interrupt(excinfo):
    put("interrupt", "", type=excinfo.typename, text=str(excinfo.value))

def pytest_internalerror(excrepr):
    put("internal error", "", text=str(excrepr))

def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    put("summary", "", counts={name: len(rows) for name, rows in stats.items()})

def pytest_sessionfinish(session, exitstatus):
    put(
        "session",
        "",
        status=int(exitstatus),
        failed=session.testsfailed,
        collected=session.testscollected,
    )
"""


@dataclasses.dataclass(frozen=True)
class Told:
    """What one run told: rows of the recorder, notes of the suite, output."""

    status: int
    rows: list[dict[str, Any]]
    notes: list[list[str]]
    result: pytest.RunResult
    """As pytester gives it."""
    output: list[str]
    """Masked lines from "collected" on: what comes before names plugins and options."""
    errors: list[str]
    """The masked lines of stderr."""

    def reports(self, name: str = "") -> list[dict[str, Any]]:
        """Return the reports of the tests whose nodeid contains ``name``."""
        return [r for r in self.rows if r["kind"] == "report" and name in r["where"]]

    def outcomes(self, name: str = "") -> list[str]:
        """Return "phase outcome" for each of :meth:`reports`, xfailed and xpassed told."""
        return [f"{r['when']} {_outcome(r)}" for r in self.reports(name)]

    def verdicts(self) -> dict[str, list[str]]:
        """Return :meth:`outcomes` by the part of the nodeid after the last ``::``."""
        found: dict[str, list[str]] = {}
        for r in self.reports():
            name = r["where"].rpartition("::")[2]
            found.setdefault(name, []).append(f"{r['when']} {_outcome(r)}")
        return found

    def noted(self, word: str) -> list[list[str]]:
        """Return the notes that begin with ``word``: the process id, then what follows."""
        return [[pid, *rest] for pid, first, *rest in self.notes if first == word]


def _outcome(report: Mapping[str, Any]) -> str:
    if report["wasxfail"] is not None:
        return "xfailed" if report["outcome"] == "skipped" else "xpassed"
    return str(report["outcome"])


def mask(text: str) -> str:
    """Return ``text`` with what differs from run to run replaced."""
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return text


def run(
    pytester: pytest.Pytester,
    *args: str,
    label: str = "run",
    env: Mapping[str, str] | None = None,
    installed: bool = False,
) -> Told:
    """Run pytest in a process of its own with the recorder loaded.

    :param label: Names the files of this run. Two runs with the same label share
        pytest's cache, as ``--lf`` needs it; others do not.
    :param installed: Load every plugin that is installed. Otherwise only those
        of ``args``, which is several times as fast.
    """
    names = {"recorder.py": RECORDER, "noting.py": NOTING}
    for name, source in names.items():
        if not (pytester.path / name).exists():
            (pytester.path / name).write_text(source)
    told, notes = pytester.path / f"told-{label}", pytester.path / f"notes-{label}"
    for path in (told, notes):
        path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CI", raising=False)  # it changes how lines are shortened
        patch.setenv("COLUMNS", "200")
        if sys.dont_write_bytecode:  # or each run would compile the plugin anew
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(pytester.path.parent / "pycache"))
        if not installed:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("TOLD", str(told))
        patch.setenv("NOTES", str(notes))
        for variable, value in (env or {}).items():
            patch.setenv(variable, value)
        result = pytester.runpytest_subprocess(
            *("-p", "recorder", "-o", f"cache_dir=cache-{label}"),
            *args,
            timeout=TIMEOUT_SECONDS,
        )
    return Told(
        status=int(result.ret),
        rows=[json.loads(mask(line)) for line in _lines(told)],
        notes=[line.split("\t") for line in _lines(notes)],
        result=result,
        output=_from_collected([mask(line) for line in result.outlines]),
        errors=[mask(line) for line in result.errlines],
    )


def _lines(path: Any) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _from_collected(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if re.match(r"collect(ed|ing) ", line):
            return lines[number:]
    return lines


def plain(pytester: pytest.Pytester, *args: str, **options: Any) -> Told:
    """Run the suite as pytest itself would."""
    return run(pytester, *args, label="plain", **options)


def loaded(pytester: pytest.Pytester, *args: str, **options: Any) -> Told:
    """Run the suite with the plugin, which forks what is marked."""
    return run(pytester, *PLUGIN, *args, label="loaded", **options)


def forked(pytester: pytest.Pytester, *args: str, **options: Any) -> Told:
    """Run the suite with ``--forked``."""
    return run(pytester, *FORKED, *args, label="forked", **options)


def assert_same(one: Told, other: Told, *, output: bool = True) -> None:
    """Fail with a diff unless both told the same, in the same order.

    :param output: Compare what was printed, too.
    """
    assert_same_lines(_told(one), _told(other))
    if output:
        assert_same_lines(one.output, other.output)
        assert_same_lines(one.errors, other.errors)


def assert_same_lines(one: Iterable[str], other: Iterable[str]) -> None:
    """Fail with a diff unless the lines of a plain and a forked run are equal."""
    diff = [*difflib.unified_diff([*one], [*other], "plain", "forked", "", "", 1, "")]
    assert not diff, "\n" + "\n".join(diff)


def _told(told: Told) -> list[str]:
    """Return one line for each thing told, so that a diff shows no more than differs."""
    lines = []
    for row in told.rows:
        title = " ".join(str(row[key]) for key in ("kind", "where", "when") if key in row)
        details = [
            f"{title}: {key}: {json.dumps(value)}"
            for key, value in sorted(row.items())
            if value not in ([], {}, None, "None", "", row["kind"], row["where"])
        ]
        lines += details or [title]
    return [*lines, f"exit status {told.status}"]


def compare(
    pytester: pytest.Pytester, *args: str, output: bool = True, **options: Any
) -> tuple[Told, Told]:
    """Run the suite both ways, assert that they told the same, and return both."""
    both = plain(pytester, *args, **options), forked(pytester, *args, **options)
    assert_same(*both, output=output)
    return both


def compare_junitxml(pytester: pytest.Pytester, *args: str) -> tuple[Told, Told]:
    """Run both ways with ``--junitxml``, assert equal files, and return what was told."""
    texts: list[list[str]] = []
    both: list[Told] = []
    for label, mode in (("plain", plain), ("forked", forked)):
        told = mode(pytester, f"--junitxml={label}.xml", *args)
        text = (pytester.path / f"{label}.xml").read_text()
        text = re.sub(r'(time|timestamp|hostname)="[^"]*"', r'\1=""', text)
        texts.append(mask(text).replace("><", ">\n<").splitlines())
        told.output[:] = [line for line in told.output if f"{label}.xml" not in line]
        both.append(told)
    assert_same_lines(*texts)
    return both[0], both[1]


def headline(report: Mapping[str, Any]) -> str:
    """Return the line of a crash's longrepr that says how the child ended."""
    for line in report["longrepr"].splitlines():
        if re.search(r"\bSIG[A-Z0-9]+\b|exited with", line) and ", at " in line:
            return str(line).strip()
    return f"no line says it: {report['longrepr']!r}"


def line_of(pytester: pytest.Pytester, name: str, text: str) -> int:
    """Return the number of the only line of a file that holds ``text``."""
    lines = (pytester.path / name).read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if text in line]
    return number
