"""Messages on a pipe: length, checksum, builtins; never more than arrived.

A frame is a header of eight bytes (length of the payload and its CRC-32, both
unsigned and in network order) and the payload, which is execnet's dump format:
None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset.
Never pickle or marshal: the sender may be a process whose memory is corrupted,
and its bytes must not run code in the receiver, crash it, or fill its memory.

How bytes travel, and what a message means, is left to others.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from zlib import crc32

from execnet.gateway_base import Unserializer, _Serializer, opcode

MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
"""No message is longer; a header that claims more is garbage."""

MAX_CONTAINERS = 1 << 20
"""Lists, tuples, dicts and sets in one message. An empty dict is one byte on
the wire and 64 in memory, so the length of a payload alone bounds nothing."""

MAX_DEPTH = 200
"""Containers inside containers: who walks through a message, shows it or compares
it recurses, and CPython allows 1,000 calls."""

MAX_KEY_DEPTH = 100
"""Tuples inside tuples, where they are hashed: CPython's hash of a tuple
recurses in C without a check and overflows the stack."""

MAX_INT_DIGITS = 4300
"""CPython's own limit for ``int(str)``, which is quadratic in the length;
repeated here because users may lift theirs."""

_HEADER = struct.Struct("!II")
_INT4 = struct.Struct("!i")
_INT4_MIN, _INT4_MAX = -(1 << 31), (1 << 31) - 1

# An item of a list is its index (opcode and four bytes), a value of at least
# one byte, and SETITEM.
_LIST_ITEM_BYTES = 7

_SHORT_CHARACTERS = 64


class FrameError(ValueError):
    """A message that cannot be sent, or bytes that are not a message.

    :ivar messages: From :meth:`Decoder.feed`: the messages that were complete
        before the bad frame, in order; they are not told again.
    """

    def __init__(self, text: str, messages: Iterable[object] = ()) -> None:
        super().__init__(text)
        self.messages = list(messages)


def encode(message: object) -> bytes:
    """Return the frame for ``message``, header included.

    :raises FrameError: A part is not of a builtin type (a subclass is not),
        a str holds a lone surrogate, an int has more than ``MAX_INT_DIGITS``
        digits, the message contains itself or is nested too deeply, or it is
        too large. The caller makes it portable or says that it was lost.
    """
    writer = _Writer()
    try:
        payload = writer.save(message, versioned=True)
        if writer.containers > MAX_CONTAINERS:
            raise FrameError(f"the message holds more than {MAX_CONTAINERS} containers")
        if writer.containers > MAX_DEPTH:
            _check_depth(message)
    except FrameError:
        raise
    except RecursionError:
        raise FrameError("the message is nested too deeply") from None
    except Exception as error:
        raise FrameError(f"the message cannot be sent: {error}") from error
    assert payload is not None
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(
            f"the message is {len(payload)} bytes long; the limit is {MAX_PAYLOAD_BYTES}"
        )
    return _HEADER.pack(len(payload), crc32(payload)) + payload


class Decoder:
    """Turns bytes, in pieces of any size, into messages.

    For one pipe. It holds no more than the unfinished frame that has arrived;
    what it decodes is bounded by ``MAX_PAYLOAD_BYTES`` and ``MAX_CONTAINERS``.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = ""

    @property
    def pending(self) -> int:
        """Bytes of a frame that has begun and is not complete.

        At the end of the stream anything but 0 is a truncated message. 0
        after an error: what follows garbage has no meaning.
        """
        return len(self._buffer)

    def feed(self, data: bytes) -> list[object]:
        """Return the messages that ``data`` completes, in the order sent.

        :raises FrameError: On garbage, and from then on always: where the
            next frame would begin is unknown. Its ``messages`` are those that
            were complete before the garbage in the same ``data``.
        """
        if self._broken:
            raise FrameError(self._broken)
        buffer = self._buffer
        buffer += data
        messages: list[object] = []
        position = 0
        try:
            while len(buffer) - position >= _HEADER.size:
                length, checksum = _HEADER.unpack_from(buffer, position)
                if length > MAX_PAYLOAD_BYTES:
                    raise FrameError(
                        f"a header claims {length} bytes; the limit is {MAX_PAYLOAD_BYTES}"
                    )
                start = position + _HEADER.size
                if len(buffer) - start < length:
                    break
                payload = bytes(memoryview(buffer)[start : start + length])
                if crc32(payload) != checksum:
                    raise FrameError(f"a message of {length} bytes has the wrong checksum")
                messages.append(_decode(payload))
                position = start + length
        except FrameError as error:
            self._broken = str(error)
            self._buffer = bytearray()
            raise FrameError(self._broken, messages) from error.__cause__
        if position:
            del buffer[:position]
        return messages


def _decode(payload: bytes) -> object:
    """Return the one message in ``payload``; nothing but FrameError is raised."""
    stream = BytesIO(payload)
    reader = _Reader(stream, len(payload))
    try:
        message: object = reader.load(versioned=True)
        if reader.containers > MAX_DEPTH:
            _check_depth(message)
    except Exception as error:
        # Forged bytes raise whatever execnet's loader runs into: KeyError,
        # IndexError, struct.error, UnicodeDecodeError, AttributeError, ...
        raise FrameError(f"not a message: {type(error).__name__}: {error}") from error
    if stream.tell() != len(payload):
        raise FrameError(f"{len(payload) - stream.tell()} bytes follow the end of a message")
    return message


def _text(text: str) -> bytes:
    data = text.encode()
    return opcode.PY3STRING + _INT4.pack(len(data)) + data


_short_text = functools.lru_cache(maxsize=256)(_text)  # names, which each message repeats


class _Builtins(dict[type, Callable[..., None]]):
    """What writes a value of each type that can be sent."""

    def __missing__(self, kind: type) -> Callable[..., None]:
        raise FrameError(f"a {kind.__qualname__} is not a builtin and cannot be sent")


class _Writer(_Serializer):
    """execnet's serializer, for exactly the builtin types.

    execnet finds the method by the *name* of the type: a user's class that is
    called ``Channel`` or ``str`` would be sent as one. It also fails on ints
    below -2**31. The table is our own, execnet's is shared with xdist.

    What messages are mostly made of is written in one call each, for execnet's
    five: a child calls everything for its first time, and that is slow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.containers = 0

    def _save(self, obj: object) -> None:
        self._dispatch[type(obj)](self, obj)

    def _save_str(self, text: str) -> None:
        self._write(_short_text(text) if len(text) <= _SHORT_CHARACTERS else _text(text))

    def save_int(self, i: int) -> None:
        if _INT4_MIN <= i <= _INT4_MAX:
            self._write(opcode.INT + _INT4.pack(i))
            return
        digits = str(i).encode("ascii")
        if len(digits) > MAX_INT_DIGITS:
            raise FrameError(f"an int of {len(digits)} digits is too long")
        self._write(opcode.LONGINT)
        self._write_byte_sequence(digits)

    def _save_list(self, obj: list[object]) -> None:
        self.containers += 1
        self._write(opcode.NEWLIST + _INT4.pack(len(obj)))
        for index, item in enumerate(obj):
            self._write(opcode.INT + _INT4.pack(index))
            self._dispatch[type(item)](self, item)
            self._write(opcode.SETITEM)

    def _save_dict(self, obj: dict[object, object]) -> None:
        self.containers += 1
        write, dispatch, set_item = self._write, self._dispatch, opcode.SETITEM
        write(opcode.NEWDICT)
        for key, value in obj.items():
            if type(key) is tuple:
                _check_key(key)
            dispatch[type(key)](self, key)
            dispatch[type(value)](self, value)
            write(set_item)

    def _save_tuple(self, obj: tuple[object, ...]) -> None:
        self.containers += 1
        for item in obj:
            self._dispatch[type(item)](self, item)
        self._write(opcode.BUILDTUPLE + _INT4.pack(len(obj)))

    def _save_set(self, obj: set[object]) -> None:
        self.containers += 1
        for member in obj:
            _check_key(member)
        self.save_set(obj)

    def _save_frozenset(self, obj: frozenset[object]) -> None:
        self.containers += 1
        for member in obj:
            _check_key(member)
        self.save_frozenset(obj)

    _dispatch = _Builtins(
        {
            type(None): _Serializer.save_NoneType,
            bool: _Serializer.save_bool,
            int: save_int,
            float: _Serializer.save_float,
            complex: _Serializer.save_complex,
            str: _save_str,
            bytes: _Serializer.save_bytes,
            list: _save_list,
            tuple: _save_tuple,
            dict: _save_dict,
            set: _save_set,
            frozenset: _save_frozenset,
        }
    )


class _Reader(Unserializer):
    """execnet's loader, refusing what allocates more than it reads, and channels.

    A string that claims more than is left needs no check: it takes what is
    left, and then the opcode that must follow is missing.
    """

    def __init__(self, stream: BytesIO, size: int) -> None:
        super().__init__(stream)
        self._items_left = size // _LIST_ITEM_BYTES
        self.containers = 0

    def _count_container(self) -> None:
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise FrameError(f"more than {MAX_CONTAINERS} containers")

    def _load_digits(self) -> None:
        digits = self._read_byte_string()
        if len(digits) > MAX_INT_DIGITS:
            raise FrameError(f"an int of {len(digits)} digits")
        self.stack.append(int(digits))

    def _load_newlist(self) -> None:
        self._count_container()
        length = self._read_int4()
        self._items_left -= length
        if length < 0 or self._items_left < 0:
            raise FrameError(f"a list claims {length} items")
        self.stack.append([None] * length)

    def _load_newdict(self) -> None:
        self._count_container()
        self.stack.append({})

    def _load_setitem(self) -> None:
        stack = self.stack
        value = stack.pop()
        key = stack.pop()
        if type(key) is tuple:
            _check_key(key)
        stack[-1][key] = value  # type: ignore[index]  # anything else raises, and is garbage

    def _take(self) -> list[object]:
        """Return the items that a tuple or set claims, off the stack."""
        self._count_container()
        length = self._read_int4()
        stack = self.stack
        if not 0 <= length <= len(stack):
            raise FrameError(f"a tuple or set claims {length} items")
        start = len(stack) - length
        items = stack[start:]
        del stack[start:]
        return items

    def _load_tuple(self) -> None:
        items = self._take()
        self.stack.append(tuple(items))

    def _load_set(self) -> None:
        items = self._take()
        for item in items:
            _check_key(item)
        self.stack.append(set(items))

    def _load_frozenset(self) -> None:
        items = self._take()
        for item in items:
            _check_key(item)
        self.stack.append(frozenset(items))

    def _refuse_channel(self) -> None:
        raise FrameError("a channel")

    num2func: dict[bytes, Callable[..., None]] = {  # noqa: RUF012  # execnet declares it so
        **Unserializer.num2func,
        opcode.LONGINT: _load_digits,
        opcode.LONGLONG: _load_digits,
        opcode.NEWLIST: _load_newlist,
        opcode.NEWDICT: _load_newdict,
        opcode.SETITEM: _load_setitem,
        opcode.BUILDTUPLE: _load_tuple,
        opcode.SET: _load_set,
        opcode.FROZENSET: _load_frozenset,
        opcode.CHANNEL: _refuse_channel,
    }


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def _check_depth(message: object) -> None:
    """Refuse containers that are nested too deeply."""
    level: list[Any] = [message]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FrameError(f"nested more than {MAX_DEPTH} containers deep")
        parts = itertools.chain.from_iterable(
            itertools.chain(each, each.values()) if type(each) is dict else each for each in level
        )
        level = [part for part in parts if type(part) in _CONTAINERS]


def _check_key(key: object) -> None:
    """Refuse tuples that are nested too deeply to be hashed.

    Frozensets end the search: they keep their hash, so that theirs costs one level.
    """
    level = [key] if type(key) is tuple else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_KEY_DEPTH:
            raise FrameError(f"a key is nested more than {MAX_KEY_DEPTH} tuples deep")
        level = [part for item in level for part in item if type(part) is tuple]
