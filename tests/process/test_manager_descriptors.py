"""Descriptors: none leaks, none is a child's that is another's; what runs out is an error or waits."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest
from managing import Act, Heard, descriptors, finish, run, step_until
from watching import HANG_SECONDS, every_waiter, needs_pidfds

from pytest_procrastinate.process import unpatched
from pytest_procrastinate.process.child import InChild, State
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.waiting import PidfdWaiter


def failing(number: int):
    """Return a function that fails as a system call does."""

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def sockets_and_pidfds() -> list[str]:
    """Name what this process has open of the kind that managers open."""
    kinds = ("socket:", "anon_inode:")
    return [name for name in descriptors().values() if name.startswith(kinds)]


@every_waiter
def test_no_descriptor_is_left_of_300_children(manager):
    before = descriptors()
    for _ in range(10):
        tasks = [Act(lambda channel: channel("here")) for _ in range(30)]
        for task in tasks:
            manager.create_process(task)
        finish(manager)
        assert [task.result.messages for task in tasks] == [["here"]] * 30

    assert descriptors() == before


@every_waiter
def test_a_child_holds_no_descriptor_of_a_manager_or_a_sibling(make_waiter, gate):
    open_before = sockets_and_pidfds()
    managers = [ProcessManager(make_waiter()) for _ in range(2)]
    for manager in managers:
        manager.setup()
    tasks = []
    for manager in managers * 3:
        task = Act(lambda channel: (channel(sockets_and_pidfds()), gate.wait()))
        manager.create_process(task)
        step_until(manager, lambda task=task: task.result.messages)
        tasks.append(task)
    gate.let_through(len(tasks))
    for manager in managers:
        finish(manager)
        manager.shutdown()

    for task in tasks:
        (open_in_child,) = task.result.messages
        assert len(open_in_child) == len(open_before) + 1  # its channel


def test_a_sibling_does_not_hold_a_channel_open(manager, gate):
    first = Act(gate.wait)
    manager.create_process(first)
    second = Act(gate.wait)
    manager.create_process(second)
    manager.kill_process(next(iter(manager.children.values())), 9)
    step_until(manager, lambda: first.result.ending)

    assert first.result.ending.signal == 9
    assert second.result.ending is None
    gate.let_through()
    finish(manager)


@every_waiter
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_fails_is_an_error_and_leaves_nothing(manager, monkeypatch, number):
    before = descriptors()
    task = Act(lambda channel: channel("here"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", failing(number))
        with pytest.raises(ForkError) as caught:
            manager.create_process(task, task.result.completed)

    assert (caught.value.errno, caught.value.strerror) == (number, os.strerror(number))
    assert manager.process_count == 0
    assert descriptors() == before
    assert task.result.events == []
    assert run(manager, lambda channel: channel("again")).messages == ["again"]


def test_a_socket_that_fails_is_an_error_and_leaves_nothing(manager, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(unpatched.socket, "socketpair", failing(errno.EMFILE))
        with pytest.raises(ForkError, match="Too many open files"):
            manager.create_process(Act(lambda channel: None))

    assert manager.process_count == 0
    assert run(manager, lambda channel: channel("again")).messages == ["again"]


def test_what_fails_before_the_fork_is_an_error_and_leaves_nothing(manager):
    before = descriptors()
    manager.before_fork.append(failing(errno.ENOSPC))
    with pytest.raises(ForkError, match="No space left"):
        manager.create_process(Act(lambda channel: None))

    assert descriptors() == before
    del manager.before_fork[:]
    forked_from = []
    manager.before_fork.append(lambda: forked_from.append(os.getpid()))
    heard = run(manager, lambda channel: channel(forked_from))
    assert heard.messages == [[os.getpid()]]


def test_set_up_without_descriptors_leaves_nothing(monkeypatch):
    manager = ProcessManager()
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(unpatched.socket, "socketpair", failing(errno.EMFILE))
        with pytest.raises(OSError, match="Too many open files"):
            manager.setup()

    assert descriptors() == before
    manager.setup()
    assert run(manager, lambda channel: channel("again")).messages == ["again"]
    manager.shutdown()


def test_a_waiter_that_is_anothers_stays_open(manager, make_waiter):
    shared = make_waiter()
    first, second = ProcessManager(shared), ProcessManager(shared)
    first.setup()
    with pytest.raises(RuntimeError, match="open already"):
        second.setup()

    assert run(first, lambda channel: channel("here")).messages == ["here"]
    first.shutdown()


@needs_pidfds
@pytest.mark.parametrize("result", [None, Heard()], ids=["without a channel", "with a channel"])
def test_without_a_descriptor_for_a_pidfd_the_end_is_noticed_all_the_same(
    monkeypatch, gate, result
):
    manager = ProcessManager(PidfdWaiter())
    manager.setup()
    completed = []
    with monkeypatch.context() as patch:
        patch.setattr(unpatched.os, "pidfd_open", failing(errno.EMFILE))
        task = Act(gate.wait, result)
        child = manager.create_process(task, completed.append)
    manager.step(0)  # it runs: this cannot be what notices its end
    assert child.state is State.RUNNING
    began = time.monotonic()
    gate.let_through()
    finish(manager)

    assert time.monotonic() - began < HANG_SECONDS / 2
    assert completed == [child]
    assert child.ending.exit_status == 0
    manager.shutdown(HANG_SECONDS)


def test_a_forked_in_place_child_holds_its_channel_alone(manager):
    before = len(sockets_and_pidfds())
    heard = Heard()
    forked = manager.fork(heard)
    if isinstance(forked, InChild):
        forked.channel(len(sockets_and_pidfds()))
        forked.channel.close()
        os._exit(0)
    finish(manager)

    # In its parent: selector, control pipe (two) and what was there before.
    assert heard.messages == [before - 3 + 1]


def test_a_source_that_another_has_taken_away_is_not_heard(manager):
    ends = [socket.socketpair() for _ in range(2)]
    heard = []

    def watch(own, other):
        def hear():
            heard.append(own)
            manager.unwatch(own)
            manager.unwatch(other)

        manager.watch(own, hear)

    (one, _), (two, _) = ends
    watch(one, two)
    watch(two, one)
    for _, writer in ends:
        writer.send(b".")

    manager.step(HANG_SECONDS)

    assert len(heard) == 1
    for end in (*ends[0], *ends[1]):
        end.close()
