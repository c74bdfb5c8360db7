"""A fork server's children: ordered here, forked there, heard here, whoever dies first."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys

import pytest
from managing import Act, Heard, descriptors, finish, step_until
from watching import HANG_SECONDS, every_waiter, raise_signal

from pytest_procrastinate.process.child import BROKEN_STATUS, Channel, InChild, State, leave
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import FrameError, encode
from pytest_procrastinate.process.leftovers import set_subreaper
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.remote import (
    SERVER_DIED,
    Order,
    RemoteForker,
    RemoteService,
)


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
            self.service.forked(order, forked.pid)
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


@pytest.fixture
def subreaper():
    """Have the children of dead servers become ours."""
    before = set_subreaper(True)
    yield
    set_subreaper(before)


def tell(channel: Channel, order: Order, *arguments: object) -> None:
    channel(arguments)


# --- orders -------------------------------------------------------------------------------------


@every_waiter
def test_a_child_of_a_server_is_heard_directly_and_its_end_is_relayed(manager):
    owner = Owner(manager, act=lambda channel, order: (channel("here"), os._exit(3)))
    child = owner.order("act")
    started = []
    child.start_handler = lambda child: started.append((child.pid, child.state))
    assert (child.state, child.pid) == (State.NEW, None)
    step_until(manager, lambda: child.removable)

    assert started == [(child.pid, State.RUNNING)]
    assert child.parent_pid == owner.server.pid
    assert child.heard.events == [
        ("message", "here"),
        ("died", child.ending),
        ("completed", child),
    ]
    assert (child.ending.pid, child.ending.exit_status) == (child.pid, 3)
    assert child.ending.usage.peak_memory_bytes > 0
    assert child.refusal is None
    owner.dismiss()
    assert owner.server.ending.exit_status == 0
    assert owner.endings == [owner.server.ending]


@every_waiter
def test_many_orders_at_once_are_all_carried_out(manager):
    """Neither side waits for the other to read, however much both have to say."""
    owner = Owner(manager, act=lambda channel, order, number, text: channel(number))
    children = [owner.order("act", number, "x" * 2000) for number in range(400)]
    step_until(manager, lambda: all(child.removable for child in children))

    assert [child.heard.messages for child in children] == [[number] for number in range(400)]
    assert {child.ending.exit_status for child in children} == {0}
    assert len({child.pid for child in children}) == 400
    owner.dismiss()


def test_an_order_that_is_larger_than_a_socket_holds(manager):
    text = "x" * 3_000_000
    owner = Owner(manager, act=lambda channel, order, text: channel(len(text)))
    children = [owner.order("act", text) for _ in range(3)]
    step_until(manager, lambda: all(child.removable for child in children))

    assert [child.heard.messages for child in children] == [[3_000_000]] * 3
    owner.dismiss()


def test_orders_to_a_server_that_is_stopped_do_not_stop_the_owner(manager):
    owner = Owner(manager, act=tell)
    manager.kill_process(owner.server, signal.SIGSTOP)
    os.waitid(os.P_PID, owner.server.pid, os.WSTOPPED | os.WNOWAIT)
    children = [owner.order("act", number) for number in range(300)]
    for _ in range(400):
        owner.forker.order(("tell", "x" * 1000))
    manager.step(0)

    manager.kill_process(owner.server, signal.SIGCONT)
    step_until(manager, lambda: len(owner.told) == 400)
    step_until(manager, lambda: all(child.removable for child in children))
    assert [child.heard.messages for child in children] == [[(n,)] for n in range(300)]
    owner.dismiss()


def test_other_orders_and_messages_go_both_ways(manager):
    owner = Owner(manager)
    for message in ["one", ("forked", 7, 7), ("what", None)]:
        owner.forker.order(("tell", message))
    step_until(manager, lambda: len(owner.told) == 3)

    assert owner.told == ["one", ("forked", 7, 7), ("what", None)]
    owner.dismiss()


def test_descriptors_are_passed_and_not_taken_over(manager):
    def act(channel, order):
        for descriptor in order.descriptors[1:]:
            os.write(descriptor, b"%d" % len(order.descriptors))

    owner = Owner(manager, act=act)
    read_end, write_end = os.pipe()
    owner.order("act", passing=(write_end, write_end))
    os.close(write_end)
    told = b""
    while len(told) < 2:
        manager.step(HANG_SECONDS)
        told += os.read(read_end, 10)

    assert told == b"33"
    assert os.read(read_end, 1) == b""  # nobody holds it, the server neither
    os.close(read_end)
    owner.dismiss()


def test_an_order_that_is_refused_ends_its_child(manager):
    owner = Owner(manager)
    child = owner.order("refuse")
    step_until(manager, lambda: child.removable)

    assert child.refusal == "it is not wanted"
    assert child.ending.cause == "lost"
    assert child.heard.events == [("died", child.ending), ("completed", child)]
    owner.dismiss()


def test_an_order_that_cannot_be_sent_leaves_nothing(manager):
    owner = Owner(manager)
    before = descriptors()
    with pytest.raises(FrameError):
        owner.order(object())

    assert descriptors() == before
    assert owner.forker.children == {}
    owner.dismiss()


def test_without_descriptors_an_order_is_an_error_and_leaves_nothing(manager, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    owner = Owner(manager, act=tell)
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", fail)
        with pytest.raises(ForkError, match="fork server: Too many open files"):
            owner.order("act")
    with pytest.raises(ForkError, match="Bad file descriptor"):
        owner.order("act", passing=(9999,))

    assert descriptors() == before
    child = owner.order("act", "again")
    step_until(manager, lambda: child.removable)
    assert child.heard.messages == [("again",)]
    owner.dismiss()


def test_a_server_without_room_for_descriptors_refuses(manager):
    owner = Owner(manager, act=tell)
    child = owner.order("act", passing=(2,) * 20)  # more than it takes at once
    step_until(manager, lambda: child.removable)
    assert child.refusal == "no descriptor is left in the fork server"

    child = owner.order("act", "again")
    step_until(manager, lambda: child.removable)
    assert child.heard.messages == [("again",)]
    owner.dismiss()


@every_waiter
def test_no_descriptor_is_left_of_a_servers_children(manager):
    before = descriptors()
    owner = Owner(manager, act=lambda channel, order: channel(sorted(descriptors())))
    while_serving = descriptors()
    told = set()
    for _ in range(50):
        child = owner.order("act")
        step_until(manager, lambda child=child: child.removable)
        told.add(tuple(child.heard.messages[0]))
        assert descriptors() == while_serving
    owner.dismiss()

    assert len(told) == 1  # in the server, too, nothing grows
    assert descriptors() == before


# --- signals ------------------------------------------------------------------------------------


@every_waiter
def test_a_signal_reaches_a_servers_child_while_it_runs(manager, gate):
    owner = Owner(manager, act=lambda channel, order: (channel("here"), gate.wait()))
    child = owner.order("act")
    manager.kill_process(child, signal.SIGKILL)  # it is new: there is nobody to signal
    step_until(manager, lambda: child.heard.messages and child.state is State.RUNNING)
    manager.kill_process(child, signal.SIGKILL)
    step_until(manager, lambda: child.removable)

    assert child.ending.signal == signal.SIGKILL
    manager.kill_process(child, signal.SIGKILL)
    assert owner.server.state is State.RUNNING
    owner.dismiss()


@every_waiter
def test_a_child_that_writes_garbage_before_it_is_told_as_forked_is_killed(manager, gate):
    def late(channel, order):
        channel.send(b"\xff" * 100)
        signal.pause()

    owner = Owner(manager, late=late, wait=gate.wait)
    child = owner.order("late")
    step_until(manager, lambda: child.error)
    assert child.state is State.NEW
    gate.let_through()
    step_until(manager, lambda: child.removable)

    assert child.ending.signal == signal.SIGKILL
    owner.dismiss()


# --- who dies first -----------------------------------------------------------------------------


@every_waiter
def test_children_that_outlive_their_server_are_reaped_here(manager, gate, subreaper):
    def act(channel, order, status):
        channel("here")
        gate.wait()
        channel("after the server's death")
        os._exit(status)

    owner = Owner(manager, act=act)
    children = [owner.order("act", status) for status in range(5)]
    step_until(manager, lambda: all(child.heard.messages for child in children))
    step_until(manager, lambda: all(child.pid for child in children))
    manager.kill_process(owner.server, signal.SIGKILL)
    step_until(manager, lambda: owner.endings)
    assert {child.state for child in children} == {State.RUNNING}
    assert {child.parent_pid for child in children} == {os.getpid()}

    gate.let_through(5)
    finish(manager)
    assert [child.ending.exit_status for child in children] == list(range(5))
    assert {child.heard.messages[-1] for child in children} == {"after the server's death"}
    assert owner.endings == [owner.server.ending]


@every_waiter
def test_what_a_dead_server_never_forked_ends_as_it_did(manager):
    owner = Owner(manager, act=tell)
    children = [owner.order(name) for name in ("die", "act", "act")]
    finish(manager)

    for child in children:
        assert child.refusal == SERVER_DIED
        assert child.ending == owner.server.ending
        assert child.heard.events == [("died", child.ending), ("completed", child)]
    assert owner.server.ending.signal == signal.SIGKILL
    with pytest.raises(ForkError, match="fork server"):
        owner.order("act")


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_an_order_for_a_server_whose_death_was_not_noticed_yet(manager, handler):
    owner = Owner(manager, act=tell)
    os.kill(owner.server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, owner.server.pid, os.WEXITED | os.WNOWAIT)
    before = signal.signal(signal.SIGPIPE, handler)
    try:
        with pytest.raises(ForkError, match="fork server"):
            owner.order("act")
        owner.forker.order("anything")
    finally:
        signal.signal(signal.SIGPIPE, before)
    finish(manager)

    assert owner.forker.children == {}
    assert owner.server.ending.signal == signal.SIGKILL


def test_a_server_whose_owner_has_gone_leaves(manager):
    owner = Owner(manager)
    manager.teardown()

    assert os.waitstatus_to_exitcode(os.waitpid(owner.server.pid, 0)[1]) == 0


def test_a_server_that_raises_is_told(manager):
    def raises(channel, order):
        sys.exit("a child may")

    owner = Owner(manager, act=raises)
    child = owner.order("act")
    step_until(manager, lambda: child.removable)
    assert child.ending.exit_status == 1

    broken = owner.order("unknown")
    step_until(manager, lambda: broken.removable)
    assert broken.ending.exit_status == BROKEN_STATUS
    owner.dismiss()


# --- servers that do not make sense -------------------------------------------------------------

NO_ENDING = (1, "zero", None, False, None, "")


@pytest.mark.parametrize(
    "message",
    [
        ("ended", 1, NO_ENDING),
        ("ended", 1, None),
        ("refused", 1, "no", NO_ENDING),
    ],
)
def test_an_ending_that_makes_no_sense_is_a_lost_child(manager, gate, message):
    owner = Owner(manager, act=gate.wait)
    child = owner.order("act")
    owner.forker.order(("tell", message))
    step_until(manager, lambda: child.removable)

    assert child.ending.cause == "lost"
    gate.let_through()
    owner.dismiss()


@pytest.mark.parametrize(
    "message",
    [("orphaned", 1), ("forked", 1, "pid"), ("ended", 99, None), ("refused", 1, 2, 3), None],
)
def test_what_makes_no_sense_is_for_who_hears_the_rest(manager, message):
    owner = Owner(manager)
    completed = []
    number = owner.forker.expect(completed.append)
    assert number == 1
    owner.forker.order(("tell", message))
    step_until(manager, lambda: owner.told)

    assert owner.told == [message]
    assert completed == []
    owner.dismiss()
    assert [child.refusal for child in completed] == [SERVER_DIED]


def test_a_server_that_writes_garbage_is_killed_and_its_children_end(manager):
    owner = Owner(manager)
    owner.forker.order(("send", b"\xff" * 100))
    step_until(manager, lambda: owner.server.error)
    child = owner.order("act")
    finish(manager)

    assert owner.server.ending.signal == signal.SIGKILL
    assert child.refusal == SERVER_DIED


def test_a_server_that_hears_garbage_leaves(manager):
    owner = Owner(manager)
    owner.server.tell(b"\xff" * 100)
    finish(manager)

    assert owner.server.ending.exit_status == 0


def test_words_of_a_child_told_twice_as_ended_count_once(manager):
    owner = Owner(manager, act=tell)
    child = owner.order("act", 1)
    step_until(manager, lambda: child.removable)
    again = ("ended", 1, child.ending.as_message())
    owner.forker.order(("tell", again))
    step_until(manager, lambda: owner.told)

    assert owner.told == [again]
    assert len(child.heard.events) == 3
    owner.dismiss()


def test_an_order_passed_on_speaks_to_its_owner(manager):
    """As between two servers: the one in the middle sees neither messages nor channel."""
    owner = Owner(manager, act=tell)
    ours, theirs = socket.socketpair()
    completed = []
    with ours, theirs:
        child = owner.forker.pass_on(("act", "hello"), completed.append, [theirs.fileno()])
        assert child.channel is None
        theirs.close()
        step_until(manager, lambda: completed)
        assert ours.recv(100) == encode(("hello",))
    assert child.ending.exit_status == 0
    owner.dismiss()
