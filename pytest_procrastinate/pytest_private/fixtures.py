"""The fixtures an item asks for, and whether they are set up."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from types import CodeType
from typing import Any

import pytest
from _pytest.doctest import DoctestItem
from _pytest.fixtures import FixtureDef, FixtureManager

from pytest_procrastinate.pytest_private.hooks import OUTCOMES

NO_PARAMETER = object()
TAKES_NODEID = "nodeid" in FixtureManager.getfixturedefs.__code__.co_varnames  # 8.0
COMPARES_BY_IDENTITY = "cache_hit" not in FixtureDef.execute.__code__.co_varnames  # up to 8.2


def forget_result(definition: Any) -> None:
    """Make a fixture one that has not been set up (``cached_result``, ``_finalizers``)."""
    definition.cached_result = None
    definition._finalizers.clear()


def fixtures_of(item: pytest.Item) -> Iterator[tuple[str, Any, Any]]:
    """Give name, definition and parameter of each fixture an item asks for, broad ones first.

    ``item._fixtureinfo``: what is asked for while the test runs is not in it. The parameter is
    :data:`NO_PARAMETER` where there is none. What overrides a fixture, and asks for it, comes
    right after it, under the same name. What pytest asks for itself comes late, and last what is
    asked for only by what is overridden: the own list of pytest 8 lacks it.
    """
    if not hasattr(item, "_fixtureinfo"):
        return
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    names = getattr(item, "fixturenames", ())
    asked_by_pytest = ("doctest_namespace",) if isinstance(item, DoctestItem) else ()
    todo = list(dict.fromkeys((*names, *asked_by_pytest)))
    known = set(todo)
    for name in todo:
        for definition in _used(item, _visible(item, name)):
            yield name, definition, parameters.get(name, NO_PARAMETER)
            hidden = [each for each in definition.argnames if each not in known]
            known.update(hidden)
            todo += hidden


def _visible(item: Any, name: str) -> Sequence[Any]:
    """Return the fixtures of a name that an item sees, the last of which it would be given."""
    definitions = item._fixtureinfo.name2fixturedefs.get(name)
    if definitions is None and name != "request":
        node = item.nodeid if TAKES_NODEID else item
        definitions = item.session._fixturemanager.getfixturedefs(name, node)
    return definitions or ()


def _used(item: pytest.Item, definitions: Sequence[Any]) -> Sequence[Any]:
    """Return which definitions of a name are used: the last, and what it overrides and asks for."""
    if len(definitions) < 2:
        return definitions
    asked = with_all_asked_for(item, definitions[-1])
    return [each for each in definitions if each in asked]


def with_all_asked_for(item: pytest.Item, definition: Any) -> Collection[Any]:
    """Return a fixture and all that it asks for by its arguments, itself or through others.

    In pytest's order: each comes after what it asks for. Where a fixture that asks overrides others,
    its name stands for what it overrides (``FixtureRequest._get_active_fixturedef``).
    """
    found: dict[Any, None] = {}
    seen: set[tuple[Any, frozenset[tuple[str, Any]]]] = set()

    def visit(asking: Any, overriding: dict[str, Any]) -> None:
        if len(_visible(item, asking.argname)) > 1:
            overriding = {**overriding, asking.argname: asking}
        state = asking, frozenset(overriding.items())
        if state in seen:
            return
        seen.add(state)
        for name in asking.argnames:
            definitions = list(_visible(item, name))
            if name in overriding:
                known = overriding[name] in definitions
                definitions = definitions[: definitions.index(overriding[name])] if known else []
            if definitions:
                visit(definitions[-1], overriding)
        found[asking] = None

    visit(definition, {})
    return found


def asks_as_it_runs(definition: Any) -> bool:
    """Whether a fixture seems to ask for others while it runs (``getfixturevalue``): for any at all."""
    functions = [definition.func]
    while (inner := getattr(functions[-1], "__wrapped__", None)) is not None:
        functions.append(inner)
    codes = [code for each in functions if (code := getattr(each, "__code__", None)) is not None]
    for code in codes:  # grows: with the functions that are made in it
        if "getfixturevalue" in code.co_names:
            return True
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    return False


def set_up_now(item: pytest.Item, definition: Any) -> None:
    """Set up a fixture of an item ahead of its turn; a failure is met again at its turn.

    By a request of its own (``TopRequest``), to which nothing overrides that fixture: what does, and
    asks for it, is set up at its turn.
    """
    name = definition.argname
    request = type(item._request)(item, _ispytest=True)  # type: ignore[attr-defined]
    definitions = list(_visible(item, name))
    visible = definitions[: definitions.index(definition) + 1]
    request._arg2fixturedefs = {**request._arg2fixturedefs, name: visible}
    try:
        request.getfixturevalue(name)
    except pytest.exit.Exception:
        raise
    except OUTCOMES:
        pass


def scope_of(item: pytest.Item, definition: Any) -> str:
    """Return the scope of a fixture for an item: ``parametrize(scope=...)`` may say another one.

    ``callspec._arg2scope``. That of a class, for a test outside of one, is the test.
    """
    scopes = getattr(getattr(item, "callspec", None), "_arg2scope", {})
    scope = scopes.get(definition.argname)
    name = str(definition.scope if scope is None else scope.value)
    return "function" if name == "class" and item.getparent(pytest.Class) is None else name


def needs_fixture(item: pytest.Item, name: str, nodeid: str, index: str) -> bool:
    """Whether an item asks for the fixture of this name, node and parameter."""
    return any(
        each == name and str(parameter_index(item, definition)) == index
        for each, definition, _ in fixtures_of(item)
    ) and any(node.nodeid == nodeid for node in item.listchain())


def is_set_up(definition: Any, parameter: object) -> bool:
    """Whether a fixture is set up, with this parameter.

    ``FixtureDef.cached_result`` and ``cache_key``; up to 8.2 compared by ``is``, from 8.3 by
    ``==``, with which a value may differ from itself (``nan``).
    """
    result = definition.cached_result
    if result is None:
        return False
    key = definition.cache_key(_Asked(parameter))
    if not COMPARES_BY_IDENTITY:
        with contextlib.suppress(ValueError, RuntimeError):
            return bool(key == result[1])
    return bool(key is result[1])


def has_failed(definition: Any) -> bool:
    """Whether a fixture's set-up has failed: it fails again for each test (``cached_result``)."""
    return definition.cached_result is not None and definition.cached_result[2] is not None


class _Asked:
    """As much of a request as ``FixtureDef.cache_key`` looks at."""

    param_index = 0

    def __init__(self, parameter: object) -> None:
        if parameter is not NO_PARAMETER:
            self.param = parameter


def parameter_index(item: pytest.Item, definition: Any) -> int:
    """Return which of its parameters a fixture is set up with for an item, 0 for none."""
    indices = getattr(getattr(item, "callspec", None), "indices", {})
    return int(indices.get(definition.argname, 0))


def _fixture_definitions(session: pytest.Session) -> Iterator[Any]:
    """``FixtureManager._arg2fixturedefs``; by node as well from 9.2."""
    manager: Any = session._fixturemanager
    by_name = getattr(manager, "_arg2fixturedefs", None)
    if by_name is not None:
        for definitions in by_name.values():
            yield from definitions
    else:
        for by_node in manager._arg2node2fixturedefs.values():
            for definitions in by_node.values():
                yield from definitions


def unit_node(item: pytest.Item, scope: str) -> Any:
    """Return the node whose tests share a child with ``item``: the item itself where there is none."""
    if scope == "session":
        return item.session
    kinds: dict[str, tuple[type, ...]] = {
        "class": (pytest.Class,),
        "module": (pytest.File,),
        "package": (pytest.Package, pytest.Directory),
    }
    # The outermost class, the innermost folder: as fixtures of that scope have it.
    chain = item.listchain() if scope == "class" else reversed(item.listchain())
    return next((node for node in chain if isinstance(node, kinds.get(scope, ()))), item)
