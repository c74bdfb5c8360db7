"""Make a suite smaller as long as it still differs in the same way."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from .model import Suite

Edit = Callable[[Suite], None]


def shrink(suite: Suite, still_differs: Callable[[Suite], bool]) -> Suite:
    """Return a suite of which nothing can be left out any more; the largest parts go first."""
    shrunk = True
    while shrunk:
        shrunk = False
        position = 0
        while True:
            edits = list(_edits(suite))
            if position >= len(edits):
                break
            smaller = copy.deepcopy(suite)
            _apply(smaller, edits[position])
            if still_differs(smaller):
                suite = smaller
                shrunk = True
            else:
                position += 1
    return suite


Step = tuple[tuple[Any, ...], slice | str, Any]
"""The way to an object, the field or what of a list to remove, and what to put there."""


def _edits(suite: Suite) -> Iterator[Step]:
    """Give each possible edit, broad ones first."""
    places: list[tuple[tuple[Any, ...], Any]] = [((), suite)]
    while places:
        way, place = places.pop(0)
        for field in dataclasses.fields(place):
            value = getattr(place, field.name)
            here = (*way, field.name)
            if isinstance(value, list):
                half = len(value) // 2
                if half > 1:
                    yield here, slice(None, half), None
                    yield here, slice(half, None), None
                for index, element in enumerate(value):
                    yield here, slice(index, index + 1), None
                    if dataclasses.is_dataclass(element):
                        places.append(((*here, index), element))
            elif dataclasses.is_dataclass(value):
                places.append((here, value))
            elif field.default is not dataclasses.MISSING and value != field.default:
                yield way, field.name, field.default


def _apply(suite: Suite, step: Step) -> None:
    way, last, value = step
    place: Any = suite
    for each in way:
        place = place[each] if isinstance(each, int) else getattr(place, each)
    if isinstance(last, slice):
        del place[last]
    else:
        setattr(place, last, value)
