"""When a child has had its time, and what follows: a pausable clock and the ladder.

No I/O: the manager's owner asks what is due, and does it. A ladder belongs to
whoever owns the child; the deadlines of tests are kept in the process that
cannot be stuck in one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from pytest_procrastinate.process.unpatched import time


class Clock:
    """Seconds that do not pass while it is paused: a debugger is open, or a job was stopped.

    :param monotonic: Where the seconds come from. :func:`time.monotonic` does
        not count the time that the machine was suspended, on Linux.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._skipped_seconds = 0.0
        self._paused_at: float | None = None

    @property
    def paused(self) -> bool:
        """Whether no time passes."""
        return self._paused_at is not None

    def now(self) -> float:
        """Return what the clock says, in seconds since some moment."""
        now = self._monotonic() if self._paused_at is None else self._paused_at
        return now - self._skipped_seconds

    def pause(self) -> None:
        """Stop time; nothing happens when it is stopped already."""
        if self._paused_at is None:
            self._paused_at = self._monotonic()

    def resume(self) -> None:
        """Let time pass again; nothing happens when it does."""
        if self._paused_at is not None:
            self._skipped_seconds += self._monotonic() - self._paused_at
            self._paused_at = None

    def monotonic_at(self, moment: float) -> float | None:
        """Return when this clock will say ``moment``, in the seconds it is made from.

        None while it is paused: nobody knows, and nothing is due.
        """
        return None if self.paused else moment + self._skipped_seconds


class Step(enum.Enum):
    """What is done to a child that has had its time, in this order."""

    STACKS = "stacks"
    """Have it print what each of its threads is doing."""
    RAISE = "raise"
    """Have an exception raised in its main thread: a failure with teardown, if it can."""
    TERMINATE = "terminate"
    """SIGTERM to its group."""
    KILL = "kill"
    """SIGKILL to its group."""


_STEPS = tuple(Step)


class Ladder:
    """Says which step is due for one child. It starts to count when it is made.

    At the limit STACKS and RAISE are due at once: the stack is printed by a C
    signal handler, and so before the exception. TERMINATE is due a grace time
    after the step before was taken, KILL a grace time after that. Who comes late
    (it was busy, or stopped) shortens no grace.

    :param limit_seconds: How long the child may take, 0 or more.
    :param grace_seconds: How long it has to react to a step, 0 or more.
    :param clock: Seconds; several ladders may share one, and are paused with it.
    :raises ValueError: A time is negative or not a number.
    """

    def __init__(self, limit_seconds: float, grace_seconds: float, clock: Clock) -> None:
        for seconds in (limit_seconds, grace_seconds):
            if not seconds >= 0:
                raise ValueError(f"{seconds} seconds are not a time to wait")
        self.grace_seconds = grace_seconds
        self._clock = clock
        self._taken = 0
        self._due: float | None = clock.now() + limit_seconds

    @property
    def expired(self) -> bool:
        """Whether a step was taken: what the child does from here on, it was made to do."""
        return self._taken > 0

    def next_due(self) -> float | None:
        """Return when to call :meth:`advance`, by the clock; None when no step is left."""
        return self._due

    def advance(self, now: float) -> list[Step]:
        """Return the steps to take now, each once; they count as taken.

        :param now: What the clock says.
        """
        steps: list[Step] = []
        while self._due is not None and now >= self._due:
            step = _STEPS[self._taken]
            steps.append(step)
            self._taken += 1
            self._due = now if step is Step.STACKS else now + self.grace_seconds
            if step is Step.KILL:
                self._due = None
            if step is not Step.STACKS:
                break
        return steps

    def skip_to(self, step: Step) -> None:
        """Make ``step`` the next, due at once; nothing happens when it was taken already.

        For a child that was interrupted, or that cannot print or raise.
        """
        position = _STEPS.index(step)
        if position >= self._taken and self._due is not None:
            self._taken = position
            self._due = self._clock.now()

    def cancel(self) -> None:
        """Take no further step: the child has ended, or has finished what was timed."""
        self._due = None
