"""Read what :mod:`faulthandler` wrote of a dying process: the stack of the thread that died."""

from __future__ import annotations

import linecache
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

import _pytest
import pluggy

_FRAME = re.compile(r'^  File "(?P<path>.*)", line (?P<line>\d+|\?\?\?) in (?P<function>.*)$')
_MACHINERY = tuple(
    os.path.dirname(path) + os.sep
    for path in (_pytest.__file__, pluggy.__file__, os.path.dirname(__file__))
)
MOST_SOURCE_BYTES = 16 << 20
CONTEXT_LINES = 4  # of source above the line that a crash is at


class Frame(NamedTuple):
    """One call of a Python stack."""

    path: str
    line: int
    function: str

    def place(self, base: Path) -> str:
        """Return ``path:line``, relative to ``base`` where the file lies below it."""
        return f"{relative_path(self.path, base)}:{self.line}"

    def source(self) -> list[str]:
        """Return the lines up to this one, marked as pytest marks them; none without a source."""
        if self.path == "<string>" or not _may_be_read(self.path):  # 3.13: what -c was given
            return []
        linecache.checkcache(self.path)
        code = linecache.getlines(self.path)
        if not 0 < self.line <= len(code):
            return []
        rows = [code[self.line - 1]]
        for row in reversed(code[max(0, self.line - 1 - CONTEXT_LINES) : self.line - 1]):
            if (
                rows[0].lstrip().startswith(("def ", "async def ", "class ", "@"))
                or not row.strip()
            ):
                break
            rows.insert(0, row)
        texts = [row.rstrip("\n") for row in rows]
        return [*(f"    {row}" for row in texts[:-1]), f">   {texts[-1]}"]


def _may_be_read(path: str) -> bool:
    """Whether reading a file comes to an end: a test names it, and may have put anything there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # no file: linecache asks who imported it
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size <= MOST_SOURCE_BYTES


def read_stack(text: str) -> list[Frame]:
    """Return the calls of the thread that died, the most recent first, down to pytest's own.

    Of several threads it is the one called current; a crash outside of Python's threads has none.
    """
    frames: list[Frame] = []
    current = "Current thread" not in text
    for row in text.splitlines():
        if row.startswith("Current thread") and "C stack" not in row:
            current, frames = True, []
        elif row.startswith(("Thread", "Current thread")):
            current = current and not frames
        elif current and (match := _FRAME.match(row)):
            line = match["line"]
            frames.append(
                Frame(match["path"], int(line) if line.isdigit() else 0, match["function"])
            )
    shown: list[Frame] = []
    is_shown = False
    for frame in frames:
        is_machinery = frame.path.startswith(_MACHINERY)
        if is_shown and is_machinery:
            break
        is_shown = is_shown or not is_machinery
        shown.append(frame)
    return shown if is_shown else shown[:1]


def relative_path(path: str, base: Path) -> str:
    """Return a path relative to ``base`` where it lies below it."""
    try:
        return str(Path(path).relative_to(base))
    except ValueError:
        return path
