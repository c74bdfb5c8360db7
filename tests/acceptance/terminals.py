"""A pytest on a terminal of its own, whose screen can be looked at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

TIMEOUT_SECONDS = 60  # it only ends a hang
NOT_INHERITED = ("CI", "BUILD_NUMBER", "COLUMNS", "LINES", "NO_COLOR", "PYTEST_ADDOPTS")


class Terminal:
    """Runs a command in a folder. A context manager: at its end the command is gone.

    :ivar told: All that was written.
    :ivar screen: What a terminal makes of that.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.told = b""
        self.status: int | None = None
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            for name in NOT_INHERITED:
                os.environ.pop(name, None)
            os.environ.update({"TERM": "xterm", **(environment or {})})
            set_size(0, columns, rows)
            os.execvp(command[0], command)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._descriptor)

    @property
    def in_foreground(self) -> bool:
        """Whether the command itself has the terminal, and no job that it started."""
        return os.tcgetpgrp(self._descriptor) == self._pid

    @property
    def shown(self) -> list[str]:
        """The rows of the screen."""
        return [row.rstrip() for row in self.screen.display]

    @property
    def transcript(self) -> list[str]:
        """All rows that are, or were, on the screen, without the empty ones at the end."""
        gone = [
            "".join(row[column].data for column in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        rows = [*gone, *self.shown]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def signal(self, signum: int) -> None:
        os.kill(self._pid, signum)

    def resize(self, columns: int, rows: int) -> None:
        set_size(self._descriptor, columns, rows)
        self.screen.resize(rows, columns)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Show what is written until the condition holds."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.transcript)
            assert self._read(0.02), "\n".join(["it has ended:", *self.transcript])

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda: any(text in row for row in self.shown))

    def let_go(self, fifo: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Have a test go on that reads from a named pipe.

        :param meanwhile: Called before, when the test waits for the end of the pipe.
        """
        write_ends: list[int] = []

        def has_a_reader() -> bool:
            try:
                write_ends.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # ENXIO: nobody has opened it for reading
                return False
            return True

        self.wait_for(has_a_reader)
        try:
            meanwhile()
        finally:
            os.close(write_ends[0])

    def end(self) -> int:
        """Show what is written until the command has ended; return its exit status."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._read(0.2):
            assert time.monotonic() < deadline, "\n".join(self.transcript)
        _, status = os.waitpid(self._pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _read(self, seconds: float) -> bool:
        """Show what there is; False at the end."""
        if select.select([self._descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except OSError:  # EIO: nobody has the other end open any more
                return False
            self.told += data
            self._stream.feed(data)
        return True


def set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def pytest_command(*options: str) -> list[str]:
    # hypothesis is slow to import, as its plugin does at the end, where no bytecode is kept
    plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    return [sys.executable, "-m", "pytest", "--forked", *plugins, *options]
