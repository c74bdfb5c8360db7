"""Fork in another process: "fork this" goes down a fork server's channel, endings come back.

A child of a fork server speaks to us directly, by a channel of its own whose end we pass along
(SCM_RIGHTS, unix(7)). Only its ending is relayed, since only its parent can reap it. If the server
dies first, its children become ours, provided that this process is a child subreaper (prctl(2)).
"""

from __future__ import annotations

import array
import collections
import contextlib
import errno
import selectors
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pytest_procrastinate.process.child import NO_SIGNAL, NO_WAIT, ChildProcess, State
from pytest_procrastinate.process.cleanup import close_descriptors
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import Decoder, FrameError, encode
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.task import Result
from pytest_procrastinate.process.unpatched import os, socket

CHUNK_BYTES = 1 << 16
SERVER_DIED = "the fork server died"
GONE = errno.EPIPE, errno.ECONNRESET  # of a fork server: its death is noticed a moment later
MAX_DESCRIPTORS = 16  # passed with one order; the kernel takes 253


class RemoteForker:
    """A fork server's owner's side. It is the ``result`` of the server's task.

    :param manager: Looks after the server and after the server's children.
    :param other_message: Hears what the server tells beside endings.
    :param died: Hears how the server ended, before its children are seen to.
    :param orphaned: Sees to a child that runs when its server dies; by default it is reaped here.
    :param find: Returns the process id of a child that the server had no time to tell of, if it
        was forked, and runs; any other is not to run from then on, or it would beside the next.
    """

    def __init__(
        self,
        manager: ProcessManager,
        other_message: Callable[[object], None],
        died: Callable[[Ending], None],
        orphaned: Callable[[ChildProcess], None] | None = None,
        find: Callable[[ChildProcess], int | None] = lambda child: None,
    ) -> None:
        self.server: ChildProcess | None = None
        self.children: dict[int, ChildProcess] = {}
        self._last_number = 0
        self._unsent: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._room: socket.socket | None = None
        self._manager = manager
        self._other_message = other_message
        self._died = died
        self._orphaned = orphaned or manager.adopt
        self._find = find

    def create_process(
        self,
        order: object,
        result: Result,
        completion_handler: Callable[[ChildProcess], None] | None = None,
        descriptors: Sequence[int] = (),
    ) -> ChildProcess:
        """Have the server fork a child for ``order``, and look after it from here.

        :param order: Builtins; what the server makes of it is their affair.
        :param descriptors: Further ones that the child needs; duplicated, not taken over.
        :returns: The child, ``new``: its pid is told later.
        :raises ForkError: No descriptor was left, or the server has gone.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _fork_error(error) from error
        child = ChildProcess(result, completion_handler, ours)
        try:
            return self._order(order, (theirs.fileno(), *descriptors), child)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def pass_on(
        self,
        order: object,
        completion_handler: Callable[[ChildProcess], None],
        descriptors: Sequence[int],
    ) -> ChildProcess:
        """Pass an order on that came from our own owner: the child speaks to the owner.

        Where the server has gone, which is told in a moment, the child ends then: it has died as it did.

        :param descriptors: The child's channel and the others, as they came.
        :raises ForkError: No descriptor was left.
        """
        child = ChildProcess(None, completion_handler)
        try:
            return self._order(order, descriptors, child)
        except ForkError as error:
            if error.errno not in GONE:
                raise
        self._look_after(child)
        return child

    def expect(self, completion_handler: Callable[[ChildProcess], None]) -> int:
        """Look after a child that the server will fork without an order; return its number."""
        return self._look_after(ChildProcess(None, completion_handler))

    def order(self, message: object) -> None:
        """Tell the server something else; nothing happens when it has gone."""
        with contextlib.suppress(OSError):
            self._send(encode(("order", message)))

    def _order(
        self, order: object, descriptors: Sequence[int], child: ChildProcess
    ) -> ChildProcess:
        number = self._last_number + 1
        frame = encode(("fork", number, len(descriptors), order))
        try:
            self._send(frame, descriptors)
        except OSError as error:
            raise _fork_error(error) from error
        self._look_after(child)
        return child

    def _send(self, frame: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send what the server takes now, and the rest from :meth:`ProcessManager.step`.

        A server reads no orders while it sets up a fixture. Who waited for it could not end it at
        its timeout; and where it waited itself, to tell us something, neither would go on.

        :raises OSError: The server has gone, or no descriptor was left.
        """
        if not self._unsent:
            try:
                sent = self._send_now(frame, descriptors)
            except BlockingIOError:
                sent = 0
            if sent == len(frame):
                return
            if sent:
                frame, descriptors = frame[sent:], ()
            self._room = self._channel.dup()
            self._manager.watch(self._room, self._send_rest, selectors.EVENT_WRITE)
        self._unsent.append((frame, [os.dup(descriptor) for descriptor in descriptors]))

    def _send_now(self, frame: bytes, descriptors: Sequence[int]) -> int:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        ancillary = [rights] if descriptors else []
        return self._channel.sendmsg([frame], ancillary, NO_WAIT | NO_SIGNAL)

    def _send_rest(self) -> None:
        try:
            while self._unsent:
                frame, descriptors = self._unsent[0]
                sent = self._send_now(frame, descriptors)
                close_descriptors(descriptors)
                self._unsent[0] = frame[sent:], []
                if sent == len(frame):
                    self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError:  # it has gone, which is told in a moment
            pass
        self._forget_unsent()

    def _forget_unsent(self) -> None:
        for _, descriptors in self._unsent:
            close_descriptors(descriptors)
        self._unsent.clear()
        if self._room is not None:
            self._manager.unwatch(self._room)
            self._room.close()
            self._room = None

    @property
    def _channel(self) -> socket.socket:
        assert self.server is not None
        assert self.server.channel is not None
        return self.server.channel

    def _look_after(self, child: ChildProcess) -> int:
        self._last_number += 1
        self.children[self._last_number] = child
        self._manager.look_after(child, local=False)
        return self._last_number

    def incoming_message(self, message: object) -> None:
        """Hear the server."""
        match message:
            case ("forked", int(number), int(pid), int(parent_pid)) if number in self.children:
                child = self.children[number]
                child.parent_pid = parent_pid
                child.start(pid)
                if child.error is not None:  # there was nobody to kill when that was found
                    self._manager.kill_process(child, signal.SIGKILL)
            case ("ended", int(number), ending) if number in self.children:
                self.children.pop(number).stop(_ending(ending))
            case ("orphaned", int(number)) if self._runs(number):
                self._orphaned(self.children.pop(number))
            case ("refused", int(number), str(reason), ending) if number in self.children:
                child = self.children.pop(number)
                if reason == SERVER_DIED:  # one below it
                    self._server_died(child, _ending(ending))
                else:
                    child.refusal = reason
                    child.stop(_ending(ending))
            case _:
                self._other_message(message)

    def process_died(self, ending: Ending) -> None:
        """See to the children of a server that has died: they are ours now, or never were forked.

        The latter end as the server did: it may have died of what it did for them.
        """
        self._forget_unsent()
        self._died(ending)
        for child in list(self.children.values()):
            self._server_died(child, ending)
        self.children.clear()

    def _server_died(self, child: ChildProcess, ending: Ending) -> None:
        if child.state is State.NEW and (pid := self._find(child)) is not None:
            child.start(pid)
        if child.state is State.RUNNING:
            child.is_orphan = True
            self._orphaned(child)
        else:
            child.refusal = SERVER_DIED
            child.stop(ending)

    def _runs(self, number: int) -> bool:
        return number in self.children and self.children[number].state is State.RUNNING


def _fork_error(error: OSError) -> ForkError:
    return ForkError(error.errno, f"fork server: {error.strerror}")


def _ending(message: object) -> Ending:
    """Return the ending that a server has told, lost where it makes no sense."""
    try:
        return Ending.from_message(message)
    except ValueError:
        return Ending.lost(0)


class Order(NamedTuple):
    """A fork that was ordered.

    :ivar descriptors: The end of the child's channel and those passed beside it: now ours.
    """

    number: int
    message: object
    descriptors: tuple[int, ...]


class RemoteService:
    """The fork server's side: hears orders, tells how they went.

    :param manager: The server's own.
    :param channel: What leads to the owner.
    :param fork: Called with each order to fork.
    :param other_order: Hears the other orders.
    """

    def __init__(
        self,
        manager: ProcessManager,
        channel: socket.socket,
        fork: Callable[[Order], None],
        other_order: Callable[[object], None],
    ) -> None:
        self.open = True
        """False once the owner has gone: then there is nobody left to fork for."""
        self._manager = manager
        self._channel = channel
        self._fork = fork
        self._other_order = other_order
        self._decoder = Decoder()
        self._descriptors: list[int] = []
        manager.watch(channel, self._hear)

    def after_fork(self) -> None:
        """Let go, in a child, of the way to the server's owner."""
        self._channel.close()

    def tell(self, message: object) -> None:
        """Tell the owner something."""
        try:
            self._channel.sendall(encode(message), NO_SIGNAL)
        except OSError:  # is seen as the end of the orders, a moment later
            pass

    def forked(self, order: Order, child: ChildProcess) -> None:
        """Tell that an order's child runs, and who may reap it: this server, or one below it."""
        self.tell(("forked", order.number, child.pid, child.parent_pid))

    def ended(self, order: Order, ending: Ending) -> None:
        """Tell how an order's child ended, for good."""
        self.tell(("ended", order.number, ending.as_message()))

    def refused(self, order: Order, reason: str, ending: Ending | None = None) -> None:
        """Tell that an order cannot be carried out; the ending is that of the server that tried."""
        ending = Ending.lost(0) if ending is None else ending
        self.tell(("refused", order.number, reason, ending.as_message()))

    def orphaned(self, order: Order) -> None:
        """Tell that a child runs whose parent has died: it is the owner's to reap."""
        self.tell(("orphaned", order.number))

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, CHUNK_BYTES, MAX_DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self.open = False
            self._manager.unwatch(self._channel)
            return
        try:
            for message in self._decoder.feed(data):
                self._obey(message)
        except FrameError:  # somebody else wrote into our channel: no order can be trusted now
            self.open = False

    def _obey(self, message: object) -> None:
        match message:
            case ("fork", int(number), int(count), order):
                passed, self._descriptors = self._descriptors[:count], self._descriptors[count:]
                ordered = Order(number, order, tuple(passed))
                if len(passed) == count:
                    self._fork(ordered)
                else:  # the kernel drops what does not fit in our table, see MSG_CTRUNC in recv(2)
                    self.refused(ordered, "no descriptor is left in the fork server")
                    for descriptor in passed:
                        os.close(descriptor)
            case ("order", order):
                self._other_order(order)
