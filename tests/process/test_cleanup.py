"""The first steps in a child: each is looked at from inside a forked child."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

import pytest
from watching import Child, raise_signal

from pytest_procrastinate.process.cleanup import (
    HIGH_DESCRIPTOR,
    close_descriptors,
    die_with_parent,
    high_duplicate,
    ignore_terminal_output_stops,
    lead_own_group,
    make_group,
    reset_signals,
    runs_of,
    signal_state,
)


def in_child(action: Callable[[], object]) -> bool:
    """Return whether ``action``, in a forked child, returned something true."""
    child = Child(lambda: os._exit(0 if action() else 1))
    child.go()
    status = os.waitpid(child.pid, 0)[1]
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def ours(signum: int, frame: object) -> None:
    raise AssertionError("the parent's handler ran in the child")


@pytest.fixture
def changed_signals():
    """Signals as a parent changes them, and what they were before."""
    before = signal_state(signal.SIGINT, signal.SIGTERM)
    wakeup = socket.socketpair()
    for end in wakeup:
        end.setblocking(False)
    for signum, _ in before.handlers:
        signal.signal(signum, ours)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.set_wakeup_fd(wakeup[1].fileno())
    yield before
    reset_signals(before)
    for end in wakeup:
        end.close()


def test_signals_are_what_they_were_before_the_parent_changed_them(changed_signals):
    def look() -> bool:
        reset_signals(changed_signals)
        return (
            signal_state(signal.SIGINT, signal.SIGTERM) == changed_signals
            and signal.set_wakeup_fd(-1) == -1
        )

    assert in_child(look)


def test_without_a_state_only_the_wakeup_descriptor_goes(changed_signals):
    def look() -> bool:
        reset_signals()
        return (
            signal.getsignal(signal.SIGINT) is ours
            and signal.SIGUSR1 in signal_state().mask
            and signal.set_wakeup_fd(-1) == -1
        )

    assert in_child(look)


def test_a_signal_that_waited_meets_the_handler_that_was_there(changed_signals):
    def look() -> bool:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        raise_signal(signal.SIGINT)
        try:
            reset_signals(changed_signals)
        except KeyboardInterrupt:
            return True
        return False

    assert in_child(look)


def test_setting_the_terminals_modes_in_the_background_does_not_stop():
    def look() -> bool:
        ignore_terminal_output_stops()
        raise_signal(signal.SIGTTOU)
        return True

    assert in_child(look)


def test_a_child_leads_its_own_group():
    def look() -> bool:
        lead_own_group()
        lead_own_group()
        return os.getpgrp() == os.getpid()

    assert in_child(look)


def test_a_session_leader_stays_one():
    def look() -> bool:
        os.setsid()
        lead_own_group()
        return os.getsid(0) == os.getpid()

    assert in_child(look)


def test_the_parent_may_make_the_group_first_and_a_dead_child_needs_none():
    child = Child(lambda: os._exit(0 if os.getpgrp() == os.getpid() else 1))
    make_group(child.pid)
    child.go()

    assert os.waitpid(child.pid, 0)[1] == 0
    make_group(child.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_dies_with_its_parent():
    alive, write_end = os.pipe()

    def be_parent() -> None:
        parent_pid = os.getpid()
        ready, ready_end = os.pipe()
        if os.fork() == 0:
            die_with_parent(parent_pid)
            os.close(ready)
            os.close(ready_end)
            signal.pause()
        os.close(ready_end)
        os.read(ready, 1)
        raise_signal(signal.SIGKILL)

    child = Child(be_parent)
    os.close(write_end)
    child.go()
    os.waitpid(child.pid, 0)

    # The grandchild is the last that holds the write end: this ends when it is dead.
    assert os.read(alive, 1) == b""
    os.close(alive)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_parent_that_is_gone_already_is_noticed():
    def orphan() -> None:
        die_with_parent(parent_pid=1 << 22, signum=signal.SIGTERM)
        os._exit(3)

    child = Child(orphan)
    child.go()

    assert os.WTERMSIG(os.waitpid(child.pid, 0)[1]) == signal.SIGTERM


def test_a_descriptor_is_duplicated_where_tests_do_not_meet_it():
    read_end, write_end = os.pipe()
    high = high_duplicate(write_end, close=True)

    assert high >= HIGH_DESCRIPTOR
    assert not os.get_inheritable(high)
    os.write(high, b"x")
    assert os.read(read_end, 1) == b"x"
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(write_end)
    close_descriptors([read_end, high])


@pytest.mark.parametrize("limit", [64, 1])
def test_with_a_low_limit_a_descriptor_goes_as_high_as_it_may(limit):
    def look() -> bool:
        read_end, write_end = os.pipe()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        moved = high_duplicate(write_end, close=True)
        os.write(moved, b"x")
        return os.read(read_end, 1) == b"x" and (moved >= limit // 2 if limit > 1 else True)

    assert in_child(look)


def test_neighbours_are_closed_at_once():
    assert runs_of([7, 3, 5, 4, 9, 8]) == ((3, 6), (7, 10))
    assert runs_of([]) == ()


def test_descriptors_are_closed_those_that_are_closed_already_too():
    read_end, write_end = os.pipe()
    os.close(read_end)

    close_descriptors([read_end, write_end, -1])

    for descriptor in (read_end, write_end):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(descriptor)
