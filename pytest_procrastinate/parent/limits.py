"""Why a child ended that went over a limit, or that the kernel killed for want of memory."""

from __future__ import annotations

import signal

from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.limits import Limits, count_oom_kills, resident_bytes


class Breaches:
    """Recognises breaches in endings. Made before anything is forked."""

    def __init__(self) -> None:
        self._oom_kills = count_oom_kills()

    def explain(self, attempt: Attempt) -> Ending:
        """Return the ending of an attempt with its cause, if that can be recognised."""
        ending, settings = attempt.ending, attempt.settings
        assert ending is not None
        if ending.cause or (ending.signal is None and settings.memory_limit_bytes is None):
            return ending
        oom_kills = 0
        if ending.signal == signal.SIGKILL:
            before, self._oom_kills = self._oom_kills, count_oom_kills()
            oom_kills = self._oom_kills - before
        limits = Limits(settings.memory_limit_bytes, settings.cpu_limit_seconds)
        resident = resident_bytes() if settings.memory_limit_bytes is not None else 0
        return limits.explain(ending, resident_bytes_at_fork=resident, oom_kills=oom_kills)
