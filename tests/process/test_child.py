"""A child's channel: both ways, to its end, and whatever a broken child puts into it."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import time

import pytest
from managing import Act, Heard, finish, run, step_until
from watching import every_waiter, fork, raise_signal

from pytest_procrastinate.process import child as child_module
from pytest_procrastinate.process.child import Channel, ChildProcess, State
from pytest_procrastinate.process.frames import MAX_PAYLOAD_BYTES, FrameError, encode

# --- both ways ----------------------------------------------------------------------------------


@every_waiter
def test_words_go_down_and_messages_up(manager):
    def echo(channel):
        while word := channel.wait():
            channel(word)

    task = Act(echo)
    child = manager.create_process(task)
    for word in (b"one", b"two", b"x" * 64):
        assert child.tell(word)
        step_until(manager, lambda word=word: task.result.messages[-1:] == [word])
    manager.hang_up(child)
    assert not child.tell(b"more")
    finish(manager)
    manager.hang_up(child)  # nothing to do

    assert task.result.messages == [b"one", b"two", b"x" * 64]
    assert child.ending.exit_status == 0


def test_a_child_hears_when_its_manager_has_gone(manager):
    def act(channel):
        channel("ready")
        os._exit(5 if channel.wait() == b"" else 6)

    task = Act(act)
    child = manager.create_process(task)
    step_until(manager, lambda: task.result.messages)
    manager.teardown()

    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 5


def test_a_child_that_does_not_listen_never_blocks_its_parent(manager, gate):
    child = manager.create_process(Act(gate.wait))
    told = 0
    while child.tell(b"x" * 1000):
        told += 1
        assert told < 100_000

    gate.let_through()
    finish(manager)
    assert told > 0


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_words_for_a_dead_child_do_not_end_the_parent(manager, handler):
    """Programs that write to pipes set SIGPIPE back to its default."""
    child = manager.create_process(Act(lambda channel: None))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    before = signal.signal(signal.SIGPIPE, handler)
    try:
        assert not child.tell(b".")
    finally:
        signal.signal(signal.SIGPIPE, before)
    finish(manager)
    assert child.ending.exit_status == 0


def test_a_child_whose_parent_has_gone_is_told_by_an_error(manager, gate):
    def act(channel):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        gate.wait()
        try:
            channel("too late")
        except BrokenPipeError:
            os._exit(5)

    child = manager.create_process(Act(act))
    manager.teardown()
    gate.let_through()

    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 5


def test_a_child_without_a_channel_is_told_nothing():
    assert not ChildProcess(None, None).tell(b".")


# --- its end ------------------------------------------------------------------------------------


@every_waiter
def test_the_end_of_its_messages_is_not_its_end(manager, gate):
    def act(channel):
        channel("last words")
        channel.close()
        gate.wait()

    task = Act(act)
    child = manager.create_process(task)
    step_until(manager, lambda: task.result.messages)
    began = time.monotonic()
    for _ in range(3):
        manager.step(0.05)
    assert (
        time.monotonic() - began > 0.05
    )  # the end of the channel does not wake it again and again
    assert (child.state, task.result.ending) == (State.RUNNING, None)

    gate.let_through()
    finish(manager)
    assert task.result.messages == ["last words"]
    assert (child.ending.exit_status, child.error) == (0, None)


@every_waiter
def test_a_descendant_that_holds_the_channel_keeps_nobody_waiting(manager, ready):
    def act(channel):
        fork(ready.tell)
        channel("last words")

    task = Act(act)
    child = manager.create_process(task)
    (descendant,) = ready.hear()
    finish(manager)

    assert task.result.messages == ["last words"]
    assert (child.ending.exit_status, child.error) == (0, None)
    os.kill(descendant, signal.SIGKILL)


def test_a_descendant_that_writes_for_ever_keeps_nobody_waiting(manager, ready):
    def write_for_ever(channel):
        ready.tell()
        while True:
            channel("x" * 50_000)

    def act(channel):
        fork(lambda: write_for_ever(channel))
        channel.wait()

    task = Act(act)
    child = manager.create_process(task)
    (descendant,) = ready.hear()
    step_until(manager, lambda: len(task.result.messages) > 10)
    child.tell(b".")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    heard = len(task.result.messages)
    step_until(manager, lambda: task.result.ending)

    assert len(task.result.messages) - heard < 100
    assert child.removable
    os.kill(descendant, signal.SIGKILL)


def test_what_was_written_before_a_crash_arrives(manager):
    """More than is read at once, and all of it is still in the socket when the child is reaped."""
    task = Act(lambda channel: ([channel(n) for n in range(100)], raise_signal(signal.SIGKILL)))
    child = manager.create_process(task)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    finish(manager)

    assert task.result.messages == list(range(100))


def test_a_word_that_was_not_read_does_not_take_the_messages_with_it(manager):
    """The socket of a child that leaves with unread words is reset, unix(7)."""
    task = Act(lambda channel: (channel.end.recv(1, socket.MSG_PEEK), channel("last words")))
    child = manager.create_process(task)
    child.tell(b"unread")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    finish(manager)

    assert task.result.messages == ["last words"]
    assert child.error is None


# --- what cannot be a message -------------------------------------------------------------------

GARBAGE = {
    "garbage": (b"\xff" * 5000, "a header claims 4294967295 bytes"),
    "text": (b"Segmentation fault\n" * 10, "a header claims"),
    "too large": (struct.pack("!II", MAX_PAYLOAD_BYTES + 1, 0), "a header claims"),
    "a wrong checksum": (encode("x")[:-1] + b"?", "wrong checksum"),
    "half a frame": (encode("x" * 1000)[:500], "ends within a frame, after 500 bytes"),
    "half a header": (b"\0\0\0", "ends within a frame, after 3 bytes"),
}


@every_waiter
@pytest.mark.parametrize(("data", "why"), GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_message_is_told_as_an_error_after_what_was(manager, data, why):
    task = Act(lambda channel: (channel("before"), channel.send(data), os._exit(0)))
    child = manager.create_process(task, task.result.completed)
    finish(manager)

    assert task.result.messages == ["before"]
    assert why in str(child.error)
    assert task.result.events[1:] == [("died", child.ending), ("completed", child)]


@every_waiter
def test_a_child_that_writes_garbage_is_killed(manager, gate):
    task = Act(lambda channel: (channel.send(b"\xff" * 100), gate.wait()))
    child = manager.create_process(task)
    finish(manager)

    assert child.ending.signal == signal.SIGKILL
    assert isinstance(child.error, FrameError)


def test_a_child_that_tells_for_ever_is_killed(manager, monkeypatch):
    def act(channel):
        while True:
            channel("x" * 100_000)

    monkeypatch.setattr(child_module, "MAX_TOLD_BYTES", 1_000_000)
    task = Act(act)
    child = manager.create_process(task)
    finish(manager)

    assert child.ending.signal == signal.SIGKILL
    assert str(child.error) == "told more than 1000000 bytes"
    assert 0 < len(task.result.messages) <= 10


def test_a_child_that_tells_more_than_can_be_heard_is_killed(manager):
    class HardOfHearing(Heard):
        def incoming_message(self, message):
            super().incoming_message(message)
            if len(self.messages) == 3:
                raise FrameError("that is enough")

    def act(channel):
        while True:
            channel("x")

    task = Act(act, HardOfHearing())
    child = manager.create_process(task)
    finish(manager)

    assert child.ending.signal == signal.SIGKILL
    assert str(child.error) == "that is enough"
    assert task.result.messages == ["x"] * 3
    assert task.result.ending is child.ending


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_heard_as_far_as_it_makes_sense(manager, seed):
    chance = random.Random(seed)
    messages = [chance.randbytes(chance.randrange(3000)) for _ in range(20)]
    data = bytearray(b"".join(map(encode, messages)))
    for _ in range(chance.randrange(3)):
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    del data[chance.choice([len(data), chance.randrange(len(data))]) :]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(10))
    parts = [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def act(channel):
        try:
            for part in parts:
                channel.send(part)
        except OSError:  # the parent has heard enough and gone
            pass
        os._exit(0)

    task = Act(act)
    child = manager.create_process(task)
    finish(manager)

    heard = task.result.messages
    assert heard == messages[: len(heard)]
    assert (child.error is None) == (bytes(data) == b"".join(map(encode, heard)))


# --- the child's end of it ----------------------------------------------------------------------


def test_what_cannot_be_sent_is_an_error_and_the_channel_goes_on(manager):
    def act(channel):
        for message in (object(), "\udcff"):
            try:
                channel(message)
            except FrameError:
                channel("refused")

    assert run(manager, act).messages == ["refused", "refused"]


@pytest.mark.parametrize("how", ["closed", "replaced"])
def test_nothing_is_written_into_what_took_the_channels_place(manager, tmp_path, how):
    def act(channel):
        number = channel.end.fileno()
        os.close(number)
        if how == "replaced":
            file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
            os.dup2(file, number)
        try:
            channel("secret")
        except OSError as error:
            ours = channel.is_ours()
            os._exit(5 if not ours and "closed or replaced" in str(error) else 6)

    task = Act(act)
    child = manager.create_process(task)
    finish(manager)

    assert child.ending.exit_status == 5
    assert task.result.messages == []
    if how == "replaced":
        assert (tmp_path / "file").read_bytes() == b""


def test_a_channel_can_be_taken_over_by_its_descriptor():
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel.from_descriptor(theirs.detach())
        channel("message")
        assert ours.recv(100) == encode("message")
        ours.send(b"word")
        assert channel.wait() == b"word"
        channel.close()
        assert channel.wait() == b""
        with pytest.raises(OSError, match="closed or replaced"):
            channel("message")
