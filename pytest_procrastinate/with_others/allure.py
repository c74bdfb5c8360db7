"""Beside allure-pytest: each test has one result. Its child writes it; of a crash, the pytest process.

Used of it (2.13 to 2.16): the plugin ``allure_listener``, what it implements of pytest's hooks, ``_cache``.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Generator
from typing import Any

import pluggy
import pytest

from pytest_procrastinate.child.run import PassOn


class AllureResults:
    """Sees to it; a plugin.

    :param listener: Allure's.
    """

    def __init__(self, listener: Any) -> None:
        self._listener = listener

    @pytest.hookimpl(wrapper=True, trylast=True)  # within the listener's
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Have no result written where a fork server only begins a test."""
        try:
            return (yield)
        except PassOn:
            self._listener._cache.pop(item.nodeid)
            raise

    @pytest.hookimpl(trylast=True)
    def pytest_forked_crashed(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Have the result of a dead child's test written, as of one that ran and failed here."""
        listener, call = self._listener, types.SimpleNamespace(excinfo=_crash(report))
        protocol = listener.pytest_runtest_protocol(item=item, nextitem=None)
        next(protocol)
        _finish(listener.pytest_runtest_setup(item=item), None)
        _finish(listener.pytest_runtest_call(item=item), None)
        _finish(listener.pytest_runtest_teardown(item=item), None)
        for phase in ("setup", "teardown"):  # with the first it takes the outcome, then the output
            of_phase = copy.copy(report)
            of_phase.when = phase
            _finish(listener.pytest_runtest_makereport(item=item, call=call), of_phase)
        next(protocol, None)


class Crash(Exception):  # noqa: N818  # as it is told
    """A child has died."""

    __module__ = "builtins"  # to be told by its name alone


def _crash(report: pytest.TestReport) -> pytest.ExceptionInfo[Crash]:
    try:
        raise Crash(getattr(getattr(report.longrepr, "reprcrash", None), "message", ""))
    except Crash as error:
        return pytest.ExceptionInfo.from_exception(error)


def _finish(wrapper: Generator[None, Any, None], result: object) -> None:
    """Run a hook's wrapper around a call that returns ``result``."""
    next(wrapper)
    try:
        wrapper.send(pluggy.Result(result, None))
    except StopIteration:
        pass
