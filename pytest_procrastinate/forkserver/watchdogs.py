"""Timers that a fork stops or that a fork must not meet armed."""

from __future__ import annotations

import faulthandler
import signal

import pytest

from pytest_procrastinate.pytest_private import arm_faulthandler_timeout


class Watchdogs:
    """What was armed in the server when it began an item, to be armed again in the child.

    A child inherits no timer (setitimer(2)); pytest-timeout's would be lost. faulthandler's
    watchdog is a thread: armed at the fork, it blocks a child for ever that cancels it.
    """

    def __init__(self) -> None:
        self._seconds, self._interval = signal.getitimer(signal.ITIMER_REAL)

    def disarm(self) -> None:
        """Disarm what a fork must not meet."""
        faulthandler.cancel_dump_traceback_later()

    def arm(self, config: pytest.Config, *, begun: bool) -> None:
        """Arm them in the child.

        :param begun: The item's protocol is under way: pytest would have armed its own.
        """
        if self._seconds:
            signal.setitimer(signal.ITIMER_REAL, self._seconds, self._interval)
        if begun:
            arm_faulthandler_timeout(config)
