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
    is_folder = isinstance(place, Folder)
    inner: Iterable[Folder | Module | Class] = (
        itertools.chain(place.modules, place.folders) if is_folder else place.classes  # type: ignore[union-attr]
    )
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
    return "ExceptionGroup" in one["longrepr"] and JOINED in other["longrepr"]


def changes_scope(fixture: Fixture, parametrize_scope: str) -> bool:
    """Whether ``parametrize(..., indirect=True, scope=...)`` gives a fixture another scope.

    Plain pytest sets it up in its place among those of its own scope, a forked run among those of
    the new one, with which it is torn down. Such suites are not drawn.
    """
    return parametrize_scope not in ("", fixture.scope)


def without_direct_parameters(output: list[str]) -> list[str]:
    """Return what is printed without ``--setup-show``'s lines for the arguments of ``parametrize``.

    Where these have a broader scope, they are shown in pytest's place or ahead, as
    :func:`changes_scope` has it. Nothing is set up for them.
    """
    return [line for line in output if not re.match(r" *(SETUP|TEARDOWN) +[SPMC] arg\d+\[", line)]


def without_namespace_of_doctests(output: list[str]) -> list[str]:
    """Return what is printed without ``--setup-show``'s line for the set-up of ``doctest_namespace``.

    Pytest asks for it after a doctest's autouse fixtures; it is shared, so it is set up before them.
    """
    return [line for line in output if not line.startswith("SETUP    S doctest_namespace")]


def told_as_the_run_ends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the warnings of no item last.

    Where ``pytest.exit`` or an interrupt ends the run, the test's child tears its scopes down before
    it ends; plain pytest does so after it has told of the interrupt.
    """
    return sorted(rows, key=lambda row: row["kind"] == "warning" and row.get("when") == "config")


INNER_FRAME = r"(/_pytest/|/pluggy/)\w+\.py(:\d+:|\", line \d+)"


def shows_inner_frames(longrepr: str) -> bool:
    """Whether a plain run's traceback goes through pytest's own frames.

    It shows them where no frame is the user's, where none is cut off (custom items), or all of them
    (``--tb=native``). In a forked run ours would be among them: only the error's own lines are
    compared then.
    """
    return re.search(INNER_FRAME, longrepr) is not None


def error_lines(longrepr: str) -> str:
    """Return a traceback without its frames."""
    lines = longrepr.splitlines()
    return "\n".join([line for line in lines if line.startswith("E  ")] or lines[-1:])


def is_hook_of_teardown(words: str) -> bool:
    """Whether an event is that of a user's ``pytest_runtest_makereport`` for a teardown.

    It sees the test's own teardown, in the test's child; that of the scopes that end with it comes
    after, in the fork server, and its sections after those that the hook has added.
    """
    return words.startswith("makereport ") and words.endswith(" teardown")


def without_letters(sections: list[list[str]]) -> list[list[str]]:
    """Return the sections of a test with subtests, without what it printed in its call.

    As a unittest subtest fails, pytest writes its letter to the terminal: plainly, that is into the
    capture of the test that runs. In a forked run it is the pytest process that writes it.
    """
    return [each for each in sections if each[0] != "Captured stdout call"]


def writes_past_capture(options: list[str]) -> bool:
    """Whether what tests write to descriptors themselves goes to the terminal at once.

    With ``--capture=sys`` pytest does not know of it, nor do we: it appears when it is written, and
    not between what is told of the test and of its neighbours.
    """
    return "--capture=sys" in options
