"""The terminal, when a test needs it: ``input()``, ``breakpoint()``, ``--pdb``.

Children run in the background. A debugger takes the terminal; a child that is stopped since it reads
from it (SIGTTIN) is given it by the pytest process, which takes it back when the child has ended.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from pytest_procrastinate.child.supervised import TimedPhases
from pytest_procrastinate.process.unpatched import os


class Foreground:
    """Takes the terminal for a child. A plugin, made in the fork server, inherited by children.

    :param owner: The process group of the pytest process: from nobody else is it taken.
    """

    def __init__(self, marker: TimedPhases, owner: int) -> None:
        self._marker = marker
        self._owner = owner

    def _take(self) -> None:
        """Take the terminal, unless it is somebody else's."""
        with contextlib.suppress(OSError):
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
            try:
                # SIGTTOU is ignored here: so this is allowed from the background.
                if os.tcgetpgrp(terminal) == self._owner:
                    os.tcsetpgrp(terminal, os.getpgrp())
            finally:
                os.close(terminal)

    def pytest_enter_pdb(self, config: pytest.Config, pdb: Any) -> None:
        """Stop the clocks, take the terminal."""
        if self._marker.page is not None:
            self._marker.page.note_debugger(True)
            self._take()

    def pytest_leave_pdb(self, config: pytest.Config, pdb: Any) -> None:
        """Let the clocks go on."""
        if self._marker.page is not None:
            self._marker.page.note_debugger(False)
