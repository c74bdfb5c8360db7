"""Keeps the deadlines of all that runs, and does what follows from them.

A test that has had its time is ended in stages: the stacks of its threads are written, an exception
is raised in it, SIGTERM, SIGKILL. While the fork server works for it, the server is meant.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Iterator

import pytest

from pytest_procrastinate.child.files import read_text
from pytest_procrastinate.child.supervised import (
    INTERRUPT,
    RAISE_SIGNAL,
    SESSION_TIMEOUT,
    STACKS_SIGNAL,
    TIMEOUT,
    without_pytest,
)
from pytest_procrastinate.options import RUN_SETTINGS, SETTINGS, Settings, Timeout
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.foreground import Terminal
from pytest_procrastinate.parent.live_line import LiveLine
from pytest_procrastinate.parent.servers import Servers
from pytest_procrastinate.parent.terminal import say
from pytest_procrastinate.process.child import (
    ChildProcess,
    State,
    descends_from_here,
    is_stopped,
)
from pytest_procrastinate.process.deadlines import Clock, Ladder, Step
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.quantities import write_duration

NEVER_SECONDS = 1e9
TAKE_SECONDS = 2.0  # for the exception to be raised: C code that holds the GIL lets none through
RAISE_AGAIN_SECONDS = 0.1
LOOK_SECONDS = (1.0, 5.0)  # between looks at a test's processes: before the first, from then on
READ_SECONDS = 0.1  # between looks where a child may be stopped for reading from the terminal
STACKS_SECONDS = 1.0  # for stacks to be written: a C signal handler does it, also within C code
LEAVE_SECONDS = 10.0  # for a child that has told all


@dataclasses.dataclass
class Watch:
    """What is kept of one attempt while it is under way."""

    attempt: Attempt
    settings: Settings
    began: float
    ladder: Ladder
    look_at: float
    slow_at: float | None
    raise_again_at: float | None = None
    give_up_raising_at: float = 0.0
    stopped_at: float | None = None
    counted_anew: bool = False


class Supervisor:
    """Watches over attempts from the opening of their gate until their children are gone.

    :param servers: The fork servers of this run.
    :param live_line: Drawn while nothing happens.
    :param terminal: Lent to a child that reads from it.
    """

    def __init__(
        self,
        config: pytest.Config,
        manager: ProcessManager,
        servers: Servers,
        live_line: LiveLine,
        terminal: Terminal,
    ) -> None:
        self.clock = Clock()
        self.session_over = False
        """Whether the session has had its time: no test may start any more."""
        self.stop_asked = False
        """Whether Ctrl-Z was typed where a test had the terminal."""
        self._config = config
        self._run = config.stash[RUN_SETTINGS]
        self._manager = manager
        self._servers = servers
        self._live_line = live_line
        self._terminal = terminal
        # With -s a child may read from the terminal, is stopped then, and a person waits.
        reads = terminal.is_ours and config.getoption("capture", "fd") == "no"
        self._look_seconds = (READ_SECONDS, READ_SECONDS) if reads else LOOK_SECONDS
        self._watches: dict[Attempt, Watch] = {}
        self._leaving: dict[ChildProcess, float] = {}
        limit = self._run.session_timeout_seconds
        self._session_limit = Timeout(limit or 0.0, "--forked-session-timeout")
        self._session_ends = None if limit is None else self.clock.now() + limit

    # --- what happens to attempts -------------------------------------------------------------

    def started(self, attempt: Attempt) -> None:
        """Begin to count: the gate of its child has been opened."""
        settings = self._config.stash[SETTINGS][attempt.item]
        limit = NEVER_SECONDS if settings.timeout is None else settings.timeout.seconds
        if self.session_over:  # its unit goes on, or its scopes are left
            attempt.limit = self._session_limit
            is_over = attempt.done or attempt.ending is not None
            limit = min(limit, self._run.grace_seconds) if is_over else 0.0
        now = self.clock.now()
        slow = self._run.slow_after_seconds
        self._watches[attempt] = Watch(
            attempt,
            settings,
            now,
            Ladder(limit, settings.grace_seconds, self.clock),
            look_at=now + self._look_seconds[0],
            slow_at=None if slow is None else now + slow,
        )
        if attempt.child is not None:  # which goes on with another test of its unit
            self._leaving.pop(attempt.child, None)

    def finished(self, attempt: Attempt) -> None:
        """Count no more: all is known of it. Its child has some time to leave."""
        child = attempt.child
        if self._watches.pop(attempt, None) is not None and child is not None and _runs(child):
            self._leaving[child] = self.clock.now() + LEAVE_SECONDS

    def interrupt(self) -> None:
        """Have all that runs raise KeyboardInterrupt, as Ctrl-C does in a plain run."""
        for attempt in self._watches:
            attempt.files.page.ask(INTERRUPT, attempt.turn)
            if _runs(attempt.child):
                self._signal(attempt, signal.SIGINT, group=True)
            else:
                self._signal(attempt, RAISE_SIGNAL)

    @property
    def running(self) -> list[Attempt]:
        """What is under way, in the order of the start."""
        return list(self._watches)

    # --- what users ask for -------------------------------------------------------------------

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all that runs, and the clocks, for a while: Ctrl-Z."""
        self._live_line.erase()
        self.clock.pause()
        self.stop_asked = False
        children = [child for child in self._manager.children.values() if _runs(child)]
        try:
            with self._terminal.taken_back(child.pid for child in children):
                for child in children:
                    self._manager.kill_group(child, signal.SIGSTOP)
                yield
        finally:
            for child in children:
                self._manager.kill_group(child, signal.SIGCONT)
            self.clock.resume()

    def tell_what_runs(self) -> None:
        """Print the running tests, for how long they have run, and where they are."""
        told = {}
        for attempt in self._watches:
            told[attempt] = os.fstat(attempt.files.faults).st_size
            self._signal(attempt, STACKS_SIGNAL)
        deadline = time.monotonic() + STACKS_SECONDS
        while time.monotonic() < deadline and any(
            os.fstat(attempt.files.faults).st_size == size for attempt, size in told.items()
        ):
            time.sleep(0.01)  # a file cannot be waited for
        if not told:
            self._say("forked: no test is running")
        for attempt, size in told.items():
            phase, began, _, _ = attempt.files.page.read()
            seconds = time.monotonic() - began if began else 0.0
            self._say(
                f"forked: {attempt.item.nodeid} has been running for {seconds:.1f} s"
                f"{f' in {phase}' if phase else ''} (process {attempt.files.page.pid()})"
            )
            stacks = read_text(attempt.files.faults)[size:]
            for row in without_pytest(stacks).splitlines():
                self._say(f"  {row}")

    # --- the loop -----------------------------------------------------------------------------

    def step(self, deadline: float | None = None) -> None:
        """Sleep until something happens or is due, and do what is due.

        :param deadline: When to return at the latest, by the clock.
        """
        self._live_line.draw(self.clock.now(), self._running_since())
        due = self.next_due()
        if deadline is not None:
            due = deadline if due is None else min(due, deadline)
        self._manager.deadline = None if due is None else self.clock.monotonic_at(due)
        self._manager.step()
        self.act()

    def next_due(self) -> float | None:
        """Return when something is due, by the clock."""
        live_line_due = self._live_line.next_due(self._running_since())
        moments = [self._session_ends, live_line_due, *self._leaving.values()]
        for watch in self._watches.values():
            moments += [
                watch.ladder.next_due(),
                watch.look_at,
                watch.slow_at,
                watch.raise_again_at,
            ]
        return min((each for each in moments if each is not None), default=None)

    def act(self) -> None:
        """Do what is due."""
        now = self.clock.now()
        if self._session_ends is not None and now >= self._session_ends:
            self._end_session()
        for watch in list(self._watches.values()):
            self._act_on(watch, now)
        for child, deadline in list(self._leaving.items()):
            if not _runs(child):
                del self._leaving[child]
            elif now >= deadline:
                self._leaving[child] = now + LEAVE_SECONDS
                self._manager.kill_process(child, signal.SIGKILL)

    def time_to_tear_down(self) -> float:
        """Return how long shared fixtures may take to be torn down as the run ends early, in seconds.

        As long as plain pytest would wait, where no limit was asked for; not where one is just being
        set up, for a test that is not told any more.
        """
        grace = self._run.grace_seconds
        if self.session_over or any(each.files.page.read_note()[0] for each in self._watches):
            return grace
        limits = [each.timeout for each in self._config.stash[SETTINGS].values() if each.forked]
        seconds = [math.inf if each is None else each.seconds for each in limits]
        return max(seconds, default=0.0) + grace

    def _running_since(self) -> dict[Attempt, float]:
        return {attempt: watch.began for attempt, watch in self._watches.items()}

    def _say(self, text: str) -> None:
        self._live_line.erase()
        say(self._config, text)

    def _end_session(self) -> None:
        self._session_ends = None
        self.session_over = True
        for watch in self._watches.values():
            if not watch.ladder.expired:
                watch.attempt.limit = self._session_limit
                watch.ladder.skip_to(Step.STACKS)

    def _act_on(self, watch: Watch, now: float) -> None:
        if watch.slow_at is not None and now >= watch.slow_at:
            watch.slow_at = None
            seconds = write_duration(self._run.slow_after_seconds or 0.0)
            self._say(f"forked: {watch.attempt.item.nodeid} still runs after {seconds}")
        if now >= watch.look_at:
            is_lent = watch.attempt.files.page.debugger_is_open()
            watch.look_at = now + (READ_SECONDS if is_lent else self._look_seconds[1])
            self._look_at(watch)
        if watch.raise_again_at is not None and now >= watch.raise_again_at:
            self._see_to_exception(watch, now)
        due = watch.ladder.next_due()
        expires = due is not None and now >= due and not watch.ladder.expired
        if expires and (left := self._time_left(watch)) > 0:
            watch.ladder = Ladder(left, watch.ladder.grace_seconds, self.clock)
        for step in watch.ladder.advance(now):
            self._take(step, watch, now)

    def _time_left(self, watch: Watch) -> float:
        """Return what a test has left of its time when that has passed since its gate was opened.

        It counts from when a process began to work for it: its fork server may have been busy.
        """
        limit = 0.0 if watch.settings.timeout is None else watch.settings.timeout.seconds
        if self._time_stands_still(watch.attempt):
            return limit
        if watch.counted_anew or self.session_over:
            return 0.0
        watch.counted_anew = True  # once: that moment is told by the child
        _, began, _, _ = watch.attempt.files.page.read()
        if not began:  # it has just been forked
            return limit
        return limit - (time.monotonic() - began)

    def _time_stands_still(self, attempt: Attempt) -> bool:
        """Whether a person is at work in a test, or its fork server is still busy with another.

        The time of that other one does count: a server that hangs is ended, and this one begun again.
        So does that of the session, for all.
        """
        if self.session_over:
            return False
        if attempt.files.page.debugger_is_open():
            return True
        if not _waits_for_server(attempt):
            return False
        return any(
            not _runs(other.child) and not _waits_for_server(other) for other in self._watches
        )

    def _see_to_exception(self, watch: Watch, now: float) -> None:
        """Send the signal again until it is taken: one may come right before a wait begins."""
        watch.raise_again_at = None
        if watch.attempt.files.page.taken():
            return
        if now >= watch.give_up_raising_at:
            watch.ladder.skip_to(Step.TERMINATE)
        else:
            self._signal(watch.attempt, RAISE_SIGNAL)
            watch.raise_again_at = min(now + RAISE_AGAIN_SECONDS, watch.give_up_raising_at)

    def _take(self, step: Step, watch: Watch, now: float) -> None:
        attempt = watch.attempt
        if not attempt.cause:
            attempt.cause = "timeout"
            attempt.limit = attempt.limit or watch.settings.timeout
        if step is Step.STACKS:
            why = SESSION_TIMEOUT if attempt.limit is self._session_limit else TIMEOUT
            attempt.files.page.ask(why, attempt.turn)
            self._signal(attempt, STACKS_SIGNAL)
            attempt.stages.append("stacks")
        elif step is Step.RAISE:
            self._signal(attempt, RAISE_SIGNAL, signal.SIGCONT)
            attempt.stages.append("an exception")
            watch.give_up_raising_at = now + min(TAKE_SECONDS, watch.ladder.grace_seconds)
            watch.raise_again_at = now + RAISE_AGAIN_SECONDS
        elif step is Step.TERMINATE:
            watch.raise_again_at = None
            if not attempt.files.page.taken():
                attempt.stages[-1:] = ["an exception (not taken)"]
            self._signal(attempt, signal.SIGTERM, signal.SIGCONT, group=True)
            attempt.stages.append("SIGTERM")
        else:
            self._signal(attempt, signal.SIGKILL, group=True)
            attempt.stages.append("SIGKILL")

    # --- processes ----------------------------------------------------------------------------

    def _signal(self, attempt: Attempt, *signums: int, group: bool = False) -> None:
        """Signal the process that is at work for an attempt: its child, or a fork server."""
        child = attempt.child
        if child is None or not _runs(child):
            pid = attempt.files.page.pid()
            if descends_from_here(pid):
                for signum in signums:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signum)
                return
            child = self._servers.server()
        if child is not None:
            for signum in signums:
                (self._manager.kill_group if group else self._manager.kill_process)(child, signum)

    def _look_at(self, watch: Watch) -> None:
        """See to processes that are stopped: nobody but us would notice (SIGCHLD apart)."""
        attempt, child = watch.attempt, watch.attempt.child
        self._servers.set_going()
        if child is None or not _runs(child) or not is_stopped(child.pid):
            watch.stopped_at = None
        elif self._terminal.is_held_by(child.pid):
            self.stop_asked = True
        elif self._terminal.lend(child.pid or 0):
            attempt.files.page.note_debugger(True)
            self._manager.kill_group(child, signal.SIGCONT)
        elif watch.stopped_at is None:
            watch.stopped_at = self.clock.now()
        elif self.clock.now() - watch.stopped_at > LOOK_SECONDS[1] and not watch.ladder.expired:
            attempt.cause = "stopped"
            watch.ladder.skip_to(Step.KILL)


def _runs(child: ChildProcess | None) -> bool:
    return child is not None and child.state is State.RUNNING


def _waits_for_server(attempt: Attempt) -> bool:
    """Whether no process has begun to work for a test, though its turn has come."""
    return not _runs(attempt.child) and not attempt.files.page.pid()
