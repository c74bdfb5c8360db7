"""Items that a fork server begins itself wait here for their turn: for the gate to open."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_procrastinate.child.run import ChildProgram
from pytest_procrastinate.process.child import Channel
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.remote import Order
from pytest_procrastinate.process.unpatched import os


class Turns:
    """The items not begun. Iteration gives them as they were ordered: that is pytest's order."""

    def __init__(self, manager: ProcessManager) -> None:
        self._manager = manager
        self._waiting: dict[int, tuple[Order, ChildProgram]] = {}
        self._open: list[int] = []
        self._given_up: list[int] = []

    def __iter__(self) -> Iterator[tuple[Order, ChildProgram]]:
        return iter(list(self._waiting.values()))

    def wait(self, order: Order, program: ChildProgram) -> None:
        """Have the item begun once its gate opens: the test before it has ended by then."""
        gate = order.descriptors[0]

        def opened() -> None:
            self._manager.unwatch(gate)
            channel = Channel.from_descriptor(os.dup(gate))
            (self._open if channel.is_heard() else self._given_up).append(order.number)
            channel.close()

        self._waiting[order.number] = order, program
        self._manager.watch(gate, opened)

    def first_open(self) -> tuple[Order, ChildProgram] | None:
        """Return the first item whose gate is open, if any; one that is made again may have come late."""
        return min(
            (self._waiting[number] for number in self._open),
            key=lambda turn: turn[1].position,
            default=None,
        )

    def first_given_up(self) -> Order | None:
        """Return the first item whose gate will not open any more, if any: its owner has hung up."""
        return self._waiting[self._given_up[0]][0] if self._given_up else None

    def take(self, order: Order) -> None:
        """Take an item out: it is begun now, or somebody else waits at its gate."""
        if order.number in self._open:
            self._open.remove(order.number)
        elif order.number in self._given_up:
            self._given_up.remove(order.number)
        else:
            self._manager.unwatch(order.descriptors[0])
        del self._waiting[order.number]

    def forget(self) -> None:
        """Forget all: the run stops."""
        for order, _ in self:
            self.take(order)
            os.close(order.descriptors[0])

    def close(self) -> None:
        """Let go of their gates, in a child."""
        for order, _ in self:
            os.close(order.descriptors[0])
