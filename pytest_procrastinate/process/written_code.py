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

COPIES = 3  # the first fill the gaps that freed objects have left, the last lie together


class WrittenCode:
    """Some code objects, and which of them are written to.

    Made in a fork server, whose children :meth:`note` what they have written to.

    :raises OSError: No memory was left.
    """

    def __init__(self, codes: Iterable[types.CodeType]) -> None:
        self._codes = list(codes)
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
        copies: dict[int, types.CodeType] = {}
        for _ in range(COPIES):
            copies = _copy(self._codes, written)
        for function in gc.get_objects():
            if type(function) is types.FunctionType and id(function.__code__) in copies:
                function.__code__ = copies[id(function.__code__)]
        return list(copies.values())


def can_move_code() -> bool:
    """Whether this Python has code that is written to, and can say who looks at it."""
    return hasattr(types.CodeType, "_co_code_adaptive") and hasattr(sys, "monitoring")


def _hash_of(code: types.CodeType) -> int:
    adaptive: bytes = code._co_code_adaptive  # type: ignore[attr-defined]  # CPython's
    return hash(adaptive)


def _copy(codes: list[types.CodeType], written: set[int]) -> dict[int, types.CodeType]:
    """Return copies, by the id of the original, of what is written to and of what it is nested in."""
    copies: dict[int, types.CodeType] = {}

    def copy(code: types.CodeType) -> types.CodeType:
        consts = tuple(
            copy(each) if isinstance(each, types.CodeType) else each for each in code.co_consts
        )
        is_nested_in = any(new is not old for new, old in zip(consts, code.co_consts, strict=True))
        if id(code) not in copies and (id(code) in written or is_nested_in):
            copies[id(code)] = code.replace(co_consts=consts)
        return copies.get(id(code), code)

    for code in codes:
        copy(code)
    return copies
