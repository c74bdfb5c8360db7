"""A line below the output that names the tests that run, while one of them takes its time.

It is on the screen only while the pytest process sleeps, and is taken off before anything else may
be written: pytest's own output, a hook's, a line of ours. The cursor stays where the output ends.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.pytest_private import (
    may_write_to_terminal,
    terminal_file,
    text_width,
    write_to_terminal,
)

AFTER_SECONDS = 2.0  # a test that ends sooner is gone before one has read its name
REDRAW_SECONDS = 1.0

# "Index" makes sure of a row below, by scrolling where there is none, and keeps the column. A
# position that was saved before the scrolling would be wrong.
_BELOW = "\x1bD\x1b[A\x1b7\r\n"
_BACK = "\x1b8"
_ERASE = "\x1b[J"  # all that is after the cursor; it does not move


class LiveLine:
    """Draws the line where a person looks on; does nothing elsewhere. A context manager.

    Nobody looks on in a log (no terminal, ``CI``). It stays away where others write past us: a test
    (``-s``), a debugger, a reporter that is not pytest's own.

    :param total: How many tests the session has.
    """

    def __init__(self, config: pytest.Config, total: int) -> None:
        self.done = 0
        """How many tests have been run."""
        self._config = config
        self._total = total
        self._file: Any = (
            None if may_write_to_terminal(config) or _is_log() else terminal_file(config)
        )
        self._is_shown = False
        self._due = 0.0

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.erase()

    def next_due(self, running: Mapping[Attempt, float]) -> float | None:
        """Return when to draw; None: never, as things are.

        :param running: When each test was started, by the same clock.
        """
        if self._file is None or not (running or self._is_shown):
            return None
        first = 0.0 if self._is_shown else min(running.values()) + AFTER_SECONDS
        return max(first, self._due)

    def draw(self, now: float, running: Mapping[Attempt, float]) -> None:
        """Draw the line, if it is due."""
        due = self.next_due(running)
        if due is None or now < due:
            return
        self._due = now + REDRAW_SECONDS
        if any(attempt.shows for attempt in running) or not self._may_write():
            return
        slow = {
            attempt.item.nodeid: int(now - since)
            for attempt, since in sorted(running.items(), key=lambda pair: pair[1])
            if now - since >= AFTER_SECONDS
        }
        columns = self._columns()
        text = _ERASE if self._is_shown else ""
        self._is_shown = bool(slow and columns)
        if self._is_shown:
            line = live_text(f"{self.done}/{self._total}", len(running), slow, columns - 1)
            encoding = getattr(self._file, "encoding", None) or "ascii"
            text += _BELOW + line.encode(encoding, "replace").decode(encoding) + _BACK
        self._write(text)

    def erase(self) -> None:
        """Take the line off the screen: somebody else may write next."""
        if self._is_shown:
            self._is_shown = False
            self._due = 0.0
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self._file.write(text)
            self._file.flush()

    def _may_write(self) -> bool:
        """Whether the terminal is ours (no ``bg``, no debugger has it) and takes what we write."""
        try:
            descriptor = self._file.fileno()
            if os.tcgetpgrp(descriptor) != os.getpgrp():
                return False
            return bool(select.select([], [descriptor], [], 0)[1])  # not after Ctrl-S
        except (OSError, ValueError):
            return False

    def _columns(self) -> int:
        """Return how wide the screen is; 0 where a line cannot be drawn now."""
        with write_to_terminal(self._config) as writer:
            width = writer.width_of_current_line
        try:
            columns = os.get_terminal_size(self._file.fileno()).columns
        except (OSError, ValueError):
            return 0
        # Right behind a full row the cursor is in a state that cannot be had again.
        return 0 if columns and width and width % columns == 0 else columns


def live_text(done: str, running: int, slow: Mapping[str, int], columns: int) -> str:
    """Return the line, no wider than ``columns``: the slowest test, and others that have room.

    :param done: How far the run has come: ``12/340``.
    :param running: How many tests run.
    :param slow: Their ids and seconds, the slowest first.
    """
    line = f"{done}, {running} running: " if running > 1 else f"{done}, running: "
    for position, (nodeid, seconds) in enumerate(slow.items()):
        name, time = _printable(nodeid), f" {seconds} s"
        room = columns - text_width(line) - len(time)
        if position == 0:
            line += _end_of(name, room) + time
        elif text_width(name) + 2 <= room:
            line += f", {name}{time}"
    while text_width(line) > columns:
        line = line[:-1]
    return line


def _end_of(nodeid: str, columns: int) -> str:
    """Return as much of an id as has room: its end tells one test from another."""
    if text_width(nodeid) <= columns:
        return nodeid
    while nodeid and text_width(nodeid) > columns - 1:
        nodeid = nodeid[1:]
    return f"…{nodeid}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _is_log() -> bool:
    """Whether nobody looks on, or the screen can do no more than a printer."""
    terminal = os.environ.get("TERM", "")
    is_ci = any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))  # as for pytest
    return terminal in ("", "dumb", "unknown") or is_ci
