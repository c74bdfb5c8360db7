"""What the tests of managers share: tasks, a result that keeps what it hears, steps with a deadline."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable

from watching import HANG_SECONDS

from pytest_procrastinate.process.child import Channel, ChildProcess
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.manager import ProcessManager


class Heard:
    """A result, and a completion handler, that keep all they hear in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.messages: list[object] = []
        self.ending: Ending | None = None

    def incoming_message(self, message: object) -> None:
        self.messages.append(message)
        self.events.append(("message", message))

    def process_died(self, ending: Ending) -> None:
        assert self.ending is None
        self.ending = ending
        self.events.append(("died", ending))

    def completed(self, child: ChildProcess) -> None:
        self.events.append(("completed", child))


@dataclasses.dataclass
class Act:
    """A task that calls ``action`` with the child's channel."""

    action: Callable[[Channel], object]
    result: Heard | None = dataclasses.field(default_factory=Heard)

    def run(self, endpoint: Channel) -> None:
        self.action(endpoint)


class Gate:
    """Children wait at it until they are let through, one at a time."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def wait(self, *_: object) -> None:
        os.read(self.read_end, 1)

    def let_through(self, count: int = 1) -> None:
        os.write(self.write_end, b"." * count)

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def step_until(manager: ProcessManager, condition: Callable[[], object]) -> None:
    """Step until something is so, which it must become."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it did not become so")
        manager.step(left)


def finish(manager: ProcessManager) -> None:
    """Step until no child is left."""
    step_until(manager, lambda: not manager.children)


def run(manager: ProcessManager, action: Callable[[Channel], object]) -> Heard:
    """Run one child from its beginning to its end."""
    task = Act(action)
    manager.create_process(task, task.result.completed)
    finish(manager)
    return task.result


def descriptors() -> dict[int, str]:
    """Return what this process has open: number and name."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listdir had open
            pass
    return found
