"""Items that a fork server begins itself wait here for their turn: for the gate to open."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_procrastinate.child.run import ChildProgram
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.remote import Order


class Turns:
    """The items not begun, in the order of their turn.

    :ivar ready: Those whose gate is open.
    """

    def __init__(self, manager: ProcessManager) -> None:
        self.ready: list[tuple[Order, ChildProgram]] = []
        self._manager = manager
        self._waiting: dict[int, tuple[Order, ChildProgram]] = {}

    def wait(self, order: Order, program: ChildProgram) -> None:
        """Have the item begun once its gate opens: the test before it has ended by then."""
        gate = order.descriptors[0]

        def opened() -> None:
            self._manager.unwatch(gate)
            self.ready.append(self._waiting.pop(order.number))

        self._waiting[order.number] = order, program
        self._manager.watch(gate, opened)

    def programs(self) -> Iterator[ChildProgram]:
        """Give the programs of all: they may set up, or end, what a test after them inherits."""
        for _, program in (*self._waiting.values(), *self.ready):
            yield program

    def forget(self) -> None:
        """Forget all: the run stops."""
        for order, _ in self._waiting.values():
            self._manager.unwatch(order.descriptors[0])
        self.close()
        self._waiting.clear()
        self.ready.clear()

    def close(self) -> None:
        """Let go of their gates, in a child."""
        for order, _ in (*self._waiting.values(), *self.ready):
            os.close(order.descriptors[0])
