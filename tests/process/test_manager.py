"""The manager: each child is forked once, heard in order, reaped by nobody else, and let go."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from managing import Act, Heard, finish, run, step_until
from watching import HANG_SECONDS, every_waiter, in_thread, needs_pidfds, raise_signal

from pytest_procrastinate.process.child import BROKEN_STATUS, InChild, State
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.task import CallableTask
from pytest_procrastinate.process.waiting import PidfdWaiter, SigchldWaiter

# --- one child ----------------------------------------------------------------------------------


@every_waiter
def test_a_child_is_told_in_one_order_and_removable_in_the_end(manager, gate):
    def act(channel):
        gate.wait()
        channel("one")
        channel({"two": (2, b"2")})
        os._exit(3)

    task = Act(act)
    child = manager.create_process(task, task.result.completed)
    assert (child.state, child.ending) == (State.RUNNING, None)
    assert child.parent_pid == os.getpid()
    assert manager.process_count == 1

    gate.let_through()
    finish(manager)

    assert task.result.events == [
        ("message", "one"),
        ("message", {"two": (2, b"2")}),
        ("died", child.ending),
        ("completed", child),
    ]
    assert (child.ending.pid, child.ending.exit_status) == (child.pid, 3)
    assert child.removable
    assert child.error is None
    assert manager.process_count == 0


@every_waiter
def test_the_handler_is_called_when_the_child_is_reaped_and_drained(manager):
    states = []

    def completed(child):
        states.append((child.state, child.channel.fileno(), len(task.result.messages)))
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)

    task = Act(lambda channel: [channel(number) for number in range(100)])
    manager.create_process(task, completed)
    finish(manager)

    assert states == [(State.REMOVABLE, -1, 100)]


def test_more_than_a_socket_holds_arrives(manager):
    parts = [bytes([number]) * 700_000 for number in range(10)]

    heard = run(manager, lambda channel: [channel(part) for part in parts])

    assert heard.messages == parts


@every_waiter
@pytest.mark.parametrize("status", [0, 1, 255])
def test_a_child_that_leaves_without_a_word_has_said_nothing(manager, status):
    heard = run(manager, lambda channel: os._exit(status))

    assert heard.messages == []
    assert heard.ending.exit_status == status


@every_waiter
@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM])
def test_the_signal_that_ends_a_child_is_told(manager, signum):
    heard = run(manager, lambda channel: (channel("last words"), raise_signal(signum)))

    assert heard.messages == ["last words"]
    assert (heard.ending.signal, heard.ending.exit_status) == (signum, None)


def test_a_task_that_raises_ends_its_child_and_no_other_code_of_the_caller_runs(manager):
    def fail(channel):
        raise ValueError("no")

    own_pid = os.getpid()
    task = Act(fail)
    try:
        manager.create_process(task)
    finally:
        if os.getpid() != own_pid:
            os._exit(99)
    finish(manager)

    assert task.result.ending.exit_status == BROKEN_STATUS


@pytest.mark.parametrize(("code", "status"), [(None, 0), (3, 3), (259, 3), ("a text", 1)])
def test_system_exit_has_its_own_status(manager, code, status):
    heard = run(manager, lambda channel: sys.exit(code))

    assert heard.ending.exit_status == status


def test_an_interrupt_in_the_child_right_after_its_fork_does_not_reach_the_caller(manager):
    own_pid = os.getpid()

    class Interrupted(ProcessManager):
        def cleanup(self):
            raise KeyboardInterrupt

    interrupted = Interrupted()
    interrupted.setup()
    task = Act(lambda channel: None)
    try:
        interrupted.create_process(task)
    finally:
        if os.getpid() != own_pid:
            os._exit(99)
    interrupted.shutdown(HANG_SECONDS)

    assert task.result.ending.exit_status == BROKEN_STATUS


def test_without_a_result_there_is_no_way_up(manager):
    completed = []
    child = manager.create_process(
        Act(lambda endpoint: os._exit(5 if endpoint is None else 6), None), completed.append
    )
    finish(manager)

    assert child.channel is None
    assert completed == [child]
    assert child.ending.exit_status == 5


def test_callables_give_their_values(manager):
    tasks = [CallableTask(pow, number, 2) for number in range(20)]
    for task in tasks:
        manager.create_process(task)
    finish(manager)

    assert [task.result.value for task in tasks] == [number**2 for number in range(20)]


@every_waiter
def test_a_child_that_somebody_else_reaps_is_lost_and_no_hang(manager, gate):
    task = Act(lambda channel: gate.wait())
    child = manager.create_process(task, task.result.completed)
    gate.let_through()
    os.waitpid(child.pid, 0)
    finish(manager)

    assert task.result.ending.cause == "lost"
    assert task.result.events[-1] == ("completed", child)


@every_waiter
def test_children_of_others_are_not_touched(manager):
    other = os.fork()
    if other == 0:
        os._exit(7)
    run(manager, lambda channel: None)

    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 7


# --- fork, right here ---------------------------------------------------------------------------


@every_waiter
def test_fork_returns_twice(manager):
    heard = Heard()
    forked = manager.fork(heard, heard.completed)
    if isinstance(forked, InChild):
        forked.channel("from the child")
        os._exit(4)
    finish(manager)

    assert heard.messages == ["from the child"]
    assert heard.ending.exit_status == 4


def test_the_managers_copy_in_a_child_can_do_its_siblings_no_harm(manager, gate):
    sibling = manager.create_process(Act(lambda channel: gate.wait(), None))
    heard = Heard()
    forked = manager.fork(heard)
    if isinstance(forked, InChild):
        manager.kill_processes(signal.SIGKILL)
        manager.wakeup()
        manager.shutdown(grace_seconds=0)
        try:
            manager.create_process(Act(lambda channel: None))
        except RuntimeError as error:
            forked.channel(str(error))
        os._exit(0)
    step_until(manager, lambda: heard.ending)
    assert heard.messages == ["set up the manager first"]
    assert sibling.state is State.RUNNING
    assert not manager.woken

    gate.let_through()
    finish(manager)
    assert sibling.ending.exit_status == 0


@every_waiter
def test_a_manager_within_a_child(manager, make_waiter):
    def act(channel):
        inner = ProcessManager(make_waiter())
        inner.setup()
        channel([run(inner, lambda channel: channel(1)).messages for _ in range(3)])
        inner.shutdown()

    heard = run(manager, act)

    assert heard.messages == [[[1]] * 3]
    assert heard.ending.exit_status == 0


# --- several ------------------------------------------------------------------------------------


@every_waiter
def test_several_managers_each_hear_their_own(make_waiter):
    managers = [ProcessManager(make_waiter()) for _ in range(3)]
    for manager in managers:
        manager.setup()
    tasks = [(each, Act(lambda channel: channel(os.getpid()))) for each in managers * 5]
    children = [each.create_process(task) for each, task in tasks]
    for manager in managers:
        finish(manager)
        manager.shutdown()

    assert [task.result.messages for _, task in tasks] == [[child.pid] for child in children]
    assert all(child.ending.exit_status == 0 for child in children)


@needs_pidfds
def test_off_the_main_thread():
    def work():
        manager = ProcessManager(PidfdWaiter())
        manager.setup()
        heard = run(manager, lambda channel: channel("from a thread's child"))
        manager.shutdown()
        return heard

    heard = in_thread(work)

    assert heard.messages == ["from a thread's child"]
    assert heard.ending.exit_status == 0


@needs_pidfds
def test_managers_in_several_threads():
    def work():
        manager = ProcessManager(PidfdWaiter())
        manager.setup()
        told.append([run(manager, lambda channel: channel(1)).messages for _ in range(10)])
        manager.shutdown()

    told: list[object] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)

    assert told == [[[1]] * 10] * 4


def test_a_manager_that_cannot_be_set_up_keeps_nothing():
    manager = ProcessManager(SigchldWaiter())

    assert isinstance(in_thread(manager.setup), RuntimeError)
    assert manager.control_pipe is None

    manager.setup()
    assert run(manager, lambda channel: None).ending.exit_status == 0
    manager.shutdown()


# --- life ---------------------------------------------------------------------------------------


def test_a_manager_is_set_up_once_at_a_time():
    manager = ProcessManager()
    with pytest.raises(RuntimeError, match="set up the manager first"):
        manager.create_process(Act(lambda channel: None))
    manager.shutdown()  # nothing to do

    for _ in range(2):
        manager.setup()
        with pytest.raises(RuntimeError, match="set up already"):
            manager.setup()
        assert run(manager, lambda channel: channel(1)).messages == [1]
        manager.shutdown()

    with pytest.raises(RuntimeError, match="set up the manager first"):
        manager.create_process(Act(lambda channel: None))


@every_waiter
def test_shutdown_waits_for_children(make_waiter, gate):
    manager = ProcessManager(make_waiter())
    manager.setup()
    tasks = [Act(gate.wait) for _ in range(5)]
    for task in tasks:
        manager.create_process(task)
    gate.let_through(5)

    manager.shutdown(HANG_SECONDS)

    assert [task.result.ending.exit_status for task in tasks] == [0] * 5


@every_waiter
def test_shutdown_ends_who_does_not_leave(make_waiter, ready):
    def deaf(channel):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ready.tell()
        signal.pause()

    def waits(channel):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ready.tell()
        signal.pause()

    manager = ProcessManager(make_waiter())
    manager.setup()
    tasks = [Act(deaf), Act(waits)]
    for task in tasks:
        manager.create_process(task)
    ready.hear(2)

    manager.shutdown(grace_seconds=0.2)

    assert [task.result.ending.signal for task in tasks] == [signal.SIGKILL, signal.SIGTERM]


def test_children_that_still_run_are_forgotten_by_teardown(gate):
    manager = ProcessManager()
    manager.setup()
    task = Act(gate.wait)
    child = manager.create_process(task, task.result.completed)

    manager.teardown()

    assert manager.process_count == 0
    gate.let_through()
    assert os.waitpid(child.pid, 0)[1] == 0
    assert task.result.events == []


# --- sleeping -----------------------------------------------------------------------------------


def test_the_deadline_ends_a_step(manager, gate):
    manager.create_process(Act(gate.wait))
    manager.deadline = time.monotonic() + 0.05
    manager.step()
    manager.step(HANG_SECONDS)  # it is over: this does not sleep at all

    assert manager.deadline <= time.monotonic() < manager.deadline + HANG_SECONDS / 2
    assert manager.process_count == 1


def test_a_wakeup_ends_a_step(manager):
    thread = threading.Thread(target=manager.wakeup)
    thread.start()
    step_until(manager, lambda: manager.woken)
    thread.join()

    for _ in range(100_000):  # more than the socket holds, and it never blocks
        manager.wakeup()
    manager.woken = False
    step_until(manager, lambda: manager.woken)


def test_a_wakeup_from_a_signal_handler_ends_a_step(manager):
    before = signal.signal(signal.SIGUSR1, lambda *_: manager.wakeup())
    try:
        own_pid = os.getpid()
        manager.create_process(Act(lambda channel: os.kill(own_pid, signal.SIGUSR1)))
        step_until(manager, lambda: manager.woken)
    finally:
        signal.signal(signal.SIGUSR1, before)
    finish(manager)
