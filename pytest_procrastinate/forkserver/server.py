"""The fork server: forks each test's child, relays endings, runs no test itself."""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Callable

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.run import ChildProgram, enable_faulthandler
from pytest_procrastinate.child.telling import PhaseMarker, Teller
from pytest_procrastinate.process.child import Channel
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.remote import RemoteForker, RemoteService
from pytest_procrastinate.process.task import Endpoint
from pytest_procrastinate.pytest_private import Inherited

HIGH_DESCRIPTOR = 500  # above what a test closes or reuses by number, see fcntl(2) F_DUPFD


class ForkServer:
    """The task of a fork server. Made in the pytest process, runs in the server.

    :param items: All items of the session, known to both sides by their index.
    :param live: Tests tell as they run, see :class:`.Teller`.
    """

    def __init__(
        self, session: pytest.Session, items: list[pytest.Item], result: RemoteForker, *, live: bool
    ) -> None:
        self.result = result
        self._session = session
        self._items = items
        self._live = live
        self._files: dict[int, ChildFiles] = {}

    def run(self, endpoint: Endpoint | None) -> None:
        """Serve until the pytest process has gone or closes the channel."""
        assert isinstance(endpoint, Channel)
        # Ctrl-C reaches the whole group: it is for the pytest process to say what it means.
        self._on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        self._inherited = Inherited(self._session)
        self._inherited.disown()
        self._teller = Teller(self._session.config)
        self._marker = PhaseMarker()
        self._session.config.pluginmanager.register(self._marker, "forked-phases")
        self._flush_c = flush_c()
        self._fault_descriptor = high_duplicate(2)
        enable_faulthandler(self._fault_descriptor)
        manager = ProcessManager()
        manager.setup()
        self._service = RemoteService(manager, endpoint.end, self._make_task, self._obey)
        while self._service.open:
            manager.step()
        manager.kill_processes(signal.SIGKILL)
        manager.shutdown()

    def _make_task(self, order: object, channel: int, descriptors: list[int]) -> _ForkTest:
        match order:
            case (int(index), next_index, int(number)):
                if descriptors:
                    if number in self._files:
                        self._files[number].close()
                    self._files[number] = ChildFiles(descriptors)
                nextitem = self._items[next_index] if isinstance(next_index, int) else None
                program = ChildProgram(
                    item=self._items[index],
                    nextitem=nextitem,
                    files=self._files[number],
                    teller=self._teller,
                    marker=self._marker,
                    inherited=self._inherited,
                    fault_descriptor=self._fault_descriptor,
                    live=self._live,
                    on_interrupt=self._on_interrupt,
                    flush_c=self._flush_c,
                )
                self._before_fork(program.item)
                return _ForkTest(program, channel, self._service)
        raise ValueError(f"not an order: {order!r}")

    def _before_fork(self, item: pytest.Item) -> None:
        # A watchdog that is armed at the fork blocks for ever when a child cancels it.
        faulthandler.cancel_dump_traceback_later()
        item.ihook.pytest_forked_before_fork(item=item)

    def _obey(self, order: object) -> None:
        raise ValueError(f"not an order: {order!r}")


class _ForkTest:
    """The task of one test's child."""

    result = None

    def __init__(self, program: ChildProgram, channel: int, service: RemoteService) -> None:
        self._program = program
        self._channel = channel
        self._service = service

    def run(self, endpoint: Endpoint | None) -> None:
        self._service.after_fork()
        self._program.run(Channel.from_descriptor(high_duplicate(self._channel, close=True)))


def high_duplicate(descriptor: int, *, close: bool = False) -> int:
    """Return a duplicate with a high number, not inherited by other programs."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:  # RLIMIT_NOFILE is lower than that
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    if close:
        os.close(descriptor)
    return high


def flush_c() -> Callable[[], None]:
    """Return a function that flushes C's stdio: what lies there would be written twice."""
    try:
        fflush = ctypes.CDLL(None).fflush
    except (OSError, AttributeError):
        return lambda: None
    return lambda: fflush(None)


def flush_all() -> None:
    """Flush Python's and C's output streams before a fork."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass
    flush_c()()
