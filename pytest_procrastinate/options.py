"""Options, ini values and marks, turned into one frozen :class:`Settings` per item."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import pytest

from pytest_procrastinate.pytest_private import condition_holds

MARK_KEYWORDS = ("condition", "reason")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What was asked for one item."""

    forked: bool = False


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
    return Settings(forked=marked)


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
