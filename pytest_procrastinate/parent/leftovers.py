"""What tests leave running: to whom it belongs, when it may be ended, what is said about it.

Orphans of a test become children of the pytest process (a subreaper). One is ended once no test
that may have started it is running; those of a fork server when that has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_procrastinate.options import SETTINGS
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.process.cleanup import ignores_terminal_output_stops
from pytest_procrastinate.process.leftovers import Leftover, Outcome, end, look_at
from pytest_procrastinate.process.manager import ProcessManager

SETTLE_SECONDS = 0.25  # for who is on its way out: a resource tracker, a pool's worker
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL
CHASE_SECONDS = 5.0  # as the run ends, for who forks and ends, again and again
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")  # how exactly the kernel tells when a process began
_WALL = 0x40000000  # waitpid(2): also children that a clone() made

LEFT = pytest.StashKey["Account"]()


@dataclasses.dataclass
class Account:
    """What was left in this run, for the summary."""

    processes: int = 0
    threads: int = 0
    tests: set[str] = dataclasses.field(default_factory=set)
    lines: list[str] = dataclasses.field(default_factory=list)
    """What ``warn`` tells."""

    def as_message(self) -> tuple[object, ...]:
        """Return it as builtins, for another process."""
        # A name of a file may be no UTF-8.
        lines = [line.encode(errors="backslashreplace").decode() for line in self.lines]
        return self.processes, self.threads, sorted(self.tests), lines

    def add(self, message: tuple[Any, ...]) -> None:
        """Add what :meth:`as_message` made of another one."""
        processes, threads, tests, lines = message
        self.processes += processes
        self.threads += threads
        self.tests.update(tests)
        self.lines += lines

    def summary(self) -> list[str]:
        """Return the lines to print."""
        rows = [f"forked: {line}" for line in self.lines]
        counts = [
            f"{count} {noun if count == 1 else plural}"
            for count, noun, plural in (
                (self.processes, "process", "processes"),
                (self.threads, "thread", "threads"),
            )
            if count
        ]
        if counts:
            tests = f"{len(self.tests)} test{'' if len(self.tests) == 1 else 's'}"
            if "" in self.tests:  # it cannot be told which, so not how many either
                tests = "tests"
            left = " and ".join(counts)
            rows.append(f"forked: ended {left} left by {tests} (--forked-leaks=warn names them)")
        return rows


@dataclasses.dataclass
class Span:
    """When a test ran, in seconds since the machine booted."""

    attempt: Attempt
    began: float
    ended: float | None = None

    @property
    def pid(self) -> int:
        """The test's own child; 0 as long as a fork server works for it."""
        child = self.attempt.child
        return 0 if child is None or child.pid is None else child.pid


class Leftovers:
    """Finds and ends what tests of one run leave.

    :param manager: Looks after the children that are not left over.
    """

    def __init__(self, config: pytest.Config, manager: ProcessManager) -> None:
        self._config = config
        self._account = config.stash.setdefault(LEFT, Account())
        self._manager = manager
        self._known: set[bytes] = set()
        self._spans: list[Span] = []
        self._waiting: dict[int, tuple[Leftover, list[Span]]] = {}
        """What was found, and the tests that may have started it: those that ran by then."""
        self._children = -1
        self._others_since: tuple[set[bytes], float] = set(), 0.0
        """What children there were when others came to work, and when that was."""
        self._group = os.getpgrp()
        self._tests_differ = not ignores_terminal_output_stops(os.getpid())

    def open(self) -> None:
        """Begin to notice: what is there now is nobody's leftover."""
        with contextlib.suppress(OSError):
            self._children = os.open(
                f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC
            )
        self._known.update(self._read())
        self._leave_to_others()

    def close(self, *, at_once: bool) -> None:
        """End all that is left, and notice no more.

        :param at_once: By SIGKILL: nobody waits for it.
        :raises KeyboardInterrupt: Nobody wants to wait any longer. All has been killed.
        """
        if self._children == -1:
            return
        for span in self._spans:
            span.ended = span.ended or _now()
        try:
            self._chase(0.0 if at_once else GRACE_SECONDS)
        except KeyboardInterrupt:
            self._chase(0.0)
            raise
        finally:
            os.close(self._children)
            self._children = -1
            self._spans.clear()

    def _chase(self, grace_seconds: float) -> None:
        """End all that is left; also what forks and ends, again and again."""
        settle_seconds = min(SETTLE_SECONDS, grace_seconds)
        deadline = time.monotonic() + CHASE_SECONDS
        while self._strangers():
            self.collect(last=True, settle_seconds=settle_seconds, grace_seconds=grace_seconds)
            settle_seconds = 0.0
            if time.monotonic() >= deadline:
                break

    @contextlib.contextmanager
    def tests_at_work(self) -> Iterator[None]:
        """Take the children that appear before and after for those of items of this process."""
        self.take_back()
        try:
            yield
        finally:
            self._leave_to_others()

    @contextlib.contextmanager
    def others_at_work(self) -> Iterator[None]:
        """Take the children that appear meanwhile for those of the hooks that are called."""
        self._leave_to_others()
        try:
            yield
        finally:
            self.take_back()

    def _leave_to_others(self) -> None:
        if self._children != -1:
            self._others_since = self._read(), _now()

    def take_back(self) -> None:
        """Take the children that have appeared since others came to work for theirs."""
        before, began = self._others_since
        for name in self._read() - before - self._known:
            if not self._is_of_a_test(int(name)) and not _is_older(int(name), began):
                self._known.add(name)

    def started(self, attempt: Attempt) -> None:
        """Note that a test's turn has come."""
        if self._children != -1:
            self._spans.append(Span(attempt, _now()))

    def goes_on(self, attempt: Attempt, following: Attempt) -> None:
        """Note that a child goes on with another test: what it leaves is found when it ends."""
        for span in self._spans:
            if span.attempt is attempt:
                span.attempt = following

    def ended(self, attempt: Attempt) -> None:
        """Note that a test's child has ended, and see to what it left."""
        for span in self._spans:
            if span.attempt is attempt and span.ended is None:
                span.ended = _now()
        if self._children != -1:
            if self._waiting or self._strangers():
                self.collect()
            self._spans = [span for span in self._spans if span.ended is None]

    def things_left(self, attempt: Attempt, payload: object) -> None:
        """Note what a test left in its own process, which has ended with it."""
        match payload:
            case ([*threads], [*descriptors]):
                left = [str(each) for each in (*threads, *descriptors)]
            case _:
                return
        if attempt.settings.leaks == "kill":
            self._account.threads += len(threads)
            self._account.tests.add(attempt.item.nodeid)
        elif attempt.settings.leaks == "warn":
            self._account.lines += [f"{attempt.item.nodeid} left {each}" for each in left]
        attempt.left += left

    def reap(self) -> None:
        """Reap orphans of tests that have ended, as init would: a test may wait until they are gone."""
        for pid in self._strangers():
            if _group_and_session(pid)[0] == self._group:
                continue
            found = look_at(pid)
            if found is not None and not found.command:
                _reap(pid)

    def collect(
        self,
        *,
        last: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """End what may be ended now.

        :param last: The fork servers have ended, too.
        :param settle_seconds: For those that are on their way out already.
        :param grace_seconds: Between SIGTERM and SIGKILL.
        """
        for pid in self._strangers():
            if pid in self._waiting:
                continue
            found = look_at(pid)
            if found is None:
                continue
            if not found.command and _reap(pid):  # it has ended
                continue
            if _group_and_session(pid)[0] == self._group and not self._is_of_a_test(pid):
                self._known.add(b"%d" % pid)  # a hook's own
            else:
                self._waiting[pid] = found, self._owners(found)
        ready: list[tuple[Leftover, Attempt | None]] = []
        for pid, (process, owners) in list(self._waiting.items()):
            if all(span.ended is not None for span in owners) and (owners or last):
                del self._waiting[pid]
                ready.append((process, owners[0].attempt if len(owners) == 1 else None))
        by_mode: dict[str, list[tuple[Leftover, Attempt | None]]] = {}
        for process, owner in ready:
            by_mode.setdefault(self._mode(owner), []).append((process, owner))
        for process, _ in by_mode.pop("off", []):
            self._known.add(b"%d" % process.pid)
        for mode, group in by_mode.items():
            self._end(mode, group, settle_seconds, grace_seconds)

    def _mode(self, owner: Attempt | None) -> str:
        settings = self._config.stash[SETTINGS]
        if owner is not None:
            return owner.settings.leaks
        return next((each.leaks for each in settings.values() if each.forked), "kill")

    def _end(
        self,
        mode: str,
        group: list[tuple[Leftover, Attempt | None]],
        settle_seconds: float,
        grace_seconds: float,
    ) -> None:
        outcomes = end(
            [process for process, _ in group],
            settle_seconds=settle_seconds,
            grace_seconds=grace_seconds,
        )
        for process, owner in group:
            if outcomes.get(process, Outcome.SETTLED) is Outcome.SETTLED:
                continue
            if owner is None:
                text = f"a test, it cannot be told which, left {process.describe()}"
            else:
                text = f"{owner.item.nodeid} left {process.describe()}"
                owner.left.append(process.describe())
            if mode == "kill":
                self._account.processes += 1
                self._account.tests.add("" if owner is None else owner.item.nodeid)
            elif mode == "warn" or owner is None:
                self._account.lines.append(text)

    def _is_of_a_test(self, pid: int) -> bool:
        """Whether a forked test started it, wherever it is now."""
        # Its environment says nothing while it calls exec, and that of a fork is pytest's.
        if self._tests_differ and ignores_terminal_output_stops(pid):
            return True
        if self._sure_owners(pid):
            return True
        nodeid, settings = _test_named_by(pid), self._config.stash[SETTINGS]
        return any(each.forked and item.nodeid == nodeid for item, each in settings.items())

    def _strangers(self) -> list[int]:
        """Return the children that may be left over: neither known nor looked after."""
        names = self._read() - self._known
        own = {child.pid for child in self._manager.children.values()} if names else ()
        return [pid for name in names if (pid := int(name)) not in own]

    def _sure_owners(self, pid: int) -> list[Span]:
        """Return the tests in whose process group or session it is; their children may have died."""
        groups = set(_group_and_session(pid)) - {0}  # a span without a child has the number 0
        return [span for span in self._spans if span.pid in groups]

    def _owners(self, process: Leftover) -> list[Span]:
        """Return the tests that may have started it; those of a fork server have none."""
        if sure := self._sure_owners(process.pid):
            return sure
        began = process.started * TICK_SECONDS
        possible = [
            span
            for span in self._spans
            # Numbers are given in order: what a fork server started before has a lower one.
            if process.pid > span.pid > 0
            and began + TICK_SECONDS >= span.began - TICK_SECONDS
            and (span.ended is None or began <= span.ended)
        ]
        if len(possible) > 1:
            nodeid = _test_named_by(process.pid)
            named = [span for span in possible if span.attempt.item.nodeid == nodeid]
            return named or possible
        return possible

    def _read(self) -> set[bytes]:
        if self._children == -1:
            return set()
        try:
            return set(os.pread(self._children, 1 << 16, 0).split())
        except OSError:
            return set()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _is_older(pid: int, moment: float) -> bool:
    """Whether a process began before a moment: our child since, it is a test's orphan."""
    found = look_at(pid)
    return found is not None and (found.started + 1) * TICK_SECONDS < moment


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG | _WALL)[0] == pid
    except ChildProcessError:
        return True


def _test_named_by(pid: int) -> str:
    """Return the test that a process's environment named as it began; '' for none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            _, _, value = (b"\0" + file.read()).partition(b"\0PYTEST_CURRENT_TEST=")
    except OSError:
        return ""
    return os.fsdecode(value.partition(b"\0")[0].rpartition(b" (")[0])


def _group_and_session(pid: int) -> tuple[int, int]:
    try:
        return os.getpgid(pid), os.getsid(pid)
    except OSError:
        return 0, 0
