"""Options, ini values and marks, turned into one frozen :class:`Settings` per item."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import pytest

from pytest_procrastinate.pytest_private import condition_holds

MARK_KEYWORDS = ("condition", "reason", "fixtures")
FIXTURES = ("auto", "shared", "fresh")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What was asked for one item."""

    forked: bool = False
    fixtures: str = "auto"


def add_options(parser: pytest.Parser) -> None:
    """Declare what nobody else declares."""
    group = parser.getgroup("forked", "forked subprocess test execution")
    group.addoption(
        "--no-forked",
        action="store_true",
        dest="no_forked",
        default=False,
        help="run no test in a child, whatever --forked, the ini and marks say",
    )
    group.addoption(
        "--forked-fixtures",
        dest="forked_fixtures",
        metavar="auto|shared|fresh",
        help="fixtures of a broader scope: shared copy-on-write, set up fresh in each child, or "
        "(auto, the default) shared where that is safe",
    )
    parser.addini("forked_fixtures", "as --forked-fixtures", default="auto")
    parser.addini(
        "forked_shared_fixtures",
        "names or globs of fixtures that auto shares although they open files, sockets or processes",
        type="args",
        default=[],
    )
    parser.addini(
        "forked",
        "run each test in its own forked child, as --forked does",
        type="bool",
        default=False,
    )


def add_forked_option(parser: pytest.Parser) -> None:
    """Declare ``--forked``, unless pytest-forked did: then its option serves us."""
    try:
        parser.getgroup("forked", "forked subprocess test execution").addoption(
            "--forked",
            action="store_true",
            dest="forked",
            default=False,
            help="run each test in its own forked child",
        )
    except ValueError:  # "option names {'--forked'} already added"
        pass


def add_markers(config: pytest.Config) -> None:
    """Declare the marks, for ``--markers`` and ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        "forked(condition=True, *, reason=None): run the test in its own forked child; "
        "forked(False): run it in the pytest process, even with --forked",
    )


def settings_of(item: pytest.Item) -> Settings:
    """Return what was asked for an item: its own mark first, then the options, then the ini.

    :raises pytest.UsageError: A mark is used wrongly; names the item and the fix.
    """
    config = item.config
    mark = item.get_closest_marker("forked")
    marked = None if mark is None else _condition(item, mark)
    if config.getoption("no_forked", False):
        return Settings()
    if marked is None:
        marked = bool(config.getoption("forked", False) or config.getini("forked"))
    fixtures = fixtures_mode(config)
    if mark is not None and "fixtures" in mark.kwargs:
        fixtures = one_of(FIXTURES, mark.kwargs["fixtures"], f"{item.nodeid}: forked(fixtures=...)")
    return Settings(forked=marked, fixtures=fixtures)


def fixtures_mode(config: pytest.Config) -> str:
    """Return what ``--forked-fixtures`` or its ini says.

    :raises pytest.UsageError: It is not one of the words.
    """
    given = config.getoption("forked_fixtures", None)
    if given is not None:
        return one_of(FIXTURES, given, "--forked-fixtures")
    return one_of(FIXTURES, config.getini("forked_fixtures"), "forked_fixtures (ini)")


def one_of(words: tuple[str, ...], given: object, name: str) -> str:
    """Return ``given``, which must be one of the words.

    :raises pytest.UsageError: It is not; names the option and the fix.
    """
    if given in words:
        return str(given)
    close = difflib.get_close_matches(str(given), words, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"write {', '.join(words[:-1])} or {words[-1]}"
    raise pytest.UsageError(f"{name}: {str(given)!r} is unknown; {hint}")


def _condition(item: pytest.Item, mark: pytest.Mark) -> bool:
    for keyword in mark.kwargs:
        if keyword not in MARK_KEYWORDS:
            raise pytest.UsageError(f"{item.nodeid}: forked() has no keyword {keyword!r}{_hint(keyword)}")
    if len(mark.args) > 1 or (mark.args and "condition" in mark.kwargs):
        raise pytest.UsageError(
            f"{item.nodeid}: forked() takes one condition; write forked(condition, reason=...)"
        )
    conditions: tuple[Any, ...] = mark.args or (mark.kwargs.get("condition", True),)
    return condition_holds(item, mark, conditions[0])


def _hint(keyword: str) -> str:
    close = difflib.get_close_matches(keyword, MARK_KEYWORDS, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(MARK_KEYWORDS)}"
