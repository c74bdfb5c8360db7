"""Tasks: a function's value, its exception or the child's death reach the caller."""

from __future__ import annotations

import signal

import pytest

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import encode
from pytest_procrastinate.process.task import CallableTask, ChildDeath, ChildError

EXITED = Ending(5, 0, None, False, None)
KILLED = Ending(5, None, signal.SIGKILL, False, None)


class Wire:
    """An endpoint that hands each message over in one process."""

    def __init__(self, task: CallableTask) -> None:
        self.task = task

    def __call__(self, message: object) -> None:
        encode(message)
        self.task.result.incoming_message(message)


def run(task: CallableTask, ending: Ending = EXITED) -> CallableTask:
    task.run(Wire(task))
    task.result.process_died(ending)
    return task


def fail(text: str) -> None:
    raise ValueError(text)


def leave() -> None:
    raise SystemExit(3)


def test_the_value_of_a_function_is_told():
    task = run(CallableTask(pow, 7, 2, mod=10))

    assert task.result.ready
    assert task.result.value == 9
    assert task.result.ending is EXITED


def test_none_is_a_value():
    assert run(CallableTask(lambda: None)).result.value is None


def test_an_exception_is_told_with_its_traceback():
    task = run(CallableTask(fail, "no \udcff"))

    with pytest.raises(ChildError, match=r"in fail\n(?s:.*)ValueError: no \\udcff"):
        _ = task.result.value


def test_a_value_that_is_not_builtins_is_an_error():
    with pytest.raises(ChildError, match="a object is not a builtin"):
        _ = run(CallableTask(object)).result.value


def test_system_exit_is_left_to_the_ending():
    task = CallableTask(leave)

    with pytest.raises(SystemExit):
        task.run(Wire(task))


def test_a_child_that_died_before_it_told_is_a_death():
    task = CallableTask(pow, 7, 2)
    task.result.process_died(KILLED)

    with pytest.raises(ChildDeath, match="process 5 was killed by SIGKILL") as caught:
        _ = task.result.value
    assert caught.value.ending is KILLED


def test_a_value_told_before_the_crash_is_the_value():
    task = run(CallableTask(pow, 7, 2), KILLED)

    assert task.result.value == 49
    assert task.result.ending is KILLED


@pytest.mark.parametrize("message", [None, "value", ("value",), ("error", 3), ("what", 1)])
def test_a_message_that_makes_no_sense_is_no_value(message):
    task = CallableTask(pow, 7, 2)
    task.result.incoming_message(message)
    task.result.process_died(EXITED)

    with pytest.raises(ChildDeath, match="exited with status 0"):
        _ = task.result.value


def test_a_value_is_not_there_before_the_child_has_ended():
    task = CallableTask(pow, 7, 2)
    task.run(Wire(task))

    assert not task.result.ready
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = task.result.value


def test_without_a_way_up_the_function_runs_and_nothing_is_told():
    called = []
    CallableTask(called.append, 1).run(None)
    CallableTask(fail, "unheard").run(None)

    assert called == [1]


def test_an_endpoint_that_is_gone_is_not_hidden():
    def gone(message: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        CallableTask(pow, 7, 2).run(gone)
