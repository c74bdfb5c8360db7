"""Servers and owners for the tests of what goes on between them."""

from __future__ import annotations

import os
import signal

from managing import Act, Heard, finish
from watching import HANG_SECONDS, raise_signal

from pytest_procrastinate.process.child import Channel, InChild, leave
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.remote import Order, RemoteForker, RemoteService


class Server:
    """A fork server, in its process: an order to fork is the name of an action."""

    def __init__(self, channel: Channel, actions: dict[str, object]) -> None:
        self.actions = actions
        self.channel = channel
        self.manager = ProcessManager()
        self.manager.setup()
        self.service = RemoteService(self.manager, channel.end, self.fork, self.obey)

    def serve(self) -> None:
        while self.service.open:
            self.manager.step()
        self.manager.shutdown(HANG_SECONDS)

    def fork(self, order: Order) -> None:
        name, *arguments = order.message
        if name == "refuse":
            self.service.refused(order, "it is not wanted")
        elif name == "die":
            raise_signal(signal.SIGKILL)
        else:
            forked = self.manager.fork(
                completion_handler=lambda child: self.service.ended(order, child.ending)
            )
            if isinstance(forked, InChild):
                self.service.after_fork()
                channel = Channel.from_descriptor(order.descriptors[0])
                leave(lambda: self.actions[name](channel, order, *arguments))
            if name == "late":
                self.actions["wait"]()
            self.service.forked(order, forked)
        for descriptor in order.descriptors:
            os.close(descriptor)

    def obey(self, order: object) -> None:
        match order:
            case "raise":
                raise_signal(signal.SIGTERM)
            case ("tell", message):
                self.service.tell(message)
            case ("send", data):
                self.channel.send(data)


class Owner:
    """The owner's side of a server with some actions, and what it has heard."""

    def __init__(self, manager: ProcessManager, **actions: object) -> None:
        self.manager = manager
        self.told: list[object] = []
        self.endings: list[Ending] = []
        self.forker = RemoteForker(manager, self.told.append, self.endings.append)
        self.server = self.forker.server = manager.create_process(
            Act(lambda channel: Server(channel, actions).serve(), self.forker)
        )

    def order(self, *order: object, passing: tuple[int, ...] = ()):
        heard = Heard()
        child = self.forker.create_process(order, heard, heard.completed, passing)
        child.heard = heard
        return child

    def dismiss(self) -> None:
        self.manager.hang_up(self.server)
        finish(self.manager)


def tell(channel: Channel, order: Order, *arguments: object) -> None:
    channel(arguments)
