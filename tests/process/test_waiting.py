"""Waiting: each death is noticed, by the one whose child it was."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys

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
    reap,
)

from pytest_procrastinate.process import unpatched
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.waiting import (
    PidfdWaiter,
    SigchldWaiter,
    Stopped,
    default_waiter,
    have_pidfds,
    poll_child,
)


@every_waiter
def test_a_death_is_noticed(watch):
    child = Child(lambda: os._exit(3))
    watch.watch(child.pid)
    assert watch.waiter.poll(child.pid) is None

    child.go()
    ending = watch.wait(child.pid)

    assert isinstance(ending, Ending)
    assert (ending.pid, ending.exit_status) == (child.pid, 3)
    assert ending.usage is not None
    assert ending.usage.peak_memory_bytes > 0


@every_waiter
def test_a_signal_sent_ends_the_child_and_none_is_sent_to_the_dead(watch):
    child = Child(lambda: None)
    watch.watch(child.pid)

    assert watch.waiter.send_signal(child.pid, signal.SIGKILL)
    ending = watch.wait(child.pid)

    assert isinstance(ending, Ending)
    assert ending.signal == signal.SIGKILL
    assert not watch.waiter.send_signal(child.pid, signal.SIGKILL)
    child.close()


@needs_pidfds
def test_a_pidfd_signals_nobody_after_its_child_was_reaped():
    waiter = PidfdWaiter()
    waiter.open(lambda: None)
    child = Child(lambda: None)
    waiter.watch(child.pid)
    child.go()
    reap(child.pid)

    assert not waiter.send_signal(child.pid, 0)
    waiter.close()


@every_waiter
@pytest.mark.parametrize("pid", [0, -1])
def test_a_signal_never_goes_to_a_group(watch, pid):
    with pytest.raises(ValueError, match="is not one process"):
        watch.waiter.send_signal(pid, 0)


@every_waiter
def test_a_child_that_died_before_it_was_watched_is_noticed(watch):
    child = Child(lambda: os._exit(4))
    child.go()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    watch.watch(child.pid)

    assert watch.wait(child.pid).exit_status == 4


@every_waiter
def test_a_child_reaped_by_somebody_else_is_lost(watch):
    child = Child(lambda: os._exit(5))
    child.go()
    reap(child.pid)

    watch.watch(child.pid)

    assert watch.wait(child.pid) == Ending.lost(child.pid)


@every_waiter
def test_children_of_others_are_not_reaped(watch):
    other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    child = Child(lambda: os._exit(0))
    watch.watch(child.pid)
    child.go()

    assert watch.wait(child.pid).exit_status == 0
    assert other.wait(HANG_SECONDS) == 7


@every_waiter
def test_many_deaths_at_once_are_all_noticed(watch):
    children = [Child(lambda status=status: os._exit(status)) for status in range(20)]
    for child in children:
        watch.watch(child.pid)
    for child in children:
        child.go()

    assert [watch.wait(child.pid).exit_status for child in children] == list(range(20))


@every_waiter
def test_several_waiters_hear_of_their_own_children(make_waiter):
    one, two = Watch(make_waiter()), Watch(make_waiter())
    ours, theirs = Child(lambda: os._exit(1)), Child(lambda: os._exit(2))
    one.watch(ours.pid)
    two.watch(theirs.pid)
    theirs.go()
    assert two.wait(theirs.pid).exit_status == 2
    two.close()

    ours.go()

    assert one.wait(ours.pid).exit_status == 1
    one.close()


@every_waiter
@pytest.mark.parametrize("first", [0, 1])
def test_waiters_of_both_kinds_get_along_and_may_close_in_any_order(make_waiter, first):
    watches = [Watch(make_waiter()), Watch(SigchldWaiter())]
    watches.pop(first).close()
    child = Child(lambda: os._exit(6))
    watches[0].watch(child.pid)
    child.go()

    assert watches[0].wait(child.pid).exit_status == 6
    watches[0].close()


@every_waiter
def test_a_waiter_is_opened_once_and_may_be_opened_again(make_waiter):
    waiter = make_waiter()
    waiter.close()
    watch = Watch(waiter)
    with pytest.raises(RuntimeError, match="open already"):
        waiter.open(watch.wakeup)
    watch.close()
    waiter.close()

    watch = Watch(waiter)
    child = Child(lambda: os._exit(8))
    watch.watch(child.pid)
    child.go()

    assert watch.wait(child.pid).exit_status == 8
    watch.close()


@every_waiter_with_sigchld
def test_a_stop_is_noticed_and_the_child_goes_on(watch):
    def stop_twice() -> None:
        os.setpgid(0, 0)  # the kernel ignores SIGTSTP where nobody could go on with the group
        raise_signal(signal.SIGSTOP)
        raise_signal(signal.SIGTSTP)
        os._exit(9)

    child = Child(stop_twice)
    watch.watch(child.pid)
    child.go()

    assert watch.wait(child.pid) == Stopped(child.pid, signal.SIGSTOP)
    assert watch.waiter.poll(child.pid) is None
    watch.waiter.send_signal(child.pid, signal.SIGCONT)
    assert watch.wait(child.pid) == Stopped(child.pid, signal.SIGTSTP)
    watch.waiter.send_signal(child.pid, signal.SIGCONT)
    assert watch.wait(child.pid).exit_status == 9


@needs_pidfds
def test_a_pidfd_is_silent_about_a_stop_but_poll_finds_it():
    watch = Watch(PidfdWaiter())
    child = Child(lambda: raise_signal(signal.SIGSTOP))
    watch.watch(child.pid)
    child.go()
    # WNOWAIT leaves the news where poll will look for it.
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)

    assert watch.selector.select(0) == []
    assert watch.waiter.poll(child.pid) == Stopped(child.pid, signal.SIGSTOP)

    watch.waiter.send_signal(child.pid, signal.SIGKILL)
    assert watch.wait(child.pid).signal == signal.SIGKILL
    watch.close()


@pytest.mark.skipif(sys.platform != "linux", reason="PTRACE_TRACEME is Linux's")
def test_the_end_of_a_traced_child_is_found_behind_its_stop():
    traceme = ctypes.CDLL(None).ptrace

    def be_traced() -> None:
        traceme(0, 0, None, None)
        raise_signal(signal.SIGUSR1)

    child = Child(be_traced)
    child.go()
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert poll_child(child.pid) == Stopped(child.pid, signal.SIGUSR1)
    assert poll_child(child.pid) is None

    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    ending = poll_child(child.pid)
    assert isinstance(ending, Ending)
    assert ending.signal == signal.SIGKILL


@needs_pidfds
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_pidfds_work_in_any_thread():
    def look_after_one() -> Ending | Stopped:
        watch = Watch(PidfdWaiter())
        child = Child(lambda: os._exit(3))
        watch.watch(child.pid)
        child.go()
        ending = watch.wait(child.pid)
        watch.close()
        return ending

    assert getattr(in_thread(look_after_one), "exit_status", None) == 3


@needs_pidfds
def test_without_a_descriptor_left_watch_says_so():
    waiter = PidfdWaiter()
    waiter.open(lambda: None)
    child = Child(lambda: os._exit(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            waiter.watch(child.pid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    child.go()
    reap(child.pid)
    waiter.close()


def test_the_default_is_the_best_there_is(monkeypatch):
    assert isinstance(default_waiter(), PidfdWaiter if have_pidfds() else SigchldWaiter)

    monkeypatch.delattr(unpatched.os, "pidfd_open", raising=False)

    assert not have_pidfds()
    assert isinstance(default_waiter(), SigchldWaiter)
