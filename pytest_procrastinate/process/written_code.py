"""Code that children write to, moved together: each child copies fewer pages.

CPython (3.11 on) notes inside a code object what its instructions have met. A child that runs three
hundred functions of pytest writes some bytes to three hundred pages, and the kernel copies each: where
a code object lies, between objects of other kinds, was decided as its module was imported. Copies that
are made one after the other lie side by side, ten on a page.
"""

from __future__ import annotations

import gc
import mmap
import sys
import types
from collections.abc import Iterable
from typing import Any

MOST_COPIES = 20  # the first fill the gaps that freed objects have left, the last lie together
SPREAD = 1.75  # times the pages that they would fill: near enough


class WrittenCode:
    """The code objects of some definitions, and which of them are written to.

    Made in a fork server, whose children :meth:`note` what they have written to.

    :param definitions: Code objects, those nested in them, functions; others do not matter.
    :raises OSError: No memory was left.
    """

    def __init__(self, definitions: Iterable[object]) -> None:
        found = list(definitions)
        self._codes = [each for each in found if isinstance(each, types.CodeType)]
        # gc.get_objects() does not return them once they are immortal.
        self._functions = [each for each in found if isinstance(each, types.FunctionType)]
        self._hashes = [_hash_of(code) for code in self._codes]
        self._written = mmap.mmap(-1, len(self._codes) + 1)  # a byte each, shared with children

    def note(self) -> None:
        """Note what this process has written to."""
        for index, code in enumerate(self._codes):
            if _hash_of(code) != self._hashes[index]:
                self._written[index] = 1

    def move_together(self) -> list[types.CodeType]:
        """Have this process's functions use copies of what was noted; return these.

        Nothing is moved while a tool of :mod:`sys.monitoring` is at work, which knows code objects by
        their identity.
        """
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # from 3.12 on
        if any(monitoring.get_tool(tool) is not None for tool in range(6)):
            return []
        written = {
            id(code) for code, mark in zip(self._codes, self._written[:], strict=False) if mark
        }
        moved = _with_what_they_are_in(written, self._codes)
        tries = [_copy(moved)]
        while len(tries) < MOST_COPIES and _spread(tries[-1].values()) > SPREAD:
            tries.append(_copy(moved))
        copies = min(tries, key=lambda each: _spread(each.values()))
        for function in (*self._functions, *gc.get_objects()):
            if type(function) is types.FunctionType and id(function.__code__) in copies:
                function.__code__ = copies[id(function.__code__)]
        return list(copies.values())


def can_move_code() -> bool:
    """Whether this Python has code that is written to, and can say who looks at it."""
    return hasattr(types.CodeType, "_co_code_adaptive") and hasattr(sys, "monitoring")


def _hash_of(code: types.CodeType) -> int:
    adaptive: bytes = code._co_code_adaptive  # type: ignore[attr-defined]  # CPython's
    return hash(adaptive)


def _with_what_they_are_in(written: set[int], codes: list[types.CodeType]) -> list[types.CodeType]:
    """Return the written ones and those in which one is nested, that before what it is nested in."""
    moved: dict[int, types.CodeType] = {}

    def is_moved(code: types.CodeType) -> bool:
        nested = [is_moved(each) for each in code.co_consts if isinstance(each, types.CodeType)]
        if any(nested) or id(code) in written:
            moved.setdefault(id(code), code)
        return id(code) in moved

    for code in codes:
        is_moved(code)
    return list(moved.values())


def _copy(codes: list[types.CodeType]) -> dict[int, types.CodeType]:
    """Return copies, by the id of the original."""
    copies: dict[int, types.CodeType] = {}
    for code in codes:
        consts = tuple(copies.get(id(each), each) for each in code.co_consts)
        copies[id(code)] = code.replace(co_consts=consts)
    return copies


def _spread(codes: Iterable[types.CodeType]) -> float:
    """Return on how many times the pages that they would fill they lie."""
    total, pages = 1, set[int]()
    for code in codes:
        size = sys.getsizeof(code)
        total += size
        pages.update(range(id(code) // mmap.PAGESIZE, (id(code) + size - 1) // mmap.PAGESIZE + 1))
    return len(pages) * mmap.PAGESIZE / total
