"""What is documented to differ from a plain run, each with its reason. Nothing else may."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .model import Class, Fixture, Folder, Module

JOINED = "Teardown of its scopes"


def narrow_names(root: Folder) -> set[str]:
    """Return the fixtures that a test, or a fixture of its own, may ask for as it runs.

    A broader fixture that is reached by ``getfixturevalue`` only, inside a test's child, lives and
    ends in that child: the fork server cannot know of it. So these are fixtures that are function
    scoped and ask for nothing, wherever they are overridden.
    """
    every = list(_all_fixtures(root))
    broader = {f.name for f in every if f.scope != "function" or f.needs or f.asks_for or f.params}
    return {fixture.name for fixture in every} - broader


def _all_fixtures(place: Folder | Module | Class) -> Iterator[Fixture]:
    yield from place.fixtures
    inner: Iterable[Folder | Module | Class] = []
    if isinstance(place, Folder):
        inner = itertools.chain(place.modules, place.folders)
    else:
        inner = place.classes
    for each in inner:
        yield from _all_fixtures(each)


def joined_teardown(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two reports tell the same errors of a teardown, in other words.

    A test's own teardown fails in its child, that of its scopes in the fork server: where both do,
    their tracebacks are joined as texts, where plain pytest makes an exception group. A finalizer
    that a test's body adds to a broader node is not drawn at all: it runs in the child.
    """
    if one.get("when") != "teardown" or one["outcome"] != "failed" != other["outcome"]:
        return False
    return "ExceptionGroup" in one["longrepr"] and any(
        name == JOINED for name, _ in other["sections"]
    )


def shows_inner_frames(longrepr: str) -> bool:
    """Whether a plain run's traceback goes through pytest's own frames.

    It shows them where no frame is the user's, or where none is cut off (custom items). In a forked
    run ours would be among them: then only the lines of the error are compared.
    """
    return re.search(r"(/_pytest/|/pluggy/)\w+\.py:\d+:", longrepr) is not None


def error_lines(longrepr: str) -> str:
    """Return a traceback without its frames."""
    return "\n".join(line for line in longrepr.splitlines() if line.startswith("E  "))
