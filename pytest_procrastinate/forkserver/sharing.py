"""Which fixtures a fork server sets up for all its tests, and what a test still misses."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_procrastinate.pytest_private import (
    fixtures_of,
    is_set_up,
    needs_set_up,
    stack_of,
)


class Sharing:
    """Decides for one server. ``fresh``: nothing is shared, each child sets up all it needs.

    :param mode: ``--forked-fixtures``.
    """

    def __init__(self, session: pytest.Session, mode: str) -> None:
        self._session = session
        self._mode = mode
        self.unsafe: dict[Any, str] = {}
        """Fixtures that do not survive a fork, each with the reason."""

    def may_share(self, definition: Any) -> bool:
        """Whether a fixture is one that the server sets up."""
        return (
            self._mode != "fresh"
            and definition.scope != "function"
            and definition not in self.unsafe
        )

    def fits(self, item: pytest.Item) -> bool:
        """Whether all that is set up here belongs to scopes that the item is in."""
        stack = stack_of(self._session)
        return stack == item.listchain()[: len(stack)]

    def is_complete(self, item: pytest.Item) -> bool:
        """Whether a child forked now would find set up all that can be shared.

        A wrong answer is harmless: then the child sets up what is missing, or the server begins a
        protocol for nothing.
        """
        if self._mode == "fresh":
            return True
        stack = stack_of(self._session)
        if any(needs_set_up(node) for node in item.listchain()[len(stack) : -1]):
            return False
        for _, definition, parameter in fixtures_of(item):
            if definition.scope == "function":
                continue
            if not self.may_share(definition):
                return True
            if not is_set_up(definition, parameter):
                return False
        return True
