"""Places for tests that run at once: each running test has a number, and one in its group."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

from pytest_procrastinate.options import Settings


class Slots:
    """Gives each test the lowest number that no running test has; knows what may run beside what.

    :param limits: How many of a group may run at once, where that is not one.
    :param first: The lowest number: workers of xdist have numbers of their own.
    """

    def __init__(self, limits: Mapping[str, int], first: int = 0) -> None:
        self._limits = limits
        self._first = first
        self._free: dict[str | None, list[int]] = {}
        self._taken: dict[str | None, int] = {}

    def may_run(self, settings: Settings, running: Collection[Settings]) -> bool:
        """Whether a test may run beside those that run."""
        if settings.exclusive:
            return not running
        if any(each.exclusive for each in running):
            return False
        if settings.group is None:
            return True
        limit = self._limits.get(settings.group, 1)
        return sum(each.group == settings.group for each in running) < limit

    def take(self, settings: Settings) -> tuple[int, int]:
        """Return the numbers of a test that starts: among all, and in its group (else 0)."""
        slot = self._first + self._lowest(None)
        return slot, 0 if settings.group is None else self._lowest(settings.group)

    def give_back(self, settings: Settings, slot: tuple[int, int]) -> None:
        """Free the numbers of a test that has ended."""
        heapq.heappush(self._free[None], slot[0] - self._first)
        if settings.group is not None:
            heapq.heappush(self._free[settings.group], slot[1])

    def _lowest(self, group: str | None) -> int:
        free = self._free.setdefault(group, [])
        if free:
            return heapq.heappop(free)
        number = self._taken.get(group, 0)
        self._taken[group] = number + 1
        return number
