"""What a child is to run: programs made from orders, with the files that came along."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.run import ChildProgram, Prepared
from pytest_procrastinate.forkserver.sharing import Sharing
from pytest_procrastinate.process.cleanup import runs_of
from pytest_procrastinate.process.remote import Order
from pytest_procrastinate.process.unpatched import os

LOCATED_AT_ONCE = 200  # items; more at a time would hold up the first test


class Programs:
    """Makes programs, and keeps the files of children by the numbers that their owner gave them.

    :param items: All items of the session, known to both sides by their index.
    """

    def __init__(self, prepared: Prepared, items: Sequence[pytest.Item], sharing: Sharing) -> None:
        self.idle_files = ChildFiles.make()
        """What the server itself writes into while it works for no test."""
        self.files: dict[int, ChildFiles] = {}
        self._prepared = prepared
        self._items = items
        self._sharing = sharing
        self._located = 0
        self._others: dict[int, tuple[tuple[int, int], ...]] = {}

    def of_order(self, order: Order) -> ChildProgram:
        """Return the program of an order to fork; of its first item, where there are several.

        :raises ValueError: It is no such order.
        """
        match order.message:
            case (int(index), int(count), next_index, int(number), bool(scopes_end)) if count > 0:
                if index >= self._located:
                    self._locate(index)
                if len(order.descriptors) > 1:
                    if number in self.files:
                        self.files[number].close()
                    self.files[number] = ChildFiles.received(order.descriptors[1:])
                    self._others.clear()
                nextitem = self.item(next_index)
                following: ChildProgram | None = None
                for turn in range(count, 0, -1):
                    at = index + turn - 1
                    following = self._make(at, nextitem, number, scopes_end, turn, following)
                    nextitem = following.item
                assert following is not None
                return following
        raise ValueError(f"not an order: {order.message!r}")

    def renew_idle_files(self, files: ChildFiles) -> None:
        """Have other idle files, in a server that was forked from this one."""
        self.idle_files.close()
        self.idle_files = files
        self._others.clear()

    def close_others(self, number: int) -> None:
        """Close, in the child that has the files of this number, all the others; pages stay mapped."""
        for low, high in self._others[number]:
            os.closerange(low, high)

    def note_others(self, number: int) -> None:
        """Find out, before the fork, what :meth:`close_others` closes."""
        if number not in self._others:
            every = [self.idle_files, *self.files.values()]
            others = [files.descriptors for files in every if files is not self.files[number]]
            self._others[number] = runs_of(itertools.chain(*others))

    def of_leaving(self, index: int, next_index: object, number: int) -> ChildProgram:
        """Return the program of an item whose scopes are to be left."""
        return ChildProgram(
            prepared=self._prepared,
            item=self._items[index],
            position=index,
            nextitem=self.item(next_index),
            files=self.files[number],
            number=number,
        )

    def item(self, index: object) -> pytest.Item | None:
        """Return an item by its index, None for none."""
        return self._items[index] if isinstance(index, int) else None

    def in_a_row(self, node: object, index: int) -> range:
        """Return the indexes of the tests of a scope around this one, as far as no other comes between."""
        first, end = index, index + 1
        while first > 0 and node in self._items[first - 1].listchain():
            first -= 1
        while end < len(self._items) and node in self._items[end].listchain():
            end += 1
        return range(first, end)

    def _make(
        self,
        index: int,
        nextitem: pytest.Item | None,
        number: int,
        scopes_end: bool,
        turn: int,
        following: ChildProgram | None,
    ) -> ChildProgram:
        item = self._items[index]
        return ChildProgram(
            prepared=self._prepared,
            item=item,
            position=index,
            nextitem=nextitem,
            files=self.files[number],
            number=number,
            scopes_end=scopes_end,
            fresh=self._sharing.mode(item) == "fresh",
            turn=turn,
            following=following,
        )

    def _locate(self, start: int) -> None:
        """Have the next items find out where they are defined, which they keep.

        Each child would have to find it out again, and copy many pages to do so.
        """
        self._located = start + LOCATED_AT_ONCE
        for item in self._items[start : self._located]:
            with contextlib.suppress(Exception):  # the item's own protocol will meet it again
                item.location  # noqa: B018
