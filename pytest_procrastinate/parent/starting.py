"""Which tests may start, in which order; where several run at once, the long ones early.

Only where nobody sees it: a test changes places with others that need the same of what is shared, and
never with the one that sets that up first, or with the one that it is torn down after.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Collection, Mapping, Sequence

import pytest

from pytest_procrastinate.options import RUN_SETTINGS, Settings, first_slot
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.slots import Slots
from pytest_procrastinate.parent.units import Unit
from pytest_procrastinate.pytest_private import (
    fixtures_of,
    needs_set_up,
    parameter_index,
    scope_of,
)
from pytest_procrastinate.scheduler import WINDOW, Scheduler
from pytest_procrastinate.strategy import Throttled

LONG_SECONDS = 1.0
CACHE_KEY = "forked/durations"


class Starting:
    """Has tests start: as many as there are jobs, each with numbers that no other has."""

    def __init__(self, config: pytest.Config, settings: Mapping[pytest.Item, Settings]) -> None:
        run_settings = config.stash[RUN_SETTINGS]
        self._settings = settings
        self._jobs = run_settings.jobs
        self._slots = Slots(run_settings.groups, first_slot(config))
        self._durations = Durations(config) if self._jobs > 1 else None

    def scheduler(self, units: Sequence[Unit]) -> Scheduler:
        """Return what decides over units; their places are their keys."""
        settings = self._settings

        def may_run(key: int, running: Collection[int]) -> bool:
            others = [settings[units[each].item] for each in running]
            return self._slots.may_run(settings[units[key].item], others)

        order = blocks = None
        if self._durations or (
            self._jobs > 1 and any(settings[unit.item].group is not None for unit in units)
        ):
            blocks = blocks_of(units, settings)
        if self._durations and blocks is not None:
            order = starting_order(blocks, [self._durations.of(unit.item) for unit in units])
        return Scheduler(len(units), Throttled(self._jobs), self._jobs, may_run, order, blocks)

    def started(self, attempt: Attempt) -> None:
        """Give a test that starts its numbers."""
        attempt.slot = self._slots.take(attempt.settings)
        if self._durations is not None:
            self._durations.started(attempt.item)

    def left(self, attempt: Attempt) -> None:
        """Take the numbers of a test back, if it has any."""
        if attempt.slot is not None:
            self._slots.give_back(attempt.settings, attempt.slot)
            attempt.slot = None

    def known(self, attempt: Attempt) -> None:
        """Note that all is known of a test."""
        if self._durations is not None:
            self._durations.ended(attempt.item)

    def end(self) -> None:
        """Keep for the next run what was noted in this one."""
        if self._durations is not None:
            self._durations.save()


class Durations:
    """How long tests took that are long, in this run and, by pytest's cache, in those before."""

    def __init__(self, config: pytest.Config) -> None:
        self._cache = getattr(config, "cache", None)  # not with -p no:cacheprovider
        found = {} if self._cache is None else self._cache.get(CACHE_KEY, {})
        self._known: dict[str, float] = {
            str(nodeid): float(seconds)
            for nodeid, seconds in (found.items() if isinstance(found, dict) else ())
            if isinstance(seconds, (int, float))
        }
        self._found = dict(self._known)
        self._started: dict[pytest.Item, float] = {}

    def started(self, item: pytest.Item) -> None:
        """Note that a test starts."""
        self._started[item] = time.monotonic()

    def ended(self, item: pytest.Item) -> None:
        """Note that a test has ended, once; one that never started has taken no time."""
        if (started := self._started.pop(item, None)) is None:
            return
        seconds = time.monotonic() - started
        if seconds >= LONG_SECONDS:
            self._known[item.nodeid] = round(seconds, 1)
        else:
            self._known.pop(item.nodeid, None)

    def of(self, item: pytest.Item) -> float:
        """Return how many seconds a test took, as far as that is known; 0 for one that is not long."""
        return self._known.get(item.nodeid, 0.0)

    def __bool__(self) -> bool:
        return bool(self._known)

    def save(self) -> None:
        """Keep what was noted for the next run."""
        if self._cache is not None and self._known != self._found:
            with warnings.catch_warnings():
                # Of a folder that cannot be written pytest tells itself.
                warnings.simplefilter("ignore")
                self._cache.set(CACHE_KEY, self._known)


def blocks_of(units: Sequence[Unit], settings: Mapping[pytest.Item, Settings]) -> list[int]:
    """Return a number for each unit: neighbours of one number may start in any order."""
    numbers: list[int] = []
    count = itertools.count()
    for _, group in itertools.groupby(units, key=lambda unit: _kind(unit, settings)):
        size = len(list(group))
        numbers += [next(count), *[next(count)] * (size - 2), *[next(count)] * (size > 1)]
    return numbers


def starting_order(blocks: Sequence[int], seconds: Sequence[float]) -> list[int]:
    """Return the keys of units in the order in which they start, the long ones first in each block."""
    order: list[int] = []
    for _, group in itertools.groupby(range(len(blocks)), key=blocks.__getitem__):
        keys = list(group)
        for start in range(0, len(keys), WINDOW):
            order += sorted(keys[start : start + WINDOW], key=lambda key: -seconds[key])
    return order


def _kind(unit: Unit, settings: Mapping[pytest.Item, Settings]) -> object:
    """Return what is equal for tests that change places."""
    item = unit.item
    if unit.left > 1 or settings[item].exclusive:
        return object()
    shared = {
        (definition, parameter_index(item, definition), scope_of(item, definition))
        for _, definition, _ in fixtures_of(item)
        if scope_of(item, definition) != "function"
    }
    within = any(scope != "session" for _, _, scope in shared)
    within = within or any(needs_set_up(node) for node in item.listchain()[:-1])
    return frozenset(shared), settings[item].fixtures, item.parent if within else None
