"""Run callables in children, two at a time, with the process manager and without pytest.

One of them crashes: that costs its own answer, not this process.
"""

from __future__ import annotations

from collections.abc import Iterable

import crashy

from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.task import CallableTask, ChildDeath, ChildError
from pytest_procrastinate.strategy import Strategy, Throttled


def run_all(tasks: Iterable[CallableTask[int]], strategy: Strategy) -> None:
    """Run each task in a child; return when all their results are ready."""
    waiting = list(tasks)
    manager = ProcessManager()
    manager.setup()
    try:
        while waiting or manager.process_count:
            while waiting and strategy.should_spawn(manager.process_count):
                manager.create_process(waiting.pop(0))
            manager.step()
    finally:
        manager.shutdown()


def answer(task: CallableTask[int]) -> str:
    """Say what became of a task that was run."""
    try:
        return str(task.result.value)
    except ChildDeath as death:
        return death.ending.describe()
    except ChildError as error:
        return str(error).splitlines()[-1]


def main() -> None:
    tasks = {
        f"{dividend} / {divisor}": CallableTask(crashy.divide, dividend, divisor)
        for dividend, divisor in [(6, 3), (1, 0), ("one", 2), (7, 2)]
    }
    tasks["leave with status 3"] = CallableTask(crashy.leave, 3)
    run_all(tasks.values(), Throttled(2))
    for name, task in tasks.items():
        print(f"{name}: {answer(task)}")


if __name__ == "__main__":
    main()
