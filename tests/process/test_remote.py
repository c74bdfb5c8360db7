"""A fork server's children: ordered here, forked there, heard here, whoever dies first."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from managing import descriptors, step_until
from serving import Owner, tell
from watching import HANG_SECONDS, every_waiter

from pytest_procrastinate.process import unpatched
from pytest_procrastinate.process.child import State
from pytest_procrastinate.process.frames import FrameError
from pytest_procrastinate.process.manager import ForkError

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
        patch.setattr(unpatched.socket, "socketpair", fail)
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
