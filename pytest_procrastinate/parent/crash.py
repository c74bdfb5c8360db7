"""A child that died, told as pytest would tell a failure: an attempt becomes reports."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path

import pytest

from pytest_procrastinate.options import THREADS
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.replay import tell_teardown
from pytest_procrastinate.parent.stack import Frame, read_stack, relative_path
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.pytest_private import TerminalRepr, crash_repr, expected_to_fail
from pytest_procrastinate.quantities import write_duration, write_size

LAST_WORDS = re.compile(r"^Fatal Python error: .+$", re.MULTILINE)  # faulthandler's
AFTER = {"": "setup", "setup": "call", "call": "teardown", "teardown": "teardown"}


class ChildCrashed(Exception):  # noqa: N818  # what it is, not an error of ours
    """The child of a test died. Never raised: it is what ``xfail(raises=...)`` may name."""


def tell_crash(attempt: Attempt) -> None:
    """Tell pytest what a dead child still owed."""
    item = attempt.item
    where = {"nodeid": item.nodeid, "location": item.location}
    if "pytest_runtest_logstart" not in attempt.told.names:
        item.ihook.pytest_runtest_logstart(**where)
    if attempt.outcome is not None:
        _tell_crash_run_again(attempt)
        return
    for report in crash_reports(attempt):
        if report.when == "teardown":
            tell_teardown(item, report, attempt.told.scope_messages)
        else:
            item.ihook.pytest_runtest_logreport(report=report)
    if "pytest_runtest_logfinish" not in attempt.told.names:
        item.ihook.pytest_runtest_logfinish(**where)


def crash_reports(attempt: Attempt) -> list[pytest.TestReport]:
    """Return the reports that a dead child still owed: the crash, then what reporters expect."""
    item, remains = attempt.item, attempt.remains
    phase = remains.phase or AFTER[attempt.told.phase]
    now, wall = time.monotonic(), time.time()
    seconds = max(0.0, now - remains.phase_began) if remains.phase_began else 0.0
    report = _report(item, phase, wall - seconds, wall)
    report.user_properties += [pair for name, pair in attempt.told.noted if name == "property"]
    report.sections = [*attempt.told.sections, *_captured(attempt, phase)]
    unexpected = _what_is_wrong_with_death(attempt, phase)
    if unexpected is None:  # dies() expects it
        return [report, _report(item, "teardown", wall, wall)]
    report.outcome = "failed"
    text = _CrashText(attempt, phase, unexpected)
    report.longrepr = text.longrepr()
    reason = expected_to_fail(item, ChildCrashed(text.headline), phase)
    if reason is not None and attempt.problem is None:
        report.outcome = "skipped"
        report.wasxfail = reason
    if attempt.outcome:
        report.outcome = attempt.outcome  # type: ignore[assignment]
    item.ihook.pytest_forked_crashed(item=item, report=report)
    if phase == "teardown":
        return [report]
    teardown = _report(item, "teardown", wall, wall)
    teardown.sections = list(report.sections)
    teardown.user_properties = list(report.user_properties)
    return [report, teardown]


def _what_is_wrong_with_death(attempt: Attempt, phase: str) -> str | None:
    """Return why a death is not the one that ``dies()`` expects; None if it is, "" without it."""
    dies, ending = attempt.settings.dies, attempt.ending
    if dies is None:
        return ""
    if (
        attempt.problem is not None
        or ending is None
        or phase != "call"
        or not dies.is_met_by(ending)
    ):
        return f"dies() expects {dies.describe()} during the call"
    if dies.match is not None:
        told = "\n".join([text for name, text in attempt.remains.captured if name == "stderr"])
        if not dies.match.search(f"{told}\n{attempt.remains.stack_text}"):
            return f"dies() expects {dies.match.pattern!r} on stderr"
    return None


def _tell_crash_run_again(attempt: Attempt) -> None:
    """Tell of a crash after which the test is run again, if whoever wants it tells at all."""
    if attempt.outcome:
        report = crash_reports(attempt)[0]
        attempt.item.ihook.pytest_runtest_logreport(report=report)


def _report(item: pytest.Item, phase: str, start: float, stop: float) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed",
        longrepr=None,
        when=phase,  # type: ignore[arg-type]
        duration=stop - start,
        start=start,
        stop=stop,
        user_properties=item.user_properties,
    )


def _captured(attempt: Attempt, phase: str) -> list[tuple[str, str]]:
    """Return what had been captured when the child died, named and ordered as pytest does."""
    return [(f"Captured {name} {phase}", text) for name, text in attempt.remains.captured if text]


def _limit(attempt: Attempt) -> str | None:
    """Return which limit a child went over, and how it was set."""
    cause = "" if attempt.ending is None else attempt.ending.cause
    settings = attempt.settings
    if cause == "memory limit" and settings.memory_limit_bytes is not None:
        size = write_size(settings.memory_limit_bytes)
        return f"limit: {size} of memory more than at the fork (RLIMIT_DATA)"
    if cause == "cpu limit" and settings.cpu_limit_seconds is not None:
        return f"limit: {write_duration(settings.cpu_limit_seconds)} of CPU time (RLIMIT_CPU)"
    return None


def _describe(attempt: Attempt, ending: Ending) -> str:
    limit = attempt.limit
    if ending.cause == "lost" and (words := LAST_WORDS.search(attempt.remains.stack_text)):
        return f"{ending.describe()}; its last words: {words.group()}"
    if ending.cause != "timeout" or limit is None:
        return ending.describe()
    status = ending.with_cause("").describe()
    return f"ran into its timeout of {write_duration(limit.seconds)} ({limit.source}; {status})"


def _what_happened(attempt: Attempt, phase: str) -> str:
    """Return how a child ended, or why what it told cannot be believed; both, if we have ended it."""
    if attempt.ending is None or (attempt.problem is not None and not attempt.cause):
        return attempt.problem or "is gone"
    ending = f"{_describe(attempt, attempt.ending)} in {phase}"
    return ending if attempt.problem is None else f"{ending}; {attempt.problem}"


class _CrashText:
    """What a person would ask next, in the style of ``--tb``."""

    def __init__(self, attempt: Attempt, phase: str, unexpected: str) -> None:
        self._unexpected, self._phase = unexpected, phase
        item = attempt.item
        self._attempt = attempt
        self._item = item
        self._stack_text = attempt.remains.stack_text.strip()
        self._stack = read_stack(attempt.remains.stack_text)
        self._base = item.config.invocation_params.dir
        self._place = self._where()
        place = self._place.place(item.config.rootpath)
        self.headline = f"{_what_happened(attempt, phase)}, at {place}"

    def longrepr(self) -> TerminalRepr:
        style = self._item.config.getoption("tbstyle", "auto")
        rows: list[str] = []
        if style == "line":
            if self._phase != "call":  # where it failed in the call, pytest writes the headline
                rows.append(f"E   {self.headline}")
            return crash_repr(self._place.path, self._place.line, self.headline, rows)
        if style in ("auto", "long") and (source := self._place.source()):
            rows += [*source, ""]
        rows.append(self.headline)
        if self._attempt.told.internal_error:
            rows += ["", *self._attempt.told.internal_error.splitlines()]
        if style == "native" and self._stack_text:
            rows += ["", self._stack_text]
        elif self._stack:
            rows += ["", "the stack of the thread that died, most recent call first:"]
            rows += [f"  {frame.place(self._base)} in {frame.function}" for frame in self._stack]
        rows += ["", *self._facts()]
        return crash_repr(self._place.path, self._place.line, self.headline, rows)

    def _where(self) -> Frame:
        """Return the test's own line; without a stack that of its definition."""
        path, line, name = self._item.reportinfo()
        own = os.fspath(path)
        for wanted in (
            lambda frame: frame.path == own,
            lambda frame: Path(frame.path).is_relative_to(self._item.config.rootpath),
            lambda frame: True,
        ):
            for frame in self._stack:
                if wanted(frame):
                    return frame
        return Frame(own, (line or 0) + 1, name)

    def _facts(self) -> list[str]:
        ending = self._attempt.ending
        rows = []
        if ending is not None and ending.signal is not None:  # the words of pytest-forked 1.7
            rows.append(f"CRASHED with signal {ending.signal} ({ending.signal_name})")
        elif ending is not None and ending.exit_status is not None:
            rows.append(f"EXITED with status {ending.exit_status}")
        if self._unexpected:
            rows.append(self._unexpected)
        if limit := _limit(self._attempt):
            rows.append(limit)
        if self._attempt.stages:
            rows.append(f"ended in stages: {', '.join(self._attempt.stages)}")
        threads = self._item.config.stash.get(THREADS, [])
        if threads and ending is not None and ending.cause == "timeout":
            rows.append(f"the pytest process had other threads as it forked: {', '.join(threads)}")
        facts = []
        if self._attempt.remains.began:
            facts.append(f"ran {time.monotonic() - self._attempt.remains.began:.2f} s")
        if ending is not None and ending.usage is not None:
            facts.append(f"peak memory {ending.usage.peak_memory_bytes / (1 << 20):.0f} MiB")
        if facts:
            rows.append(", ".join(facts))
        rows.append(f"run it again: python -m pytest --forked {shlex.quote(self._argument())}")
        return rows

    def _argument(self) -> str:
        """Return the item as one names it on the command line, from where pytest was started."""
        _, *names = self._item.nodeid.split("::")
        return "::".join([relative_path(str(self._item.path), self._base), *names])
