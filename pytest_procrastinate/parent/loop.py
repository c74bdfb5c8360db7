"""Forked items: which child runs next, when its turn is, what is told when, when to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_procrastinate.options import FRESH_FIXTURES, RUN_SETTINGS, Settings
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.file_pool import FilePool
from pytest_procrastinate.parent.foreground import Terminal
from pytest_procrastinate.parent.interrupts import Interrupts, signals_found
from pytest_procrastinate.parent.leftovers import Leftovers
from pytest_procrastinate.parent.limits import Breaches
from pytest_procrastinate.parent.live_line import LiveLine
from pytest_procrastinate.parent.replay import raise_told
from pytest_procrastinate.parent.retries import Retries
from pytest_procrastinate.parent.servers import Servers
from pytest_procrastinate.parent.starting import Starting
from pytest_procrastinate.parent.supervisor import Supervisor
from pytest_procrastinate.parent.telling import Telling
from pytest_procrastinate.parent.units import TOLD, Unit, units_of
from pytest_procrastinate.process.leftovers import set_subreaper
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.sigchld import in_main_thread
from pytest_procrastinate.process.waiting import default_waiter
from pytest_procrastinate.pytest_private import is_live, make_base_temp
from pytest_procrastinate.quantities import write_duration
from pytest_procrastinate.scheduler import Scheduler
from pytest_procrastinate.strategy import Throttled


class ForkedRun:
    """Runs items in children, stretch by stretch. A context manager; one for a session.

    :param settings: Those of each item of the session.
    """

    def __init__(self, session: pytest.Session, settings: dict[pytest.Item, Settings]) -> None:
        self._session = session
        self._settings = settings
        self._items = list(session.items)
        self._index: dict[pytest.Item | None, int] = {item: n for n, item in enumerate(self._items)}
        self._run_settings = session.config.stash[RUN_SETTINGS]
        options = session.config.option
        self._debugs = bool(getattr(options, "usepdb", False) or getattr(options, "trace", False))
        self._live = self._debugs or is_live(session.config)
        self._pool = FilePool()
        # The end of an orphan is told by SIGCHLD alone.
        self._manager = ProcessManager(default_waiter(notice_stops=in_main_thread()))
        self._manager.in_child.append(self._pool.close)
        found = signals_found()
        self._servers = Servers(
            session, self._manager, self._items, self._finished, live=self._live, signals=found
        )
        self._terminal = Terminal()
        self._live_line = LiveLine(session.config, len(self._items))
        self._supervisor = Supervisor(
            session.config, self._manager, self._servers, self._live_line, self._terminal
        )
        self._leftovers = Leftovers(session.config, self._manager)
        self._breaches = Breaches()
        self._interrupts = Interrupts(self._manager.wakeup)
        self._attempts: dict[int, Attempt] = {}
        self._scheduler = Scheduler(0, Throttled(1))
        self._starting = Starting(session.config, settings)
        self._units: list[Unit] = []
        self._keys: dict[Attempt, int] = {}
        self._telling = Telling(session, self._leftovers, self._live_line)
        self._held: dict[int, Attempt] = {}
        self._retries = Retries(self._manager, self._keys)

    def __enter__(self) -> ForkedRun:
        make_base_temp(self._session.config, self._items)
        self._manager.setup()
        self._reaped = set_subreaper(True)
        self._leftovers.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        at_once = self._interrupts.count > 1
        with self._interrupts.raised(), contextlib.ExitStack() as last:
            last.callback(self._pool.close)
            last.callback(self._terminal.close)
            last.callback(set_subreaper, self._reaped)
            last.callback(self._leftovers.close, at_once=at_once)
            last.callback(self._manager.shutdown)
            self._leftovers.take_back()
            self._end_children()
            self._servers.end(0.0 if at_once else self._supervisor.time_to_tear_down())
            self._session.config.stash[FRESH_FIXTURES] = self._servers.fresh_fixtures
            self._starting.end()

    def run(self, stretch: Sequence[tuple[pytest.Item, pytest.Item | None]]) -> None:
        """Run the items of a stretch, each with the item that follows it, and tell them in order.

        Returns early, with nothing left running, when the session should fail or stop.

        :raises BaseException: What the protocol of an item raised in its child.
        """
        self._units = units_of(stretch, self._settings)
        self._scheduler = self._starting.scheduler(self._units)
        self._live_line.done = self._index[stretch[0][0]]
        with self._interrupts, self._live_line, self._leftovers.tests_at_work():
            while self._is_under_way():
                self._go_on()
                if self._interrupts.count:
                    self._interrupt()
                self._interrupts.serve(self._supervisor)
                if self._is_under_way():
                    self._supervisor.step()
                if self._manager.woken:
                    self._manager.woken = False
                    self._leftovers.reap()

    def _is_under_way(self) -> bool:
        return not self._scheduler.done and not self._telling.stops

    def warm_up(self) -> None:
        """Start the fork server now.

        :raises ForkError: Nothing was left for it.
        """
        self._servers.start()

    def end_stretch(self) -> None:
        """Let the server go: an item of the pytest process itself comes next."""
        self._servers.stop()

    # --- deciding -----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Do all that can be done now."""
        scheduler = self._scheduler
        while not self._telling.stops and not self._interrupts.count:
            if self._end_held(scheduler.next_to_tell):
                continue
            if self._supervisor.session_over and self._to_tell() is None:
                if not self._supervisor.running:
                    limit = write_duration(self._run_settings.session_timeout_seconds or 0.0)
                    self._session.shouldfail = f"--forked-session-timeout: {limit} are over"
                return
            if (key := self._to_tell()) is not None and self._telling.must_come_first(
                self._units[key].known
            ):
                self._tell(key)
            elif (
                not self._telling.should_stop
                and (key := self._retries.in_turn(scheduler.to_start())) is not None
            ):
                scheduler.started(key)
                if key in self._held:  # it has died as another did, of a fixture
                    scheduler.leaves(key)
                elif not self._servers.dies_of_fixture(self._attempts[key]):
                    self._start(self._attempts[key])
            elif (
                not self._retries.any_waits
                and (key := scheduler.to_fork()) is not None
                and self._pool.has_room()
            ):
                self._fork(key)
            elif (key := self._to_tell()) is not None:
                self._tell(key)
            else:
                for attempt in sorted(self._retries.to_make_now(), key=self._keys.__getitem__):
                    self._make_again(attempt)
                return

    def _start(self, attempt: Attempt) -> None:
        self._supervisor.started(attempt)
        self._leftovers.started(attempt)
        self._starting.started(attempt)
        self._servers.open_gate(attempt)

    def _to_tell(self) -> int | None:
        """Return the unit to tell, or to go on telling: the next in order, if any of it is known."""
        if (key := self._scheduler.to_tell()) is None:
            key = self._scheduler.next_to_tell
        return key if key < len(self._units) and self._units[key].known else None

    def _fork(self, key: int) -> None:
        unit = self._units[key]
        attempt = self._attempt(key)
        if key not in self._scheduler.outstanding:
            self._scheduler.forked(key)
        if self._servers.dies_of_fixture(attempt):
            return
        try:
            self._servers.fork(
                attempt,
                self._index[unit.item],
                self._index.get(unit.nextitem),
                count=unit.left,
                scopes_end=unit.next_forked is None,
            )
        except ForkError as error:
            attempt.refuse(error.strerror)
            self._finished(attempt)

    def _attempt(self, key: int, before: Attempt | None = None) -> Attempt:
        """Make an attempt at the item that a unit has come to."""
        unit = self._units[key]
        calls = self._finished, self._hear, self._gone
        attempt = Attempt(unit.item, self._pool, *calls, before, is_last=unit.left == 1)
        self._attempts[key], self._keys[attempt] = attempt, key
        return attempt

    def _finished(self, attempt: Attempt) -> None:
        key = self._keys.get(attempt)
        if key is None:  # nobody waits for it any more
            return
        if not attempt.asked_to_leave and (when := self._retries.when(attempt)) != "never":
            self._supervisor.finished(attempt)
            if when == "now":
                self._make_again(attempt)
            return
        self._servers.learn_from(attempt)
        if not attempt.done and not attempt.asked_to_leave and self._runs_again(key, attempt):
            return
        self._ended(key, attempt)

    def _make_again(self, attempt: Attempt) -> None:
        """Fork another child in place of one that nobody has to know of."""
        attempt.release()
        self._fork_again(self._keys.pop(attempt), attempt)

    def _ended(self, key: int, attempt: Attempt) -> None:
        """Have the scopes left that end with a test, or the run; then all is known of it."""
        if not attempt.asked_to_leave and (not attempt.passed or attempt.told.leaves is not None):
            if self._units[key].left == 1:
                if key != self._scheduler.next_to_tell or self._units[key].known:
                    # What comes before it may end the run, and scopes within those that it leaves.
                    self._held[key] = attempt
                    self._supervisor.finished(attempt)
                    self._run_others(key, attempt)
                    return
                telling = self._telling
                if telling.last_is_found_here and attempt.done and telling.stops_with(attempt):
                    attempt.told.leaves = True
            leaving = self._leave_scopes(key, attempt)
            self._servers.answer(attempt)  # it may leave: now the server knows what becomes of it
            if leaving:
                self._run_others(key, attempt)
                return
        self._supervisor.finished(attempt)
        self._known(key, attempt)

    def _end_held(self, key: int) -> bool:
        """Go on with a test that was held back, all before it is told."""
        if key not in self._held or self._units[key].known:
            return False
        self._supervisor.started(self._held[key])
        self._ended(key, self._held.pop(key))
        return True

    def _leave_scopes(self, key: int, attempt: Attempt) -> bool:
        """Whether scopes are being left that ended with a test."""
        if attempt.done and attempt.told.leaves is None:
            return False
        attempt.asked_to_leave = True
        index = self._index[attempt.item]
        next_index = None if attempt.told.leaves else self._index.get(self._units[key].next_after)
        return self._servers.leave(attempt, index, next_index, stops=self._telling.should_stop)

    def _run_others(self, key: int, attempt: Attempt) -> None:
        """Let another test run while a test waits for its scopes to be left."""
        if self._run_settings.jobs > 1 and self._units[key].left == 1:
            self._starting.known(attempt)
            self._starting.left(attempt)
            self._scheduler.leaves(key)

    def _runs_again(self, key: int, attempt: Attempt) -> bool:
        """Whether a test whose child died is run again in a new child, as a plugin wants it."""
        if self._telling.should_stop or not self._retries.is_wanted(attempt):
            return False
        self._supervisor.finished(attempt)
        self._units[key].known.append(attempt)
        self._fork_again(key, attempt)
        return True

    def _fork_again(self, key: int, attempt: Attempt) -> None:
        """Fork another child in place of one that came to nothing."""
        self._starting.left(attempt)
        self._fork(key)
        if self._scheduler.is_started(key) and self._attempts[key].child is not None:
            self._start(self._attempts[key])

    def _known(self, key: int, attempt: Attempt) -> None:
        """Note that all is known of a test; go on with its unit, in the same child or a new one."""
        unit = self._units[key]
        unit.known.append(attempt)
        self._starting.known(attempt)
        self._telling.note_scopes(attempt, unit.rest.pop(0)[1])
        self._live_line.done += 1
        if unit.rest and attempt.done and not attempt.told.stops and not attempt.child_ended:
            following = self._attempt(key, before=attempt)
            following.slot, attempt.slot = attempt.slot, None
            self._leftovers.goes_on(attempt, following)
            self._supervisor.started(following)
            return
        self._starting.left(attempt)
        if not unit.rest:
            self._scheduler.finished(key)
        elif self._scheduler.is_started(key):
            unit.waits = True  # until this is told, which may end the run
        else:
            self._fork(key)

    def _gone(self, attempt: Attempt) -> None:
        """See to what a child has left, and to why it ended."""
        if attempt.ending is not None:
            attempt.ending = self._breaches.explain(attempt)
        child = None if attempt.child is None else attempt.child.pid
        self._terminal.take_back(child, attempt.files.page.pid())
        if attempt.settings.leaks != "off" and not self._debugs:
            self._leftovers.ended(attempt)
        self._retries.ended(attempt)

    # --- telling ------------------------------------------------------------------------------

    def _hear(self, attempt: Attempt, name: str, payload: Any) -> None:
        """See to what a child has left, or to one that waits for our word to write to the terminal."""
        if name == "left":
            self._leftovers.things_left(attempt, payload)
            return
        attempt.shows = True
        self._live_line.erase()
        key = self._keys.get(attempt)
        if (
            key == self._scheduler.next_to_tell
            and not self._units[key].known
            and attempt.told.leaves is None
            and attempt.settings.leaks != "fail"
            and not (self._telling.last_is_found_here and attempt.told.phase == "teardown")
        ):
            self._servers.last_told = self._index[attempt.item]
            self._telling.tell_so_far(attempt)
        self._servers.answer(attempt)

    def _tell(self, key: int) -> None:
        """Tell what is known of a unit and has not been told."""
        unit = self._units[key]
        while unit.known and not self._telling.stops:
            attempt = unit.known.pop(0)
            self._keys.pop(attempt, None)
            self._servers.last_told = self._index[attempt.item]
            self._telling.tell(attempt)
        if unit.known or key != self._scheduler.next_to_tell:
            return
        if not unit.rest:
            self._scheduler.told(key)
            self._attempts.pop(key, None)
            self._units[key] = TOLD
        elif unit.waits and not self._telling.stops:
            unit.waits = False
            self._fork_again(key, attempt)

    # --- ending -------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """Have the running tests torn down, tell what is known, and stop.

        :raises KeyboardInterrupt: Always; as the child raised it, if one did, else at a test that ran.
        """
        interrupts, supervisor = self._interrupts, self._supervisor
        running = supervisor.running
        supervisor.interrupt()
        deadline = supervisor.clock.now() + self._run_settings.grace_seconds
        while interrupts.notice() < 2 and supervisor.clock.now() < deadline:
            if not supervisor.running:
                break
            interrupts.serve(supervisor)
            supervisor.step(deadline)
        for key, attempt in sorted(self._held.items()):
            self._known(key, attempt)
        self._held.clear()
        raised: BaseException | None = None
        for key in self._scheduler.outstanding:
            if self._units[key].known:
                try:
                    self._tell(key)
                except KeyboardInterrupt as error:
                    raised = error
        if raised is None and running:
            self._servers.last_told = self._index[running[0].item]
            path, line, _ = running[0].item.reportinfo()
            raise_told(("interrupt", path, (line or 0) + 1, ""))
        raise raised or KeyboardInterrupt

    def _end_children(self) -> None:
        """End all children that still run; their tests are not told any more."""
        self._keys.clear()
        for attempt in self._attempts.values():
            if attempt.child is not None:
                self._manager.kill_group(attempt.child, signal.SIGKILL)
