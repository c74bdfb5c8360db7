"""What every test needs to run, and its child need not copy."""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from pytest_procrastinate.process.child import leave
from pytest_procrastinate.process.immortal import (
    definitions,
    has_immortal_objects,
    kept_by,
    make_immortal,
)
from pytest_procrastinate.process.written_code import WrittenCode, can_move_code
from pytest_procrastinate.pytest_private import hook_machinery

PAYS_FROM = 30  # children: to make much immortal takes some 50 ms, and saves some 2 ms with each
MOVES_FROM = 35  # children: those in between tell what they write to
OURS = "pytest_procrastinate"
PACKAGES = ("_pytest", "pytest", "pluggy", "execnet", OURS)


def note_where_modules_are() -> None:
    """Have Python look up the file of each module, as it does for the first traceback of a process.

    :mod:`inspect` keeps what it finds. Each child would look anew, and ask the kernel some thousand times.
    """
    with contextlib.suppress(Exception):  # of a module that loads itself when it is asked
        inspect.getmodule(note_where_modules_are.__code__)


class Machinery:
    """The definitions of pytest and the standard library, pluggy's calls, and a fork server's own things.

    :param server: What it keeps for itself is shared as well.
    """

    def __init__(self, config: pytest.Config, server: object) -> None:
        self._config = config
        self._server = server
        self._ordered = 0
        self._code: WrittenCode | None = None

    def share(self) -> None:
        """Have children share it, once many are ordered: also those that narrower servers will fork."""
        self._ordered += 1
        if self._ordered == PAYS_FROM and has_immortal_objects():
            defined = definitions({*PACKAGES, *sys.stdlib_module_names})
            make_immortal(defined)
            make_immortal(hook_machinery(self._config))
            make_immortal(kept_by(self._server, OURS))
            if can_move_code():
                with contextlib.suppress(OSError):
                    self._code = WrittenCode(defined)
        elif self._ordered == MOVES_FROM and self._code is not None:
            self._code.note()
            make_immortal(self._code.move_together())
            self._code = None
        # Each child would soon do it for itself otherwise, and copy all that the collector looks at.
        if gc.isenabled() and gc.get_count()[0] > gc.get_threshold()[0] / 2:
            gc.collect(0)

    def leave_child(self, run: Callable[[], None]) -> NoReturn:
        """Run the rest of a test, in its child, and end that."""

        def run_and_note() -> None:
            run()
            if self._code is not None:
                with contextlib.suppress(Exception):  # by now the test may have changed anything
                    self._code.note()

        leave(run_and_note)
