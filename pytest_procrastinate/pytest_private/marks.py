"""Conditions of marks, evaluated as pytest does."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest import skipping
from _pytest.skipping import evaluate_condition, evaluate_xfail_marks
from _pytest.unittest import TestCaseFunction

from pytest_procrastinate.pytest_private.hooks import OUTCOMES

# What pytest tells of an xfail() without a reason: 8.0 puts a word before it, 8.4 does not.
_CONSTANTS = skipping.pytest_runtest_makereport.__code__.co_consts
_NO_REASON = "reason: " if "reason: " in _CONSTANTS else ""


def condition_holds(item: pytest.Item, mark: pytest.Mark, condition: object) -> bool:
    """Evaluate a mark's condition as ``skipif`` does: a string is evaluated, others are bools.

    :raises pytest.UsageError: It cannot be evaluated.
    """
    if not isinstance(condition, str):
        try:
            return bool(condition)
        except Exception as error:
            raise pytest.UsageError(
                f"{item.nodeid}: the condition of {mark.name}() fails: {error!r}"
            ) from error
    try:
        return evaluate_condition(item, mark, condition)[0]
    except pytest.fail.Exception as error:
        raise pytest.UsageError(f"{item.nodeid}: {error.msg}") from error


def may_skip(item: pytest.Item) -> bool:
    """Whether marks may end an item before its set-up; a string's condition is known only at its turn."""
    return (
        any(item.iter_markers("skip"))
        or any(
            isinstance(condition, str) or _is_true(condition)
            for mark in item.iter_markers("skipif")
            for condition in (mark.args or (mark.kwargs.get("condition", True),))
        )
        or any(not _is_true(mark.kwargs.get("run", True)) for mark in item.iter_markers("xfail"))
    )


def _is_true(condition: object) -> bool:
    try:
        return bool(condition)
    except Exception:  # its own protocol tells that
        return True


def expected_to_fail(item: pytest.Item, error: BaseException, phase: str) -> str | None:
    """Return the reason of an xfail mark that ``error`` satisfies, None where there is none.

    :func:`unittest.expectedFailure`, which gives no reason, is one that any error of the call satisfies.
    """
    if getattr(item.config.option, "runxfail", True):  # -p no:skipping: there is no such option
        return None
    if phase == "call" and _is_expected_by_unittest(item):
        return _NO_REASON
    try:
        xfailed = evaluate_xfail_marks(item)
    except OUTCOMES:  # a mark that the test has put on itself is wrong
        return None
    if xfailed is None:
        return None
    raises: Any = xfailed.raises
    if raises is not None:
        matches = raises.matches(error) if hasattr(raises, "matches") else isinstance(error, raises)
        if not matches:
            return None
    return xfailed.reason


def forget_caught(item: pytest.Item, kinds: tuple[type[BaseException], ...]) -> None:
    """Forget exceptions that unittest has caught, which would go into the report of a test case.

    ``TestCaseFunction._excinfo``. Not where the test case is expected to fail: that is told as an xfail.
    """
    if isinstance(item, TestCaseFunction) and item._excinfo and not _is_expected_by_unittest(item):
        item._excinfo[:] = [each for each in item._excinfo if not isinstance(each.value, kinds)]


def _is_expected_by_unittest(item: pytest.Item) -> bool:
    """``__unittest_expecting_failure__``, of a test case's class or of its method."""
    if not isinstance(item, TestCaseFunction):
        return False
    case: Any = item.parent.obj  # type: ignore[union-attr]
    return any(
        getattr(each, "__unittest_expecting_failure__", False)
        for each in (case, getattr(case, item.name, None))
    )
