"""Which test comes next, what may run beside it, in which order results are told.

Pure: knows no process and no pytest. Tests are keys 0, 1, 2, … in collection order.
"""

from __future__ import annotations

import collections
import enum
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence

from pytest_procrastinate.strategy import Strategy

WINDOW = 200  # tests among which a later one may start before an earlier one


class Stage(enum.Enum):
    """How far a test has come."""

    FORKED = 1  # its child waits at its gate
    STARTED = 2
    FINISHED = 3  # all is told, though its child may not have left yet


class Scheduler:
    """Decides over the tests of one stretch.

    :param count: How many tests there are.
    :param strategy: How many may run at once.
    :param ahead: How many children are forked before their turn.
    :param may_run: Whether a test may run beside those that run, given their keys.
    :param order: In which they start, where all may run.
    :param blocks: A number for each. Neighbours of one number may start in any order: who may not run
        yet holds up none of them.
    """

    def __init__(
        self,
        count: int,
        strategy: Strategy,
        ahead: int = 1,
        may_run: Callable[[int, Collection[int]], bool] = lambda key, running: True,
        order: Iterable[int] | None = None,
        blocks: Sequence[int] | None = None,
    ) -> None:
        self._count = count
        self._may_run = may_run
        self._strategy = strategy
        self._ahead = ahead
        self._unforked = collections.deque(range(count) if order is None else order)
        self._blocks = range(count) if blocks is None else blocks
        self._waiting: list[int] = []
        self._next_tell = 0
        self._running: set[int] = set()
        self._stages: dict[int, Stage] = {}

    @property
    def done(self) -> bool:
        """Whether every test has been told."""
        return self._next_tell == self._count

    @property
    def outstanding(self) -> list[int]:
        """The tests that have a child and have not been told, in order."""
        return sorted(self._stages)

    def is_started(self, key: int) -> bool:
        """Whether a test's gate is open and it has not finished."""
        return self._stages.get(key) is Stage.STARTED

    def to_fork(self) -> int | None:
        """Return the test to fork a child for now."""
        waiting = len(self._waiting)
        if self._unforked and (
            waiting < self._ahead
            or (waiting == self._ahead and self._strategy.should_spawn(len(self._running)))
        ):
            key = self._first_that_may_run(self._unforked)
            return self._unforked[0] if key is None else key
        return None

    def to_start(self) -> int | None:
        """Return the test whose gate may open now."""
        if self._strategy.should_spawn(len(self._running)):
            return self._first_that_may_run(self._waiting)
        return None

    def _first_that_may_run(self, keys: Sequence[int]) -> int | None:
        for key in itertools.islice(keys, WINDOW):
            if self._blocks[key] != self._blocks[keys[0]]:
                break
            if self._may_run(key, self._running):
                return key
        return None

    @property
    def next_to_tell(self) -> int:
        """The first test that has not been told."""
        return self._next_tell

    def to_tell(self) -> int | None:
        """Return the test to tell now: the next in order, once it has finished."""
        if self._stages.get(self._next_tell) is Stage.FINISHED:
            return self._next_tell
        return None

    def forked(self, key: int) -> None:
        """Note that a test has a child."""
        assert key not in self._stages
        self._unforked.remove(key)
        self._waiting.append(key)
        self._stages[key] = Stage.FORKED

    def started(self, key: int) -> None:
        """Note that a gate was opened."""
        assert self._stages.get(key) is Stage.FORKED
        self._waiting.remove(key)
        self._running.add(key)
        self._stages[key] = Stage.STARTED

    def finished(self, key: int) -> None:
        """Note that all of a test is known; one that never started counts as well."""
        stage = self._stages[key]
        if stage is Stage.STARTED:
            self._running.discard(key)
        elif stage is Stage.FORKED:
            self._waiting.remove(key)
        self._stages[key] = Stage.FINISHED

    def leaves(self, key: int) -> None:
        """Note that a test runs no more, though not all of it is known: another may start."""
        self._running.discard(key)

    def told(self, key: int) -> None:
        """Note that a test has been told."""
        assert key == self._next_tell
        self._next_tell += 1
        del self._stages[key]
