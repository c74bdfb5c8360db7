"""A narrower server, as the one sees it that forked it: serves the tests of one module or class."""

from __future__ import annotations

from collections.abc import Callable

from pytest_procrastinate.child.run import ChildProgram
from pytest_procrastinate.process.child import ChildProcess, State
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import FrameError
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.remote import Order, RemoteForker, RemoteService
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import repeat_registrations


class Narrower:
    """Passes orders on to a narrower server, and what becomes of them back to the owner.

    :param tests: Those of its module or class that it serves, by their index: without a gap. Where
        others come between, the scope ends, and begins anew.
    :param known_files: Numbers of the files that it was forked with.
    :param left: Called when it has left its scopes, with what it told, and how one
        below it died of that.
    :param died: Called when it is dead.
    """

    def __init__(
        self,
        tests: range,
        manager: ProcessManager,
        service: RemoteService,
        known_files: set[int],
        *,
        left: Callable[[Narrower, int, bytes, object], None],
        died: Callable[[Narrower, Ending], None],
    ) -> None:
        self.tests = tests
        self.leaving: set[int] = set()
        """The tests with which scopes ended that it is about to leave, by their index."""
        self.forker = RemoteForker(manager, self._hear, self._died, self._orphaned)
        self._manager = manager
        self._service = service
        self._left = left
        self._on_death = died
        self._known_files = known_files
        self._orders: dict[ChildProcess, Order] = {}

    @property
    def server(self) -> ChildProcess:
        """Its process, once it is forked."""
        assert self.forker.server is not None
        return self.forker.server

    def expect(self, order: Order) -> int:
        """Look after the child of an order that the server was forked in the middle of."""
        number = self.forker.expect(self._ended)
        self._note(self.forker.children[number], order)
        return number

    def forget(self, number: int) -> None:
        """Forget an expected child: there is no server."""
        child = self.forker.children.pop(number)
        self._orders.pop(child)
        child.stop(Ending.lost(0))

    def fork(self, order: Order, program: ChildProgram) -> None:
        """Pass an order on."""
        repeat_registrations(program.item)
        descriptors = order.descriptors[:1]
        if program.number not in self._known_files:
            descriptors += program.files.descriptors
        try:
            child = self.forker.pass_on(order.message, self._ended, descriptors)
        except ForkError as error:
            self._service.refused(order, str(error))
        else:
            self._known_files.add(program.number)
            self._note(child, order)
        finally:
            os.close(order.descriptors[0])

    def leave(self, index: int, order: tuple[object, ...]) -> None:
        """Have it leave the scopes that ended with a test, as its owner was ordered to."""
        self.leaving.add(index)
        self.forker.order(("leave", *order))

    def running(self) -> list[int]:
        """Return the indices of the tests that it has, or has been told to fork."""
        return [order.message[0] for order in self._orders.values()]  # type: ignore[index]

    def dismiss(self, last_told: int | None = None, failed: int = 0) -> None:
        """Let it go: it tears down what is still set up there, if the run ends early.

        :param last_told: The last test that is told, if the run ends.
        :param failed: How many have failed by then.
        """
        if last_told is not None:
            self.forker.order(("ends", last_told, failed))
        self._manager.hang_up(self.server)

    def _note(self, child: ChildProcess, order: Order) -> None:
        self._orders[child] = order
        child.start_handler = lambda child: self._service.forked(order, child)

    def _ended(self, child: ChildProcess) -> None:
        order = self._orders.pop(child, None)
        if order is None:
            return
        assert child.ending is not None
        if child.refusal is not None:
            self._service.refused(order, child.refusal, child.ending)
        else:
            self._service.ended(order, child.ending)

    def _orphaned(self, child: ChildProcess) -> None:
        """Leave a child that outlives its server to the owner, who can reap it (subreaper)."""
        order = self._orders.pop(child, None)
        if order is not None:
            self._service.orphaned(order)
        if child.state is State.RUNNING:
            child.stop(Ending.lost(child.pid or 0))

    def _hear(self, message: object) -> None:
        match message:
            case ("left", int(index), bytes(frames), died) if index in self.leaving:
                self.leaving.discard(index)
                self._left(self, index, frames, died)
            case ("fresh" | "told", _, _) | ("last", _):
                self._service.tell(message)
            case _:
                raise FrameError(f"a narrower server does not say {str(message)[:80]!r}")

    def _died(self, ending: Ending) -> None:
        self._on_death(self, ending)
        self.leaving.clear()
