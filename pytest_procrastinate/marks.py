"""The marks of an item, beside options and ini: its :class:`.Settings`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pytest_procrastinate.deaths import dies_of, keyword_hint
from pytest_procrastinate.options import (
    FIXTURES,
    LEAKS,
    SCOPES,
    RunSettings,
    Settings,
    Timeout,
    one_of,
)
from pytest_procrastinate.pytest_private import condition_holds, may_skip
from pytest_procrastinate.quantities import parse_duration, parse_memory_limit

MARK_KEYWORDS = (
    "condition",
    "reason",
    "fixtures",
    "timeout",
    "memory_limit",
    "cpu_limit",
    "leaks",
    "group",
    "exclusive",
    "scope",
)

T = TypeVar("T")


class ItemSettings(dict[pytest.Item, Settings]):
    """The settings of each item; of one that comes late, once they are asked for."""

    def __init__(self, run: RunSettings) -> None:
        super().__init__()
        self._run = run

    def __missing__(self, item: pytest.Item) -> Settings:
        self[item] = settings = settings_of(item, self._run)
        return settings

    def look_again(self, item: pytest.Item) -> None:
        """Read the marks of an item once more: some may have been added."""
        if item.get_closest_marker("forked") or item.get_closest_marker("dies"):
            self.pop(item, None)


def settings_of(item: pytest.Item, run: RunSettings | None = None) -> Settings:
    """Return what was asked for an item: its own mark first, then the options, then the ini.

    :param run: What was asked for the run.
    :raises pytest.UsageError: A mark is used wrongly; names the item and the fix.
    """
    config = item.config
    run = run or RunSettings()
    marks = list(item.iter_markers("forked"))  # the closest first
    for mark in marks:
        _check_mark(item, mark)
    marked = _condition(item, marks[0]) if marks else None
    dies = dies_of(item)
    if config.getoption("no_forked", False):
        if dies is not None:
            item.add_marker(pytest.mark.skip(reason="dies() needs a child of its own"))
        return Settings()
    if dies is not None:
        marked = True
    if marked is None:
        marked = bool(config.getoption("forked", False) or config.getini("forked"))
    if not marked:
        return Settings()
    if not hasattr(os, "fork"):
        if may_skip(item):
            return Settings()
        raise pytest.UsageError(
            f"{item.nodeid}: it is to run in a child of its own, and this platform has no os.fork; "
            "mark it skipif(not hasattr(os, 'fork')), or run with --no-forked"
        )
    timeout = _marked(item, marks, "timeout", parse_duration)
    memory_limit = _marked(item, marks, "memory_limit", parse_memory_limit)
    cpu_limit = _marked(item, marks, "cpu_limit", parse_duration)
    leaks = _marked(item, marks, "leaks", lambda word: one_of(LEAKS, word))
    fixtures = _marked(item, marks, "fixtures", lambda word: one_of(FIXTURES, word))
    return Settings(
        forked=True,
        fixtures=fixtures or run.fixtures,
        timeout=run.timeout if timeout is None else _timeout_of_mark(timeout),
        grace_seconds=run.grace_seconds,
        memory_limit_bytes=run.memory_limit_bytes if memory_limit is None else memory_limit or None,
        cpu_limit_seconds=run.cpu_limit_seconds if cpu_limit is None else cpu_limit or None,
        leaks=leaks or run.leaks,
        dies=dies,
        scope=_marked(item, marks, "scope", lambda word: one_of(SCOPES, word)) or run.scope,
        group=_marked(item, marks, "group", _group_name),
        exclusive=bool(_marked(item, marks, "exclusive", _yes_or_no)),
    )


def _group_name(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError(f"{given!r} is not the name of a group; write group='db'")
    return given


def _yes_or_no(given: object) -> bool:
    if not isinstance(given, bool):
        raise ValueError(f"{given!r} is neither True nor False; write exclusive=True")
    return given


def _timeout_of_mark(seconds: float) -> Timeout | None:
    return Timeout(seconds, "forked(timeout=...)") if seconds else None


def _marked(
    item: pytest.Item, marks: list[pytest.Mark], keyword: str, parse: Callable[[Any], T]
) -> T | None:
    """Return what the closest mark with this keyword says; None where there is none."""
    for mark in marks:
        if mark.kwargs.get(keyword) is not None:
            try:
                return parse(mark.kwargs[keyword])
            except (ValueError, TypeError, AttributeError) as error:
                raise pytest.UsageError(f"{item.nodeid}: forked({keyword}=...): {error}") from error
    return None


def _check_mark(item: pytest.Item, mark: pytest.Mark) -> None:
    for keyword in mark.kwargs:
        if keyword not in MARK_KEYWORDS:
            raise pytest.UsageError(
                f"{item.nodeid}: forked() has no keyword {keyword!r}{keyword_hint(keyword, MARK_KEYWORDS)}"
            )
    if len(mark.args) > 1 or (mark.args and "condition" in mark.kwargs):
        raise pytest.UsageError(
            f"{item.nodeid}: forked() takes one condition; write forked(condition, reason=...)"
        )


def _condition(item: pytest.Item, mark: pytest.Mark) -> bool:
    conditions: tuple[Any, ...] = mark.args or (mark.kwargs.get("condition", True),)
    return condition_holds(item, mark, conditions[0])
