"""Fork in another process: "fork this" goes down a fork server's channel, endings come back.

A child of a fork server speaks to us directly, by a channel of its own whose end we pass along
(SCM_RIGHTS, unix(7)). Only its ending is relayed, since only its parent can reap it. If the server
dies first, its children become ours, provided that this process is a child subreaper (prctl(2)).
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

from pytest_procrastinate.process.child import ChildProcess, State
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import Decoder, FrameError, encode
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.task import Result, Task

CHUNK_BYTES = 1 << 16
SERVER_DIED = "the fork server died"
MAX_DESCRIPTORS = 16  # passed with one order; the kernel takes 253


class RemoteForker:
    """A fork server's owner's side. It is the ``result`` of the server's task.

    :param manager: Looks after the server and after the server's children.
    :param other_message: Hears what the server tells beside endings.
    :param died: Hears how the server ended, before its children are seen to.
    """

    def __init__(
        self,
        manager: ProcessManager,
        other_message: Callable[[object], None],
        died: Callable[[Ending], None],
    ) -> None:
        self.server: ChildProcess | None = None
        self.children: dict[int, ChildProcess] = {}
        self._last_number = 0
        self._manager = manager
        self._other_message = other_message
        self._died = died

    def create_process(
        self,
        order: object,
        result: Result,
        completion_handler: Callable[[ChildProcess], None] | None = None,
        descriptors: Sequence[int] = (),
    ) -> ChildProcess:
        """Have the server fork a child for ``order``, and look after it from here.

        :param order: Builtins; what the server's task makes of it is their affair.
        :param descriptors: Further ones that the child needs; duplicated, not taken over.
        :returns: The child, ``new``: its pid is told later.
        :raises ForkError: No descriptor was left, or the server has gone.
        """
        assert self.server is not None and self.server.channel is not None
        ours = theirs = None
        number = self._last_number + 1
        try:
            ours, theirs = socket.socketpair()
            passed = [theirs.fileno(), *descriptors]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passed))
            frame = encode(("fork", number, len(passed), order))
            self.server.channel.sendmsg([frame], [rights])
        except OSError as error:
            if ours is not None:
                ours.close()
            raise ForkError(error.errno, f"fork server: {error.strerror}") from error
        finally:
            if theirs is not None:
                theirs.close()
        self._last_number = number
        child = self.children[number] = ChildProcess(result, completion_handler, ours)
        self._manager.look_after(child, local=False)
        return child

    def order(self, message: object) -> None:
        """Tell the server something else; nothing happens when it has gone."""
        assert self.server is not None
        self.server.tell(encode(("order", message)))

    def incoming_message(self, message: object) -> None:
        """Hear the server."""
        match message:
            case ("forked", int(number), int(pid)) if number in self.children:
                child = self.children[number]
                assert self.server is not None
                child.parent_pid = self.server.pid
                child.start(pid)
            case ("ended", int(number), ending) if number in self.children:
                self.children.pop(number).stop(Ending.from_message(ending))
            case ("refused", int(number), str(reason)) if number in self.children:
                child = self.children.pop(number)
                child.refusal = reason
                child.stop(Ending.lost(0))
            case _:
                self._other_message(message)

    def process_died(self, ending: Ending) -> None:
        """See to the children of a server that has died: they are ours now, or lost."""
        self._died(ending)
        for child in self.children.values():
            if child.state is State.RUNNING:
                self._manager.adopt(child)
            else:
                child.refusal = SERVER_DIED
                child.stop(Ending.lost(0))
        self.children.clear()


class RemoteService:
    """The fork server's side: hears orders, forks, relays endings.

    :param manager: The server's own.
    :param channel: What leads to the owner.
    :param make_task: Makes the task of a "fork" order, from the order, the descriptor of the
        child's own channel and those that were passed beside it. Its ``result`` is None. In the
        server the channel is closed after the fork; the others are the task's affair.
    :param other_order: Hears the other orders.
    """

    def __init__(
        self,
        manager: ProcessManager,
        channel: socket.socket,
        make_task: Callable[[object, int, list[int]], Task],
        other_order: Callable[[object], None],
    ) -> None:
        self.open = True
        """False once the owner has gone: then there is nobody left to fork for."""
        self._manager = manager
        self._channel = channel
        self._make_task = make_task
        self._other_order = other_order
        self._decoder = Decoder()
        self._descriptors: list[int] = []
        manager.watch(channel, self._hear)

    def after_fork(self) -> None:
        """Let go, in a child, of the way to the server's owner."""
        self._channel.close()

    def tell(self, message: object) -> None:
        """Tell the owner something."""
        # A broken pipe is seen as the end of the orders, a moment later.
        with contextlib.suppress(OSError):
            self._channel.sendall(encode(message))

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
                if len(passed) == count:
                    self._fork(number, order, *passed)
                else:  # the kernel drops what does not fit in our table, see MSG_CTRUNC in recv(2)
                    self.tell(("refused", number, "no descriptor is left in the fork server"))
            case ("order", order):
                self._other_order(order)

    def _fork(self, number: int, order: object, channel: int, *descriptors: int) -> None:
        def relay(child: ChildProcess) -> None:
            assert child.ending is not None
            self.tell(("ended", number, child.ending.as_message()))

        try:
            task = self._make_task(order, channel, list(descriptors))
            child = self._manager.create_process(task, relay)
        except ForkError as error:
            self.tell(("refused", number, str(error)))
        else:
            self.tell(("forked", number, child.pid))
        finally:
            os.close(channel)
