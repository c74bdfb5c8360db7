"""Handlers: called once, in order, from a step; what they do or raise keeps no child."""

from __future__ import annotations

import os
import time

import pytest
from managing import Act, Heard, finish, run, step_until
from watching import HANG_SECONDS, every_waiter

from pytest_procrastinate.process.child import State


@every_waiter
def test_a_handler_may_fork_the_next_child(manager):
    tasks = [Act(lambda channel: channel("here")) for _ in range(20)]
    waiting = list(tasks)

    def fork_next(*_: object) -> None:
        if waiting:
            manager.create_process(waiting.pop(0), fork_next)

    fork_next()
    finish(manager)

    assert [task.result.messages for task in tasks] == [["here"]] * 20
    assert [task.result.ending.exit_status for task in tasks] == [0] * 20


def test_a_message_may_lead_to_a_fork(manager):
    class Forks(Heard):
        def incoming_message(self, message):
            super().incoming_message(message)
            manager.create_process(second)

    second = Act(lambda channel: channel("second"))
    first = Act(lambda channel: channel("first"), Forks())
    manager.create_process(first)
    finish(manager)

    assert (first.result.messages, second.result.messages) == (["first"], ["second"])


@every_waiter
def test_what_a_completion_handler_raises_reaches_the_caller_once(manager):
    def raises(child):
        raise ValueError(child.pid)

    tasks = [Act(lambda channel: None) for _ in range(3)]
    children = [manager.create_process(task, raises) for task in tasks]
    for child in children:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    began = time.monotonic()
    for _ in children:
        with pytest.raises(ValueError, match=r"\d+"):
            step_until(manager, lambda: False)

    assert time.monotonic() - began < HANG_SECONDS / 2
    assert manager.process_count == 0
    assert all(child.removable for child in children)
    assert all(task.result.ending for task in tasks)


def test_a_result_that_raises_at_the_end_does_not_keep_the_handler_from_being_called(manager):
    class Raises(Heard):
        def process_died(self, ending):
            super().process_died(ending)
            raise ValueError("at the end")

    task = Act(lambda channel: None, Raises())
    child = manager.create_process(task, task.result.completed)
    with pytest.raises(ValueError, match="at the end"):
        finish(manager)

    assert task.result.events == [("died", child.ending), ("completed", child)]
    assert manager.process_count == 0


def test_a_result_that_raises_at_a_message_hears_the_end_all_the_same(manager, gate):
    class Raises(Heard):
        def incoming_message(self, message):
            super().incoming_message(message)
            raise ValueError(message)

    task = Act(lambda channel: (channel("one"), gate.wait()), Raises())
    child = manager.create_process(task, task.result.completed)
    with pytest.raises(ValueError, match="one"):
        finish(manager)
    assert child.state is State.RUNNING

    gate.let_through()
    finish(manager)
    assert task.result.events[1:] == [("died", child.ending), ("completed", child)]


def test_a_child_is_not_counted_any_more_in_its_own_handler(manager, gate):
    counts = []
    for _ in range(3):
        manager.create_process(Act(gate.wait), lambda child: counts.append(manager.process_count))
    for left in (2, 1, 0):
        gate.let_through()
        step_until(manager, lambda left=left: manager.process_count == left)

    assert counts == [2, 1, 0]


def test_a_handler_may_run_another_child_from_beginning_to_end(manager):
    """A step within a step: what ended meanwhile is told once."""
    inner = []
    outer = [Act(lambda channel: channel("outer")) for _ in range(5)]
    for task in outer:
        manager.create_process(
            task, lambda child: inner.append(run(manager, lambda channel: channel("inner")))
        )
    finish(manager)

    assert [task.result.messages for task in outer] == [["outer"]] * 5
    assert [heard.messages for heard in inner] == [["inner"]] * 5
    assert all(heard.ending.exit_status == 0 for heard in inner)
