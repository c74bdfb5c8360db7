"""What the tests of the mechanism share: a manager in small, and children in a known state."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.waiting import (
    PidfdWaiter,
    SigchldWaiter,
    Stopped,
    Waiter,
    have_pidfds,
)

HANG_SECONDS = 30.0

needs_pidfds = pytest.mark.skipif(not have_pidfds(), reason="needs pidfds")

WAITERS = {
    "pidfd": pytest.param(PidfdWaiter, id="pidfd", marks=needs_pidfds),
    "pidfd-stops": pytest.param(
        lambda: PidfdWaiter(notice_stops=True), id="pidfd-stops", marks=needs_pidfds
    ),
    "sigchld": pytest.param(SigchldWaiter, id="sigchld"),
}
every_waiter = pytest.mark.parametrize("make_waiter", WAITERS.values())
every_waiter_with_sigchld = pytest.mark.parametrize(
    "make_waiter", [WAITERS["pidfd-stops"], WAITERS["sigchld"]]
)


class Watch:
    """What a manager does with a waiter: one selector, one control pipe, no tick."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.watched: set[int] = set()
        self.descriptors: dict[int, int] = {}
        self.news: dict[int, Ending | Stopped] = {}
        self.selector = selectors.DefaultSelector()
        self.control_pipe = socket.socketpair()
        for end in self.control_pipe:
            end.setblocking(False)
        self.selector.register(self.control_pipe[0], selectors.EVENT_READ)
        waiter.open(self.wakeup)
        self.own_descriptor = waiter.descriptor
        if self.own_descriptor is not None:
            self.selector.register(self.own_descriptor, selectors.EVENT_READ)

    def wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.control_pipe[1].send(b".")

    def watch(self, pid: int) -> None:
        self.watched.add(pid)
        descriptor = self.waiter.watch(pid)
        if descriptor is not None:
            self.descriptors[pid] = descriptor
            self.selector.register(descriptor, selectors.EVENT_READ)

    def wait(self, pid: int) -> Ending | Stopped:
        """Sleep until there is news of ``pid``; polls only when told that there may be."""
        deadline = time.monotonic() + HANG_SECONDS
        while pid not in self.news:
            if not self.selector.select(deadline - time.monotonic()):
                raise TimeoutError(f"no news of process {pid}")
            self.poll_all()
        return self.news.pop(pid)

    def poll_all(self) -> None:
        self.waiter.drain()
        with contextlib.suppress(BlockingIOError):
            self.control_pipe[0].recv(4096)
        for pid in list(self.watched):
            news = self.waiter.poll(pid)
            if news is not None:
                self.news[pid] = news
            if isinstance(news, Ending):
                self.watched.remove(pid)
                self.forget(pid)

    def forget(self, pid: int) -> None:
        descriptor = self.descriptors.pop(pid, None)
        if descriptor is not None:
            self.selector.unregister(descriptor)
        self.waiter.forget(pid)

    def close(self) -> None:
        self.selector.close()
        self.waiter.close()
        for end in self.control_pipe:
            end.close()


class Child:
    """A forked child that waits at a gate, then acts."""

    def __init__(self, action: Callable[[], object]) -> None:
        gate, self.write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.write_end)
                os.read(gate, 1)
                action()
            finally:
                os._exit(99)
        os.close(gate)

    def go(self) -> None:
        # Children forked later hold the write end, too: closing it would not do.
        os.write(self.write_end, b".")
        self.close()

    def close(self) -> None:
        os.close(self.write_end)


def reap(pid: int) -> int:
    """Return the wait status of a child that is about to end."""
    return os.waitpid(pid, 0)[1]


def raise_signal(number: int) -> None:
    faulthandler.disable()  # or the stack of a child that ends as it should is in the output
    os.kill(os.getpid(), number)


def in_thread(function: Callable[[], object]) -> object:
    """Return what ``function`` returns or raises in another thread."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    return outcome[0]


class Ready:
    """How processes of a test tell their pids, when they are where the test wants them."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def tell(self) -> None:
        os.write(self.write_end, b"%d\n" % os.getpid())

    def hear(self, count: int = 1) -> list[int]:
        told = b""
        while told.count(b"\n") < count:
            told += os.read(self.read_end, 100)
        return [int(pid) for pid in told.split()]

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def fork(action: Callable[[], object]) -> int:
    """Fork a process that does ``action``, then sleeps until it is ended."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            while True:
                signal.pause()
        finally:
            os._exit(99)
    return pid
