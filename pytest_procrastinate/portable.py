"""Messages of one test: a name, and a payload made of what execnet can carry.

What it cannot carry becomes text, what was told before is left out.
"""

from __future__ import annotations

import reprlib
from typing import Any

from pytest_procrastinate.process.frames import Decoder, FrameError, encode

REPEATING = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")
"""What is told of one test several times in nearly the same words, see :class:`Repeated`."""


def pack(name: str, payload: object) -> bytes:
    """Return the frame of a message.

    :raises FrameError: It is too large even as text.
    """
    try:
        return encode((name, payload))
    except FrameError:
        return encode((name, _portable(payload), "escaped"))


def unpack(message: object) -> tuple[str, Any]:
    """Return name and payload of a message.

    :raises ValueError: It is not one of ours.
    """
    match message:
        case (str(name), payload):
            return name, payload
        case (str(name), payload, "escaped"):
            return name, _unescape(payload)
    raise ValueError(f"not a message: {reprlib.repr(message)}")


_DEPTH = 20  # of containers of which more than their text is sent
_ESCAPE = "\0surrogates"  # lone surrogates are legal in a str (os.fsdecode), not in UTF-8


def _portable(value: object, depth: int = _DEPTH) -> object:
    """Return the nearest builtin: equal, or else what ``str`` makes of the value."""
    kind = type(value)
    if value is None or kind in (bool, float, complex, bytes):
        return value
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 63 else _text(value)  # type: ignore[operator]
    if kind is str:
        return _escape(value)  # type: ignore[arg-type]
    if kind in (list, tuple, set, frozenset) and depth:
        return kind(_portable(each, depth - 1) for each in value)  # type: ignore[attr-defined]
    if kind is dict and depth:
        return {
            _portable(key, depth - 1): _portable(each, depth - 1)
            for key, each in value.items()  # type: ignore[attr-defined]
        }
    for base in (bool, int, float, str, bytes):
        if isinstance(value, base):
            plain = base(value)  # type: ignore[arg-type]  # an instance of base
            text = _text(value)
            return _portable(plain) if str(plain) == text else _escape(text)
    return _escape(_text(value))


def portable_property(pair: tuple[str, object]) -> tuple[str, object]:
    """Return a user property whose text stays the same: junitxml writes that.

    In a list, an object of which only text can be carried would be quoted there.
    """
    name, value = pair
    is_container = isinstance(value, (list, tuple, set, frozenset, dict))
    return name, _text(value) if is_container and not _is_portable(value) else value


def _is_portable(value: object, depth: int = _DEPTH) -> bool:
    kind = type(value)
    if kind in (list, tuple, set, frozenset, dict):
        parts: Any = value.items() if kind is dict else value  # type: ignore[attr-defined]
        return depth > 0 and all(_is_portable(each, depth - 1) for each in parts)
    if kind is int:
        return -(1 << 63) <= value < 1 << 63  # type: ignore[operator]
    return value is None or kind in (bool, float, complex, bytes, str)


def _text(value: object) -> str:
    try:
        return str.__str__(str(value))
    except (Exception, SystemExit) as error:
        return f"<{type(value).__name__} whose text cannot be had: {type(error).__name__}>"


def _escape(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        return (_ESCAPE, text.encode("utf-8", "surrogatepass"))
    return text


def _unescape(value: Any) -> Any:
    if type(value) is tuple and len(value) == 2 and value[0] == _ESCAPE:
        return value[1].decode("utf-8", "surrogatepass")
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_unescape(each) for each in value)
    if type(value) is dict:
        return {_unescape(key): _unescape(each) for key, each in value.items()}
    return value


_LETTERS = {
    "n": "nodeid",
    "l": "location",
    "k": "keywords",
    "o": "outcome",
    "r": "longrepr",
    "s": "sections",
    "p": "user_properties",
    "t": "$report_type",
}
_LETTER_OF = {name: letter for letter, name in _LETTERS.items()}
_REPEATED = "nodeid", "location", "keywords"
_USUAL: dict[str, object] = {
    "outcome": "passed",
    "longrepr": None,
    "sections": [],
    "user_properties": [],
    "$report_type": "TestReport",
}
_AS_BEFORE = "$as_before"


class Repeated:
    """What the messages of one test repeat: sent once, brought back where they are heard.

    Nor is sent what most reports say. One in the child and one in the pytest process, for messages told
    one after the other.

    :param known: What is known to begin with, where messages are heard: of what is equal to it, no
        second copy is kept.
    """

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        self._known: dict[str, Any] = {**_USUAL, **(known or {})}

    def leave_out(self, payload: Any) -> Any:
        """Return a payload without what was told before it, or is usual."""
        told, same = {}, ""
        for name, value in _data_of(payload).items():
            letter = _LETTER_OF.get(name)
            if letter is not None and name in self._known and self._known[name] == value:
                same += letter
            else:
                told[name] = value
        self._note(told)
        told[_AS_BEFORE] = same
        return (told, *payload[1:]) if isinstance(payload, tuple) else told

    def bring_back(self, payload: Any) -> None:
        """Complete a payload that was sent."""
        data = _data_of(payload)
        if isinstance(data, dict):
            same = str(data.pop(_AS_BEFORE, ""))
            told = [
                name for name in _REPEATED if name in data and data[name] == self._known.get(name)
            ]
            for name in (*told, *(_LETTERS[letter] for letter in same if letter in _LETTERS)):
                data[name] = _copy(self._known.get(name))
            self._note(data)

    def _note(self, data: dict[str, Any]) -> None:
        for name in _REPEATED:
            if name in data and data[name] != self._known.get(name):
                self._known[name] = _copy(data[name])


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list)) else value


def unpack_all(frames: bytes) -> list[tuple[str, Any]]:
    """Return the messages of frames that were collected.

    :raises FrameError: They are damaged.
    :raises ValueError: One of them is not ours.
    """
    repeated = Repeated()
    messages = [unpack(message) for message in Decoder().feed(frames)]
    for name, payload in messages:
        if name in REPEATING:
            repeated.bring_back(payload)
    return messages


def _data_of(payload: Any) -> Any:
    return payload[0] if isinstance(payload, tuple) and payload else payload
