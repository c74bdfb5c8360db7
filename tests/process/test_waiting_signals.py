"""Waiting beside other users of SIGCHLD: they hear as before, and all is put back after."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from watching import (
    HANG_SECONDS,
    Child,
    Watch,
    every_waiter,
    every_waiter_with_sigchld,
    in_thread,
    needs_pidfds,
    raise_signal,
)

from pytest_procrastinate.process.waiting import (
    PidfdWaiter,
)


@pytest.fixture
def found_handler() -> Iterator[list[int]]:
    """Somebody's handler for SIGCHLD, and the signals that it has heard."""
    heard: list[int] = []

    def handler(signum: int, frame: object) -> None:
        heard.append(signum)

    before = signal.signal(signal.SIGCHLD, handler)
    yield heard
    assert signal.signal(signal.SIGCHLD, before) is handler


@every_waiter
def test_a_handler_that_was_there_hears_as_before(found_handler, make_waiter):
    watch = Watch(make_waiter())
    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    child.go()
    watch.wait(child.pid)
    watch.close()

    assert found_handler == [signal.SIGCHLD]


@every_waiter_with_sigchld
def test_a_handler_that_came_later_stays_and_may_call_ours_for_ever(make_waiter):
    first = signal.getsignal(signal.SIGCHLD)
    watch = Watch(make_waiter())
    ours = signal.getsignal(signal.SIGCHLD)
    assert callable(ours)
    heard = []

    def later(signum: int, frame: object) -> None:
        heard.append(signum)
        ours(signum, frame)

    signal.signal(signal.SIGCHLD, later)
    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    child.go()
    watch.wait(child.pid)
    watch.close()
    assert signal.getsignal(signal.SIGCHLD) is later

    watch = Watch(make_waiter())
    raise_signal(signal.SIGCHLD)
    watch.close()
    assert signal.getsignal(signal.SIGCHLD) is later
    raise_signal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, first)

    assert heard == [signal.SIGCHLD] * 3


@every_waiter_with_sigchld
def test_a_wakeup_descriptor_that_was_there_hears_as_before(make_waiter):
    theirs = socket.socketpair()
    for end in theirs:
        end.setblocking(False)
    signal.set_wakeup_fd(theirs[1].fileno())
    watch = Watch(make_waiter())
    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    child.go()
    watch.wait(child.pid)
    watch.close()

    assert signal.set_wakeup_fd(-1) == theirs[1].fileno()
    assert theirs[0].recv(100) == bytes([signal.SIGCHLD])
    for end in theirs:
        end.close()


@every_waiter_with_sigchld
def test_a_wakeup_descriptor_that_came_later_stays(make_waiter):
    theirs = socket.socketpair()
    for end in theirs:
        end.setblocking(False)
    watch = Watch(make_waiter())
    ours = signal.set_wakeup_fd(theirs[1].fileno())
    watch.close()

    assert signal.set_wakeup_fd(-1) == theirs[1].fileno()
    # Its number stays taken, for those who remember it.
    os.fstat(ours)
    for descriptor in (ours, watch.own_descriptor):
        os.close(descriptor)
    for end in theirs:
        end.close()


@every_waiter_with_sigchld
def test_a_death_is_noticed_when_another_thread_gets_the_signal(watch):
    ready, done = threading.Event(), threading.Event()

    def take_signals() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        ready.set()
        done.wait(HANG_SECONDS)

    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    thread = threading.Thread(target=take_signals)
    thread.start()
    ready.wait(HANG_SECONDS)
    # The main thread's sleep is not interrupted now: only the descriptor can end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    child.go()

    try:
        assert watch.wait(child.pid).exit_status == 0
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        done.set()
        thread.join()


@every_waiter_with_sigchld
def test_a_blocked_sigchld_is_let_through_while_open(make_waiter):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    watch = Watch(make_waiter())
    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    child.go()
    watch.wait(child.pid)
    watch.close()

    assert signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


@every_waiter
def test_ignored_sigchld_does_not_lose_endings_and_is_ignored_again_after(make_waiter):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        watch = Watch(make_waiter())
        child = Child(lambda: os._exit(3))
        watch.watch(child.pid)
        child.go()
        assert watch.wait(child.pid).exit_status == 3
        watch.close()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


@every_waiter_with_sigchld
def test_sigchld_outside_the_main_thread_is_refused(make_waiter):
    error = in_thread(lambda: make_waiter().open(lambda: None))

    assert isinstance(error, RuntimeError)
    assert "in the main thread only, and this is 'other'" in str(error)


@needs_pidfds
def test_ignored_sigchld_outside_the_main_thread_is_refused():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        error = in_thread(lambda: PidfdWaiter().open(lambda: None))
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert isinstance(error, RuntimeError)
    assert "SIGCHLD is ignored" in str(error)


@every_waiter
def test_a_forked_child_lets_go_and_its_parent_goes_on(found_handler, make_waiter):
    handler = signal.getsignal(signal.SIGCHLD)
    watch = Watch(make_waiter())
    sibling = Child(lambda: os._exit(1))
    watch.watch(sibling.pid)
    pidfd = watch.descriptors.get(sibling.pid)

    def inspect() -> None:
        watch.waiter.after_fork()
        watch.waiter.after_fork()
        closed = 0
        for descriptor in (pidfd, watch.own_descriptor):
            try:
                os.fstat(-1 if descriptor is None else descriptor)
            except OSError:
                closed += 1
        found = [
            closed == 2,
            signal.getsignal(signal.SIGCHLD) is handler,
            signal.set_wakeup_fd(-1) == -1,
        ]
        own = Watch(make_waiter())
        grandchild = Child(lambda: os._exit(0))
        own.watch(grandchild.pid)
        grandchild.go()
        found.append(own.wait(grandchild.pid).exit_status == 0)
        own.close()
        os._exit(0 if all(found) else 1 + found.index(False))

    child = Child(inspect)
    watch.watch(child.pid)
    child.go()

    assert watch.wait(child.pid).exit_status == 0
    sibling.go()
    assert watch.wait(sibling.pid).exit_status == 1
    watch.close()


@every_waiter
def test_a_handler_that_reaps_all_there_are_takes_no_ending_of_ours(make_waiter):
    reaped = []

    def reap_all(signum, frame):
        with contextlib.suppress(ChildProcessError):
            while (waited := os.waitpid(-1, os.WNOHANG))[0]:
                reaped.append(waited)

    before = signal.signal(signal.SIGCHLD, reap_all)
    try:
        watch = Watch(make_waiter())
        ours, another = Child(lambda: os._exit(3)), Child(lambda: os._exit(4))
        watch.watch(ours.pid)
        ours.go()
        assert watch.wait(ours.pid).exit_status == 3
        another.go()
        deadline = time.monotonic() + HANG_SECONDS
        while not reaped and time.monotonic() < deadline:
            signal.sigtimedwait([], 0.01)
        assert reaped == [(another.pid, 4 << 8)]
        watch.close()
        assert signal.getsignal(signal.SIGCHLD) is reap_all
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_who_is_reaped_and_not_asked_for_yet_is_signalled_no_more(make_waiter):
    watch = Watch(make_waiter())
    child = Child(lambda: os._exit(3))
    watch.watch(child.pid)
    child.go()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    watch.waiter.keep_endings()

    assert not watch.waiter.send_signal(child.pid, 0)
    assert watch.wait(child.pid).exit_status == 3
    watch.close()
