"""Deaths and nonsense between a server, its owner and their children."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys

import pytest
from managing import finish, step_until
from serving import Owner, tell
from watching import every_waiter

from pytest_procrastinate.process.child import BROKEN_STATUS, State
from pytest_procrastinate.process.frames import encode
from pytest_procrastinate.process.leftovers import set_subreaper
from pytest_procrastinate.process.manager import ForkError
from pytest_procrastinate.process.remote import SERVER_DIED


@pytest.fixture
def subreaper():
    """Have the children of dead servers become ours."""
    before = set_subreaper(True)
    yield
    set_subreaper(before)


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
    manager.kill_process(owner.server, signal.SIGSTOP)  # it takes all orders before it dies
    os.waitid(os.P_PID, owner.server.pid, os.WSTOPPED | os.WNOWAIT)
    children = [owner.order(name) for name in ("die", "act", "act")]
    manager.kill_process(owner.server, signal.SIGCONT)
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
    try:
        ordered = owner.order("act")
    except ForkError as error:  # it is dead already, which is seen as one talks to it
        ordered = error
    finish(manager)

    assert owner.server.ending.signal == signal.SIGKILL
    if isinstance(ordered, ForkError):
        assert ordered.errno == errno.EPIPE
    else:
        assert ordered.refusal == SERVER_DIED


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


def test_an_order_passed_on_to_a_server_that_has_died_ends_as_that_did(manager):
    owner = Owner(manager, act=tell)
    os.kill(owner.server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, owner.server.pid, os.WEXITED | os.WNOWAIT)
    ours, theirs = socket.socketpair()
    completed = []
    with ours, theirs:
        child = owner.forker.pass_on(("act", "hello"), completed.append, [theirs.fileno()])
        finish(manager)

    assert completed == [child]
    assert (child.refusal, child.ending) == (SERVER_DIED, owner.server.ending)
