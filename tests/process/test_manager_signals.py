"""Signals to children and to the groups they lead, and children that are stopped."""

from __future__ import annotations

import ctypes
import os
import signal

import pytest
from managing import Act, Heard, finish, run, step_until
from watching import HANG_SECONDS, every_waiter, every_waiter_with_sigchld, fork, raise_signal

from pytest_procrastinate.process.child import ChildProcess, State, parent_of
from pytest_procrastinate.process.cleanup import lead_own_group
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.inherited import is_running, wait_for_end


def waits(ready):
    """Return an action that says that it is there, and waits for a signal."""

    def wait(*_: object) -> None:
        ready.tell()
        while True:
            signal.pause()

    return wait


def state_of(pid: int) -> str:
    """Return the letter that the kernel has for a process, proc(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@every_waiter
def test_a_signal_goes_to_one_child_or_to_all_that_run(manager, ready):
    tasks = [Act(waits(ready)) for _ in range(3)]
    first, *others = [manager.create_process(task) for task in tasks]
    ready.hear(3)

    manager.kill_process(first, signal.SIGKILL)
    step_until(manager, lambda: first.removable)
    assert {child.state for child in others} == {State.RUNNING}

    manager.kill_processes(signal.SIGTERM)
    finish(manager)
    assert [task.result.ending.signal for task in tasks] == [9, 15, 15]


@every_waiter
def test_a_child_that_is_gone_is_sent_nothing(manager):
    task = Act(lambda channel: None)
    child = manager.create_process(task)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    manager.kill_process(child, signal.SIGKILL)  # a zombie: nobody else has its number
    finish(manager)
    manager.kill_process(child, signal.SIGKILL)
    manager.kill_group(child, signal.SIGKILL)

    assert child.ending.exit_status == 0


@every_waiter
def test_a_stopped_child_is_running_and_goes_on(manager, ready):
    def act(channel):
        channel("before")
        raise_signal(signal.SIGSTOP)
        channel("after")

    task = Act(act)
    child = manager.create_process(task)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    step_until(manager, lambda: task.result.messages)
    manager.step(0)
    assert (child.state, task.result.messages) == (State.RUNNING, ["before"])

    manager.kill_process(child, signal.SIGCONT)
    finish(manager)
    assert task.result.messages == ["before", "after"]
    assert child.ending.exit_status == 0


@every_waiter
def test_a_stopped_child_can_be_killed(manager):
    child = manager.create_process(Act(lambda channel: raise_signal(signal.SIGSTOP)))
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)

    manager.kill_process(child, signal.SIGKILL)
    finish(manager)
    assert child.ending.signal == signal.SIGKILL


@every_waiter
def test_shutdown_ends_a_stopped_child(manager):
    task = Act(lambda channel: raise_signal(signal.SIGSTOP))
    child = manager.create_process(task)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)

    manager.shutdown(grace_seconds=1)

    assert task.result.ending.signal == signal.SIGKILL


@every_waiter_with_sigchld
def test_a_stop_ends_a_step_where_signals_tell_of_it(manager):
    child = manager.create_process(Act(lambda channel: raise_signal(signal.SIGSTOP), None))

    step_until(manager, lambda: manager.woken)

    assert state_of(child.pid) == "T"
    manager.kill_process(child, signal.SIGKILL)
    finish(manager)


@every_waiter
def test_a_traced_child_that_stops_at_a_signal_is_no_hang(manager):
    def act(channel):
        ctypes.CDLL(None).ptrace(0, 0, None, None)  # PTRACE_TRACEME
        channel("traced")
        raise_signal(signal.SIGUSR1)

    task = Act(act)
    child = manager.create_process(task)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    step_until(manager, lambda: task.result.messages)
    assert child.state is State.RUNNING

    manager.kill_process(child, signal.SIGKILL)
    finish(manager)
    assert child.ending.signal == signal.SIGKILL


# --- groups -------------------------------------------------------------------------------------


@every_waiter
def test_a_group_ends_with_the_child_that_leads_it(manager, ready):
    def act(channel):
        lead_own_group()
        fork(waits(ready))
        waits(ready)()

    child = manager.create_process(Act(act))
    pids = ready.hear(2)
    manager.kill_group(child, signal.SIGKILL)
    finish(manager)

    assert child.ending.signal == signal.SIGKILL
    (descendant,) = set(pids) - {child.pid}
    wait_for_end(descendant, HANG_SECONDS)
    assert not is_running(descendant)


def test_without_a_group_the_child_alone_is_sent_the_signal(manager, ready):
    child = manager.create_process(Act(waits(ready)))
    ready.hear()

    manager.kill_group(child, signal.SIGTERM)
    finish(manager)

    assert child.ending.signal == signal.SIGTERM


def test_a_child_that_left_the_group_it_led_is_sent_the_signal_too(manager, ready):
    own_group = os.getpgrp()

    def act(channel):
        lead_own_group()
        fork(waits(ready))
        os.setpgid(0, own_group)
        waits(ready)()

    child = manager.create_process(Act(act))
    pids = ready.hear(2)
    manager.kill_group(child, signal.SIGKILL)
    finish(manager)

    assert child.ending.signal == signal.SIGKILL
    (descendant,) = set(pids) - {child.pid}
    wait_for_end(descendant, HANG_SECONDS)
    assert not is_running(descendant)


# --- whose pid it is ----------------------------------------------------------------------------


def test_a_process_that_is_not_of_this_child_is_never_signalled(manager, ready):
    """The number of a fork server's child may have been given away since."""
    stranger = fork(waits(ready))
    ready.hear()
    child = manager.create_process(Act(waits(ready)))
    ready.hear()
    pid = child.pid
    for lie in ((1, None), (1, 0), (os.getppid(), parent_of(os.getppid()))):
        child.pid, child.parent_pid = lie  # as a server that lies may tell
        manager.kill_process(child, signal.SIGKILL)
        manager.kill_group(child, signal.SIGKILL)
    child.pid, child.parent_pid = pid, os.getpid()
    manager.kill_process(child, signal.SIGKILL)
    finish(manager)

    assert state_of(stranger) == "S"
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)


def test_a_child_that_a_servers_own_child_has_forked_is_signalled(manager, ready):
    def act(channel):
        channel((os.getpid(), grandchild := fork(waits(ready))))
        os.waitpid(grandchild, 0)

    heard = Heard()
    server = manager.create_process(Act(act, heard))
    ready.hear()
    step_until(manager, lambda: heard.messages)
    below = ChildProcess(None, None)
    below.start(heard.messages[0][1])
    below.parent_pid = heard.messages[0][0]
    manager.look_after(below, local=False)
    manager.kill_process(below, signal.SIGKILL)
    step_until(manager, lambda: server.removable)
    below.stop(Ending.lost(0))
    finish(manager)


@pytest.mark.parametrize("name", ["plain", "with ) (a bracket"])
def test_the_parent_of_a_process_is_known_whatever_its_name(manager, name):
    def act(channel):
        ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME
        channel(parent_of(os.getpid()))

    assert run(manager, act).messages == [os.getpid()]


def test_the_parent_of_no_process_is_none():
    assert parent_of(0) is None
    assert parent_of(-1) is None
