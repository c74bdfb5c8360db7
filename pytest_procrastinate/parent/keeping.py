"""What a child tells is kept until it is told: no more than memory may hold, whatever the child is."""

from __future__ import annotations

from typing import Any

from pytest_procrastinate.process.frames import FrameError
from pytest_procrastinate.pytest_private import MOST_CAPTURED_BYTES

MOST_MESSAGES = 1 << 20  # kept of one test at a time; more is a child that tells for ever
LEFT_OUT = "[left out: what was written before]\n"


def keep(messages: list[tuple[str, Any]], name: str, payload: Any) -> None:
    """Keep one more message; what is written to the terminal piece by piece, in few large ones.

    :raises FrameError: There are too many already.
    """
    if len(messages) >= MOST_MESSAGES:
        raise FrameError(f"told more than {MOST_MESSAGES} messages")
    messages.append((name, payload))
    if name == "terminal":
        _join_written(messages)


def _join_written(messages: list[tuple[str, Any]]) -> None:
    """Join the last pieces that were written; of more than is told of any output the end.

    Each piece stays more than twice as long as the next: there are few, and each character is copied
    as few times. pytest's writer copies a line that does not end with each piece of it.
    """
    while len(messages) > 1:
        (before, first), (_, second) = messages[-2:]
        if before != "terminal" or not (isinstance(first, str) and isinstance(second, str)):
            return
        if len(first) > 2 * len(second):
            return
        text = first + second
        if len(text) > MOST_CAPTURED_BYTES:
            text = LEFT_OUT + text[-MOST_CAPTURED_BYTES:]
        messages[-2:] = [("terminal", text)]
