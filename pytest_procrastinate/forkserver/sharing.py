"""Which fixtures a fork server sets up for all its tests, and what a test still misses."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

import pytest

from pytest_procrastinate.options import SETTINGS
from pytest_procrastinate.pytest_private import (
    asks_as_it_runs,
    ends_with_inner_class,
    fixtures_of,
    has_failed,
    is_set_up,
    needs_set_up,
    scope_of,
    stack_of,
    with_all_asked_for,
)

SCOPES = ("session", "package", "module", "class", "function")
BROADER = {scope: SCOPES[:index] for index, scope in enumerate(SCOPES)}


class Sharing:
    """Decides for one server, by each item's settings."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._settings = session.config.stash[SETTINGS]
        self._declared: list[str] = session.config.getini("forked_shared_fixtures")
        self._fresh: set[Any] = set()

    def mode(self, item: pytest.Item) -> str:
        """Return an item's ``--forked-fixtures``."""
        return self._settings[item].fixtures

    def may_share(self, item: pytest.Item, definition: Any) -> bool:
        """Whether a fixture that an item needs is one that the server sets up."""
        return (
            scope_of(item, definition) in BROADER[self._settings[item].scope]
            and self.mode(item) != "fresh"
            and (definition not in self._fresh or self.mode(item) == "shared")
        )

    def must_check(self, item: pytest.Item, definition: Any) -> bool:
        """Whether what a fixture did to the process decides."""
        name = definition.argname
        return self.mode(item) == "auto" and not any(
            fnmatch.fnmatchcase(name, pattern) for pattern in self._declared
        )

    def set_up_fresh(self, definition: Any) -> None:
        """Leave a fixture to the children from now on."""
        self._fresh.add(definition)

    def fits(self, item: pytest.Item) -> bool:
        """Whether all that is set up here belongs to scopes that the item is in."""
        stack = stack_of(self._session)
        return stack == item.listchain()[: len(stack)]

    def is_complete(self, item: pytest.Item) -> bool:
        """Whether a child forked now would find set up all that can be shared.

        A wrong answer is harmless: then the child sets up what is missing, or the server begins a
        protocol for nothing.
        """
        if self.mode(item) == "fresh":
            return True
        stack = stack_of(self._session)
        missing = item.listchain()[len(stack) : -1]
        if any(needs_set_up(node) for node in missing):
            return False
        is_first_of_class = any(isinstance(node, pytest.Class) for node in missing)
        for _, definition, parameter in fixtures_of(item):
            if is_first_of_class and ends_with_inner_class(item, definition):
                return False
            if scope_of(item, definition) not in BROADER[self._settings[item].scope]:
                if definition.cached_result is not None and not is_set_up(definition, parameter):
                    return False  # set up here for others with another scope: it ends first
                continue
            if self.is_shared(item, definition):
                if not is_set_up(definition, parameter):
                    return False
                if has_failed(definition):
                    return True  # pytest sets up no more
        return True

    def is_shared(self, item: pytest.Item, definition: Any) -> bool:
        """Whether a fixture is set up here: it, and all that it asks for, may be shared."""
        return self.may_share(item, definition) and all(
            self.may_share(item, each) for each in with_all_asked_for(item, definition)
        )

    def missing_beside(self, item: pytest.Item) -> list[Any]:
        """Return which fixtures are still to be set up here where a fixture is not shared."""
        missing = []
        for _, definition, parameter in fixtures_of(item):
            if self.is_shared(item, definition):
                if not is_set_up(definition, parameter):
                    missing.append(definition)
                elif has_failed(definition):
                    break  # pytest sets up no more
        return missing

    def to_end_first(self, item: pytest.Item) -> list[Any]:
        """Return the fixtures that are set up for others, and that an item has with another scope."""
        return [
            definition
            for _, definition, parameter in fixtures_of(item)
            if scope_of(item, definition) not in BROADER[self._settings[item].scope]
            and definition.cached_result is not None
            and not is_set_up(definition, parameter)
        ]

    def changes(self, item: pytest.Item) -> bool:
        """Whether an item needs a fixture that is set up with another parameter."""
        return any(
            definition.cached_result is not None
            and self.is_shared(item, definition)
            and not is_set_up(definition, parameter)
            for _, definition, parameter in fixtures_of(item)
        )

    def has_all_broader(self, items: Iterable[pytest.Item], node: Any, scope: str) -> bool:
        """Whether the tests of a scope find all set up that is broader than it, and leave it so.

        Not if a fixture may ask for something broader as it runs, nor if what is set up has to end first,
        as it is asked for with another parameter: what a fixture overrides has the parameter, and the
        scope, of that fixture.

        :param items: From the first of its tests on.
        """
        broader = BROADER[scope]
        for item in items:
            if node not in item.listchain():
                return True
            for _, definition, parameter in fixtures_of(item):
                if scope == "class" and ends_with_inner_class(item, definition):
                    return False
                if is_set_up(definition, parameter):
                    continue
                if definition.cached_result is not None:
                    return False
                if (
                    scope_of(item, definition) in broader or asks_as_it_runs(definition)
                ) and self.is_shared(item, definition):
                    return False
        return True
