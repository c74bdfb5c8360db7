"""Units of isolation: the items that one child runs, one after the other (``--forked-scope``)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import pytest

from pytest_procrastinate.options import Settings
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.pytest_private import unit_node


@dataclasses.dataclass
class Unit:
    """Items of one unit, and how far it has come.

    :ivar rest: The items that are not known yet, the running one first.
    :ivar nextitem: The item after the unit.
    :ivar next_forked: The same, if the same fork server will fork it.
    :ivar known: Attempts of which all is known, and which have not been told.
    :ivar waits: Its child has died or stopped; the rest is forked when that has been told.
    """

    rest: list[tuple[pytest.Item, pytest.Item | None]]
    nextitem: pytest.Item | None
    next_forked: pytest.Item | None
    known: list[Attempt] = dataclasses.field(default_factory=list)
    waits: bool = False

    @property
    def item(self) -> pytest.Item:
        """The item that runs, or will run next."""
        return self.rest[0][0]

    @property
    def next_after(self) -> pytest.Item | None:
        """The test that the fork server forks after the running one, be it of the same unit."""
        return self.rest[1][0] if self.left > 1 else self.next_forked

    @property
    def left(self) -> int:
        """How many items are not known yet."""
        return len(self.rest)


TOLD = Unit([], None, None)
"""Stands for each unit that has been told: what is kept of a test does not grow with the run."""


def units_of(
    stretch: Sequence[tuple[pytest.Item, pytest.Item | None]],
    settings: Mapping[pytest.Item, Settings],
) -> list[Unit]:
    """Return the units of a stretch, in order: neighbours with one node, which one child may run.

    Its limits are set once, and so is what it may run beside.
    """

    def kind(pair: tuple[pytest.Item, pytest.Item | None]) -> object:
        asked = settings[pair[0]]
        limits = asked.memory_limit_bytes, asked.cpu_limit_seconds, asked.leaks
        return unit_node(pair[0], asked.scope), limits, asked.group, asked.exclusive

    units = []
    for _, group in itertools.groupby(stretch, key=kind):
        pairs = list(group)
        nextitem = pairs[-1][1]
        forked = nextitem is not None and settings[nextitem].forked
        units.append(Unit(pairs, nextitem, nextitem if forked else None))
    return units
