"""A child's part in its supervision: its own group, stacks on demand, an exception at the timeout.

The pytest process keeps the deadlines and sends two signals that tests hardly use. The first is
handled in C, so that stacks are written also while C code holds the GIL.
"""

from __future__ import annotations

import faulthandler
import re
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from pytest_procrastinate.child.files import ChildFiles, read_text
from pytest_procrastinate.child.leftovers import OwnThings
from pytest_procrastinate.child.telling import PhaseMarker
from pytest_procrastinate.options import RUN_SETTINGS, SETTINGS, Settings, Timeout
from pytest_procrastinate.process.cleanup import (
    SignalState,
    ignore_interrupts,
    ignore_terminal_output_stops,
    reset_signals,
)
from pytest_procrastinate.process.limits import Limits, MemoryLimit
from pytest_procrastinate.process.own_pid import own_pid
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import forget_caught, live_log_shown
from pytest_procrastinate.quantities import write_duration

# Real-time signals from the upper end, which neither glibc nor a runtime takes for itself.
STACKS_SIGNAL = int(getattr(signal, "SIGRTMAX", signal.SIGUSR2 + 7)) - 7
RAISE_SIGNAL = int(getattr(signal, "SIGRTMAX", signal.SIGVTALRM + 8)) - 8


class TestTimeout(pytest.fail.Exception):  # type: ignore[misc, name-defined]  # made by a decorator
    """A test has had its time. Raised in it, so that it is torn down and pytest tells where it was.

    Not an :class:`Exception`: a test that catches those goes on to be ended.
    """

    __test__ = False
    __module__ = "builtins"  # as pytest's own are told: by their name alone


class TimedPhases(PhaseMarker):
    """Notes the phases, and raises an exception in the one that is under way at the timeout.

    Made in a fork server, which runs the set-up of shared fixtures itself.
    """

    def __init__(self, fault_descriptor: int) -> None:
        super().__init__()
        self._item: pytest.Item | None = None
        self._faults = -1
        self._fault_descriptor = fault_descriptor
        self._things: OwnThings | None = None
        self._memory: MemoryLimit | None = None
        self._phase = ""
        self._fired = False
        self._raised_in = ""
        self._in_own_child = self._is_over = False
        faulthandler.register(STACKS_SIGNAL, file=fault_descriptor, all_threads=True, chain=False)
        signal.signal(RAISE_SIGNAL, self._handle)

    def begin(self, item: pytest.Item, files: ChildFiles) -> None:
        """Note phases of this item from now on."""
        self._item, self.page, self._faults = item, files.page, files.faults
        self._fired, self._raised_in = False, ""

    def watch_things(self, settings: Settings) -> None:
        """Set the limits of this test and note what it finds, in its own child."""
        self._in_own_child = True
        self._memory = None
        if settings.memory_limit_bytes is not None or settings.cpu_limit_seconds is not None:
            Limits(settings.memory_limit_bytes, settings.cpu_limit_seconds).set_here()
        if settings.memory_limit_bytes is not None:
            self._memory = MemoryLimit()
        if settings.cpu_limit_seconds is not None:
            faulthandler.register(signal.SIGXCPU, file=self._fault_descriptor, chain=True)
        self._things = None
        if settings.leaks != "off":
            self._things = OwnThings(descriptors=settings.leaks in ("warn", "fail"))

    def end(self) -> None:
        """Be deaf to Ctrl-C from here on: the test is over, and what it has told must arrive."""
        self._is_over = True
        ignore_interrupts()

    def things_left(self) -> tuple[list[str], list[str]] | None:
        """Return what the test left in its process; None if nothing."""
        things = None if self._things is None else self._things.left()
        return things if things is not None and any(things) else None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True  # where unittest catches the exception pytest shows our frames
        if self.page is None or self._fired:
            return
        why = self.page.asked()
        if not why:
            if self._in_own_child and not self.page.ever_asked():
                # a test's own affair: it ends by it, as in a plain run
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        if why == INTERRUPT:
            # Beside the protocol nobody would tell of it: a child that begins asks for it itself.
            if not self._is_over and (self._in_own_child or not waits_at_gate()):
                raise KeyboardInterrupt
            return
        self._note_fired()
        if self._phase:
            self._raise(self._phase)

    def _note_fired(self) -> None:
        assert self.page is not None
        self._fired = True
        self.page.note_taken()

    def _raise(self, phase: str, *, pytrace: bool = True) -> None:
        __tracebackhide__ = True
        self._raised_in = phase
        text, is_ours = self._message(phase)
        raise (TestTimeout if is_ours else pytest.fail.Exception)(text, pytrace=pytrace)

    def _message(self, phase: str) -> tuple[str, bool]:
        """Return what is told, and whether it is in our own words."""
        assert self._item is not None
        assert self.page is not None
        limit = timeout_of(self._item, session=self.page.asked() == SESSION_TIMEOUT)
        if limit.message is not None:
            return limit.message, False
        text = f"timeout of {write_duration(limit.seconds)} in {phase} ({limit.source})"
        return text, True

    def _enter(self, phase: str) -> Iterator[None]:
        if self.page is None:
            return (yield)
        self.page.enter(phase)
        self._phase = phase
        if self._memory is not None and phase == "setup":
            self._memory.set_again()
        raised = True
        try:
            if self._fired and not self._raised_in and phase != "teardown":
                self._raise(phase)
            value = yield
            raised = False
        except _no_failures():
            if self._raised_in != phase:
                raise
            value = None  # below it is told that the exception was caught
        finally:
            self._phase = ""
            if self._memory is not None and (raised or phase == "teardown"):
                self._memory.lift()  # pytest makes a report of it, and that has to be told
            if self._raised_in == phase:
                self._keep_stacks(phase)
            if phase == "teardown" and self._item is not None:
                self.page.note_live_log(live_log_shown(self._item.config))
        asked = self._in_own_child and not self._fired and self.page.asked()
        if asked in (TIMEOUT, SESSION_TIMEOUT):
            # It ended before the signal came: that for the stacks has cut a wait of its own short.
            self._note_fired()
            self._keep_stacks(phase)
            self._raise(phase, pytrace=False)
        if phase == "call" and self._item is not None:
            dies = self._item.config.stash[SETTINGS][self._item].dies
            if dies is not None and self._raised_in != phase:
                pytest.fail(f"did not die: {dies.describe()} was expected", pytrace=False)
        if self._raised_in == phase and self._item is not None:
            forget_caught(self._item, _no_failures())
            message, _ = self._message(phase)
            message += "; the test caught the exception and went on"
            raise TestTimeout(message, pytrace=False)
        return value

    def _keep_stacks(self, phase: str) -> None:
        """Put the stacks that were written into the report; the next crash has its own."""
        assert self._item is not None
        try:
            if text := read_text(self._faults):
                self._item.add_report_section(phase, "stacks", without_pytest(text))
                os.ftruncate(self._faults, 0)
                os.lseek(self._faults, 0, os.SEEK_SET)
        except OSError:  # the test has closed it
            pass


def _no_failures() -> tuple[type[BaseException], ...]:
    """Return the exceptions that pytest does not take for a failure."""
    unittest = sys.modules.get("unittest")
    skips = () if unittest is None else (unittest.SkipTest,)
    return (pytest.skip.Exception, pytest.xfail.Exception, *skips)


def without_pytest(stacks: str) -> str:
    """Return what faulthandler wrote, each thread's calls only as far as pytest's own below them."""
    rows: list[str] = []
    hidden = False
    for row in stacks.splitlines():
        if not row.startswith("  "):
            hidden = False
        elif rows and rows[-1].startswith("  ") and re.search(r"[/\\](_pytest|pluggy)[/\\]", row):
            hidden = True
        if not hidden:
            rows.append(row)
    return "\n".join(rows)


TIMEOUT, SESSION_TIMEOUT, INTERRUPT = 1, 2, 3  # what the parent asks for in the page


def timeout_of(item: pytest.Item, *, session: bool) -> Timeout:
    """Return the limit that ended a test."""
    run = item.config.stash[RUN_SETTINGS]
    if session:
        return Timeout(run.session_timeout_seconds or 0.0, "--forked-session-timeout")
    settings = item.config.stash[SETTINGS].get(item)
    timeout = None if settings is None else settings.timeout
    return timeout or Timeout(0.0, "--forked-timeout")


_at_gate = 0


def wait_at_gate() -> None:
    """Note that this process waits at its gate: signals to its fork server are not for it."""
    global _at_gate
    _at_gate = own_pid()


def waits_at_gate() -> bool:
    """Whether this process waits at its gate."""
    return _at_gate == own_pid()


def begin_child(found: SignalState) -> None:
    """Meet signals as a plain run does, though in the background of the terminal.

    Ctrl-C goes to the pytest process, which passes it on.
    """
    reset_signals(found)
    ignore_terminal_output_stops()
