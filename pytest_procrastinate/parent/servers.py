"""The fork servers of the pytest process: started when needed, replaced when they die."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from pytest_procrastinate.child.run import GATE
from pytest_procrastinate.child.streams import c_flusher, flush_output
from pytest_procrastinate.forkserver.task import ForkServer
from pytest_procrastinate.messages import last_teardown
from pytest_procrastinate.options import SETTINGS, THREADS
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.replay import replay
from pytest_procrastinate.parent.terminal import say
from pytest_procrastinate.parent.told import REPORT
from pytest_procrastinate.portable import unpack_all
from pytest_procrastinate.process.child import (
    ChildProcess,
    descends_from_here,
    is_stopped,
    parent_of,
)
from pytest_procrastinate.process.cleanup import SignalState
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import FrameError
from pytest_procrastinate.process.huge_pages import collapse_memory
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.remote import GONE, RemoteForker
from pytest_procrastinate.pytest_private import forget_unraisable, needs_fixture

# To move memory into huge pages takes as long as some 50 forks are quicker by it.
HUGE_PAGES_FROM = 100  # tests
HUGE_PAGES_FROM_BYTES = 64 << 20

LOOK_SECONDS = 5.0  # between looks at processes that may have been stopped

# Modules whose threads hold no lock that a test could want: one waits for connections.
HARMLESS = ("pytest_rerunfailures",)


class Servers:
    """One fork server at a time, a fork of the pytest process as it is when it starts.

    :param manager: Looks after servers and children.
    :param left: Called when the scopes that ended with a test have been left, or the server died of it.
    """

    def __init__(
        self,
        session: pytest.Session,
        manager: ProcessManager,
        items: Sequence[pytest.Item],
        left: Callable[[Attempt], None],
        *,
        live: bool,
        signals: SignalState,
    ) -> None:
        self._session = session
        self._manager = manager
        self._items = list(items)
        self._left = left
        self._live = live
        self._signals = signals
        self._leaving: dict[int, tuple[Attempt, RemoteForker]] = {}
        self.fresh_fixtures: dict[str, str] = {}
        """Fixtures that are not shared since that would not be safe, with the reason."""
        self.last_told = -1
        """The index of the last test told."""
        self._forker: RemoteForker | None = None
        self._asked_for_huge_pages = False
        self._broken: list[Attempt] = []
        self._shows_tracebacks = False
        self._known_files: set[int] = set()

    def fork(
        self,
        attempt: Attempt,
        index: int,
        next_index: int | None,
        *,
        count: int = 1,
        scopes_end: bool,
    ) -> None:
        """Have a child forked for an attempt; it waits at its gate.

        :param count: How many items the child runs, one after the other, from this one on.
        :param scopes_end: No shared scope outlives this test.
        :raises ForkError: Nothing was left for a server or its child.
        """
        order = index, count, next_index, attempt.number, scopes_end
        try:
            self._order(attempt, order)
        except ForkError as error:
            if error.errno not in GONE:
                raise
            self._forker = None  # it has died, which nobody has seen yet
            self._order(attempt, order)

    def _order(self, attempt: Attempt, order: object) -> None:
        forker = self._forker or self.start()
        new = attempt.number not in self._known_files
        attempt.child = forker.create_process(
            order, attempt, descriptors=attempt.files.descriptors if new else ()
        )
        self._known_files.add(attempt.number)

    def open_gate(self, attempt: Attempt) -> None:
        """Let a child run its test."""
        assert attempt.slot is not None
        if attempt.child is None:  # there was no room: it is made again, and started then
            return
        attempt.child.tell(GATE.pack(*attempt.slot, self._session.testsfailed))

    def cancel(self, attempt: Attempt) -> None:
        """Let a child that waits at its gate go without having run."""
        if attempt.child is not None:
            self._manager.hang_up(attempt.child)

    def learn_from(self, attempt: Attempt) -> None:
        """Note what an attempt has shown: a fixture that kills its server, or that tests fail here."""
        if attempt.died_in_server and attempt.remains.fixture[0]:
            self._broken.append(attempt)
        if attempt.told.has_traceback and self._forker is not None and not self._shows_tracebacks:
            self._shows_tracebacks = True
            self._forker.order(("tracebacks",))

    def dies_of_fixture(self, attempt: Attempt) -> bool:
        """Whether a test needs a fixture that has killed a server: then it dies as that one did."""
        for broken in self._broken:
            if needs_fixture(attempt.item, *broken.remains.fixture):
                self.cancel(attempt)
                attempt.die_as(broken)
                return True
        return False

    def answer(self, attempt: Attempt) -> None:
        """Let a child go on that waits for our word on what it told."""
        if attempt.child is not None:
            attempt.child.tell(b".")

    def leave(self, attempt: Attempt, index: int, next_index: int | None, *, stops: bool) -> bool:
        """Have the scopes torn down that end with a test; ``left`` is called when that is done.

        :param stops: The run stops with this test: none is begun after it.
        :returns: False when there is no server that has any.
        """
        if self._forker is None or attempt.number not in self._known_files:
            return False
        self._leaving[index] = attempt, self._forker
        failed = self._session.testsfailed + _failures_to_tell(attempt)
        self._forker.order(("leave", index, next_index, attempt.number, failed, stops))
        return True

    def server(self) -> ChildProcess | None:
        """Return the server that works now, if one does."""
        return None if self._forker is None else self._forker.server

    def stop(self) -> None:
        """Let the server go: it leaves when its channel ends."""
        if self._forker is not None and self._forker.server is not None:
            if self.last_told >= 0:
                self._forker.order(("ends", self.last_told, self._session.testsfailed))
            self._manager.hang_up(self._forker.server)
        self._forker = None

    def end(self, seconds: float) -> None:
        """Let the server go and wait until shared fixtures are torn down, or the time for it is over.

        :raises KeyboardInterrupt: Nobody wants to wait any longer. All processes have been killed.
        """
        self.stop()
        deadline = time.monotonic() + seconds
        try:
            while not self._manager.wait_for_all_children(
                min(deadline, time.monotonic() + LOOK_SECONDS)
            ):
                if time.monotonic() >= deadline:
                    if seconds:
                        told = f"forked: shared fixtures were not torn down within {seconds:g} s"
                        say(self._session.config, told)
                    break
                self.set_going()
        finally:
            self._manager.kill_processes(signal.SIGKILL)

    def set_going(self) -> None:
        """Have fork servers go on that a test has stopped: nobody else would notice.

        Narrower ones are known as the parents of tests: one that is stopped has not reaped who did it,
        and has perhaps not told of it either. Or as who is at work for a test, and not its child.
        """
        for child in self._manager.children.values():
            if isinstance(child.result, RemoteForker):
                _set_going(child.pid)
            elif isinstance(child.result, Attempt):
                at_work = child.result.files.page.pid()
                _set_going(child.parent_pid or parent_of(at_work))
                if at_work != child.pid:
                    _set_going(at_work)

    def start(self) -> RemoteForker:
        """Start a server.

        :raises ForkError: Nothing was left for it.
        """
        flush_output(c_flusher())
        self._note_threads()
        self._use_huge_pages()
        forker = RemoteForker(
            self._manager,
            self._hear,
            lambda ending: self._server_died(forker, ending),
            find=self._find_orphan,
        )
        server = ForkServer(
            self._session,
            self._items,
            forker,
            live=self._live,
            signals=self._signals,
        )
        if gc.isenabled():
            # What is garbage is so for once and for all children. And whatever the collector has to
            # look at again in each of them is copied there.
            gc.collect(1)
        forker.server = self._manager.create_process(server)
        forget_unraisable(self._session.config)
        self._forker = forker
        self._shows_tracebacks = False
        self._known_files.clear()
        return forker

    def _use_huge_pages(self) -> None:
        """Make the many forks to come cheaper; once, as long as no child shares the memory."""
        if self._asked_for_huge_pages:
            return
        self._asked_for_huge_pages = True
        settings = self._session.config.stash[SETTINGS]
        if sum(settings[item].forked for item in self._items) >= HUGE_PAGES_FROM:
            collapse_memory(HUGE_PAGES_FROM_BYTES)

    def _note_threads(self) -> None:
        """Note which threads a fork leaves behind, with the locks that they hold."""
        config = self._session.config
        here = threading.current_thread()
        names = [
            each.name
            for each in threading.enumerate()
            if each is not here and not _module_of(each).startswith(HARMLESS)
        ]
        if names and not hasattr(config, "workerinput"):  # a worker of xdist always has some
            config.stash[THREADS] = names

    def _hear(self, message: object) -> None:
        match message:
            case ("left", int(index), bytes(frames), died) if index in self._leaving:
                attempt, _ = self._leaving.pop(index)
                attempt.told.scope_left(frames)
                if died is not None:
                    attempt.server_died(Ending.from_message(died))
                self._left(attempt)
            case ("fresh", str(name), str(reason)):
                self.fresh_fixtures.setdefault(name, reason)
            case ("told", str(name), payload):
                config = self._session.config
                config.hook.pytest_forked_told(config=config, name=name, payload=payload)
            case ("last", bytes(frames)):
                for name, payload in unpack_all(frames):
                    replay(self._session, name, payload)
            case _:
                raise FrameError(f"a fork server does not say {str(message)[:80]!r}")

    def _server_died(self, server: RemoteForker, ending: Ending) -> None:
        if self._forker is server:
            self._forker = None
        for index, (attempt, forker) in list(self._leaving.items()):
            if forker is server:
                del self._leaving[index]
                attempt.server_died(ending)
                self._left(attempt)

    def _find_orphan(self, child: ChildProcess) -> int | None:
        """Return the process of a child whose fork server died right after the fork.

        One that has not come so far as to note its own leaves before its test: nobody would hear it.
        """
        if (pid := _orphan(child)) is not None:
            return pid
        self._manager.hang_up(child)
        if (pid := _orphan(child)) is not None:
            os.kill(pid, signal.SIGKILL)  # it may have looked right before we hung up
        return pid


def _failures_to_tell(attempt: Attempt) -> int:
    """Count the failures of a test that are still to be told, but for that of its teardown.

    A crash is one, whatever is expected of it.
    """
    messages = attempt.told.messages
    end = last_teardown(messages)
    reports = [
        payload[0] for name, payload in messages[: end if end >= 0 else None] if name == REPORT
    ]
    failed = [report for report in reports if report.get("outcome") == "failed"]
    return sum("wasxfail" not in report for report in failed) + (not attempt.done)


def _set_going(server: int | None) -> None:
    """Have a process go on that is a fork server, if it is stopped."""
    if server and is_stopped(server) and descends_from_here(server):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGCONT)


def _orphan(child: ChildProcess) -> int | None:
    """Return the process that has noted itself as a child's, if it is ours now."""
    assert isinstance(child.result, Attempt)
    pid = child.result.files.page.child_pid()
    return pid if parent_of(pid) == os.getpid() else None


def _module_of(thread: threading.Thread) -> str:
    """Return where the function is defined that a thread runs (``Thread._target``)."""
    return getattr(getattr(thread, "_target", None), "__module__", None) or ""
