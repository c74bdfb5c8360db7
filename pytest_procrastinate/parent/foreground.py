"""The terminal is the pytest process's again when a test's child has ended, as it was before."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Iterable, Iterator
from typing import Any


class Terminal:
    """Gives the terminal back to this process; does nothing where it has none, or not the say."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._modes: list[Any] = []
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            return
        with contextlib.suppress(OSError, termios.error):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                self._modes = termios.tcgetattr(descriptor)
                self._descriptor = descriptor
                return
        os.close(descriptor)

    @property
    def is_ours(self) -> bool:
        """Whether there is a terminal, and this process was in its foreground."""
        return self._descriptor != -1

    def lend(self, group: int) -> bool:
        """Put another process group into the foreground; whether that was done."""
        if not self.is_held_by(os.getpgrp()):
            return False
        try:
            os.tcsetpgrp(self._descriptor, group)
        except OSError:
            return False
        return True

    def is_held_by(self, group: int | None) -> bool:
        """Whether a process group, this one or another, is in the foreground."""
        try:
            return self.is_ours and os.tcgetpgrp(self._descriptor) == group
        except OSError:  # the terminal has gone
            return False

    def take_back(self, *groups: int | None) -> None:
        """Be in the foreground again, with the terminal's modes as they were.

        :param groups: From these process groups, if one of them has it. A person may have given it to
            another (``bg``).
        """
        if self._descriptor == -1:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            if (holder := os.tcgetpgrp(self._descriptor)) in groups:
                os.tcsetpgrp(self._descriptor, os.getpgrp())
            elif holder != os.getpgrp():
                return
            if termios.tcgetattr(self._descriptor) != self._modes:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
        except (OSError, termios.error):  # the terminal has gone
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextlib.contextmanager
    def taken_back(self, groups: Iterable[int | None]) -> Iterator[None]:
        """Have the terminal for a while, from the process group that it is lent to, if any."""
        lent = [group for group in groups if group is not None and self.is_held_by(group)]
        self.take_back(*lent)
        try:
            yield
        finally:
            for group in lent:
                self.lend(group)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor != -1:
            self.take_back()
            os.close(self._descriptor)
            self._descriptor = -1
