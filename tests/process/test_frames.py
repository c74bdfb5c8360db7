"""Frames: whatever arrives, in whatever pieces, is a message or a FrameError."""

from __future__ import annotations

import io
import struct
import tracemalloc
from zlib import crc32

import execnet
import pytest
from execnet.gateway_base import opcode
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_procrastinate.process import frames
from pytest_procrastinate.process.frames import (
    MAX_PAYLOAD_BYTES,
    Decoder,
    FrameError,
    encode,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
HASHABLES = st.recursive(
    SCALARS, lambda part: st.lists(part).map(tuple) | st.frozensets(part), max_leaves=8
)
MESSAGES = st.recursive(
    SCALARS | HASHABLES,
    lambda part: (
        st.lists(part)
        | st.lists(part).map(tuple)
        | st.dictionaries(HASHABLES, part)
        | st.sets(HASHABLES)
    ),
    max_leaves=20,
)
ALL_OPCODES = [code for code in vars(opcode).values() if isinstance(code, bytes)]
VERSION = execnet.dumps(None)[:1]


def frame(payload: bytes) -> bytes:
    """Put a right header before a payload that may be anything."""
    return struct.pack("!II", len(payload), crc32(payload)) + payload


def code(*parts: bytes | int) -> bytes:
    """Put a payload together: version, opcodes, ints as their four bytes, and STOP."""
    body = b"".join(struct.pack("!i", part) if isinstance(part, int) else part for part in parts)
    return VERSION + body + opcode.STOP


def refused(payload: bytes) -> str:
    """Return why a payload with a right checksum is refused."""
    with pytest.raises(FrameError) as caught:
        Decoder().feed(frame(payload))
    return str(caught.value)


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(messages, sizes):
    stream = io.BytesIO(b"".join(encode(message) for message in messages))
    decoder = Decoder()
    heard = []
    turn = 0

    while data := stream.read(sizes[turn % len(sizes)]):
        heard += decoder.feed(data)
        turn += 1

    assert heard == messages
    assert repr(heard) == repr(messages) or any_set(messages)
    assert decoder.pending == 0


def any_set(value: object) -> bool:
    """Tell whether a set is in there: its repr has no order."""
    return "set(" in repr(value) or "{" in repr(value)


@given(MESSAGES)
def test_a_payload_is_execnets(message):
    assert execnet.loads(encode(message)[8:]) == message


@pytest.mark.parametrize("bits", [31, 63, 64, 14_000])
def test_ints_of_any_size_and_sign_travel(bits):
    for value in (2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1):
        assert Decoder().feed(encode(value)) == [value]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_frame_error(data):
    try:
        Decoder().feed(data)
    except FrameError:
        pass


@given(st.lists(st.sampled_from(ALL_OPCODES) | st.binary(max_size=6), max_size=40).map(b"".join))
@example(opcode.NEWLIST + struct.pack("!i", 2**31 - 1) + opcode.STOP)
@example(opcode.CHANNEL + struct.pack("!i", 1) + opcode.STOP)
@example(opcode.NONE + opcode.BUILDTUPLE + struct.pack("!i", -1) + opcode.STOP)
def test_forged_bytes_with_a_right_checksum_raise_nothing_but_frame_error(body):
    try:
        Decoder().feed(frame(VERSION + body))
    except FrameError:
        pass


@given(MESSAGES, st.integers(0, 1 << 16), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(message, position, flip):
    data = bytearray(encode(message))
    data[position % len(data)] ^= flip
    decoder = Decoder()

    try:
        heard = decoder.feed(bytes(data))
    except FrameError:
        return

    # A length that has grown: the frame is not complete, which the end of the stream tells.
    assert heard == []
    assert decoder.pending == len(data)


@pytest.mark.parametrize("length", [MAX_PAYLOAD_BYTES + 1, 2**32 - 1])
def test_a_frame_that_claims_too_much_is_refused_at_its_header(length):
    decoder = Decoder()

    with pytest.raises(FrameError, match=f"claims {length} bytes"):
        decoder.feed(struct.pack("!II", length, 0))


def test_a_large_claim_allocates_nothing_before_the_bytes_arrive():
    decoder = Decoder()
    tracemalloc.start()
    try:
        decoder.feed(struct.pack("!II", MAX_PAYLOAD_BYTES, 0) + b"x" * 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert decoder.pending == 1008
    assert peak < 100_000


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(code(opcode.NEWLIST, 2**31 - 1), id="one huge list"),
        pytest.param(code(opcode.NEWLIST, -1), id="a negative list"),
        pytest.param(code(*[opcode.NEWLIST, 1000] * 1500), id="many lists"),
        pytest.param(code(opcode.BYTES, 2**31 - 1), id="a string"),
        pytest.param(code(opcode.BYTES, -1), id="a negative string"),
        pytest.param(code(opcode.BUILDTUPLE, 2**31 - 1), id="a tuple"),
        pytest.param(code(opcode.SET, -5), id="a negative set"),
        pytest.param(code(opcode.LONGINT, 500_000, b"9" * 500_000), id="an int"),
    ],
)
def test_what_is_claimed_is_not_allocated(payload):
    data = frame(payload)
    decoder = Decoder()
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decoder.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 20 * len(data) + 100_000


def test_more_containers_than_the_limit_are_refused_on_both_sides(monkeypatch):
    monkeypatch.setattr(frames, "MAX_CONTAINERS", 10)
    ten = encode([{} for _ in range(9)])
    assert Decoder().feed(ten) == [[{}] * 9]

    with pytest.raises(FrameError, match="more than 10 containers"):
        encode([{} for _ in range(10)])
    eleven = execnet.dumps([{} for _ in range(10)])
    assert "more than 10 containers" in refused(eleven)


@pytest.mark.parametrize("use", [(opcode.SET, 1), (opcode.FROZENSET, 1)])
def test_tuples_too_deep_to_be_hashed_do_not_crash_the_receiver(use):
    nested = [opcode.BUILDTUPLE, 1] * 200_000

    assert "nested more than" in refused(code(opcode.NONE, *nested, *use))
    as_key = code(opcode.NEWDICT, opcode.NONE, *nested, opcode.NONE, opcode.SETITEM)
    assert "nested more than" in refused(as_key)


def test_a_key_that_could_not_be_received_is_not_sent():
    key: tuple[object, ...] = ()
    for _ in range(frames.MAX_KEY_DEPTH):
        key = (key,)

    for message in ({key: 1}, {key}, frozenset([key])):
        with pytest.raises(FrameError, match="nested more than"):
            encode(message)
    assert Decoder().feed(encode({key[0]: 1})) == [{key[0]: 1}]


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"": x}])
def test_containers_are_nested_as_deep_as_the_limit_on_both_sides(wrap):
    message: object = 0
    for _ in range(frames.MAX_DEPTH):
        message = wrap(message)
    assert Decoder().feed(encode(message)) == [message]

    with pytest.raises(FrameError, match="nested more than 200 containers deep"):
        encode(wrap(message))
    assert "nested more than 200 containers deep" in refused(execnet.dumps(wrap(message)))


def test_a_channel_is_refused():
    assert "a channel" in refused(code(opcode.CHANNEL, 1))


def test_bytes_after_the_message_are_refused():
    assert "2 bytes follow" in refused(code(opcode.NONE) + b"xx")


def test_a_truncated_message_is_told_by_what_is_pending():
    data = encode("last words")
    decoder = Decoder()

    for cut in range(1, len(data)):
        assert decoder.feed(data[cut - 1 : cut]) == []
        assert decoder.pending == cut

    assert decoder.feed(data[-1:]) == ["last words"]
    assert decoder.pending == 0


def test_messages_before_the_garbage_are_not_lost_and_all_after_it_is_refused():
    decoder = Decoder()
    broken = bytearray(encode("two"))
    broken[-1] ^= 1

    with pytest.raises(FrameError, match="wrong checksum") as caught:
        decoder.feed(encode("zero") + encode("one") + bytes(broken) + encode("three"))

    assert caught.value.messages == ["zero", "one"]
    assert decoder.pending == 0
    for _ in range(2):
        with pytest.raises(FrameError, match="wrong checksum") as again:
            decoder.feed(encode("four"))
        assert again.value.messages == []


class Channel:
    """execnet would take it for one of its own: it looks at the name."""

    id = 7


class Text(str):
    pass


def contains_itself() -> object:
    message: list[object] = []
    message.append(message)
    return message


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (object(), "a object is not a builtin"),
        (Text("x"), "a Text is not a builtin"),
        (Channel(), "a Channel is not a builtin"),
        ([{"x": type("str", (), {})()}], "a str is not a builtin"),
        ("\udcff", "utf-8"),
        ({"\udcff": 1}, "utf-8"),
        pytest.param(10**4300, "4300|4301", id="a long int"),
        (contains_itself(), "nested too deeply"),
    ],
)
def test_what_cannot_be_sent_is_a_frame_error(message, why):
    with pytest.raises(FrameError, match=why):
        encode(message)


def test_a_message_that_is_too_large_is_not_sent(monkeypatch):
    monkeypatch.setattr(frames, "MAX_PAYLOAD_BYTES", 100)

    with pytest.raises(FrameError, match="bytes long; the limit is 100"):
        encode(b"x" * 100)


def test_execnets_own_tables_are_as_they_were():
    encode([1, {"a": ()}])

    with pytest.raises(execnet.DumpError):
        execnet.dumps(object())
    assert execnet.loads(execnet.dumps([None, 2**40])) == [None, 2**40]
