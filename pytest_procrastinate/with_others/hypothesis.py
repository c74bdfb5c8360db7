"""Beside hypothesis: what its first test of a process makes ready, a fork server has ready for all.

It reads tables of characters, and the constants in the source of each local module: without this, once
more in each child, for as long as a usual test of its takes. Used of it, beside what it documents:
``core._hypothesis_global_random``, in newer versions ``core.threadlocal._hypothesis_global_random``.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import Any

import pytest

from pytest_procrastinate.options import SETTINGS

EXAMPLES = 20  # from there on it makes nothing more ready


class Readiness:
    """Has fork servers make it ready before the first test; a plugin."""

    def __init__(self) -> None:
        self._is_ready = False

    @pytest.hookimpl
    def pytest_forked_server_started(self, session: pytest.Session) -> None:
        """Run a test of nothing, where tests of hypothesis are forked; narrower servers inherit it."""
        if self._is_ready or "hypothesis" not in sys.modules:
            return
        settings: Any = session.config.stash[SETTINGS]
        if any(settings[item].forked and is_hypothesis_test(item) for item in session.items):
            self._is_ready = True
            # Whatever is wrong with it, the first test of hypothesis will tell.
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make_ready()


def is_hypothesis_test(item: pytest.Item) -> bool:
    """Whether hypothesis has marked an item as one of its tests, as it does when they are collected."""
    return any(mark.name == "hypothesis" for mark in item.own_markers)


def make_ready() -> None:
    """Run a test of nothing, which prints and stores nothing, whatever the profile in use.

    :raises AttributeError: Hypothesis keeps its random numbers elsewhere by now: children would inherit
        one generator, and draw the same examples in each test.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, core, given, settings
    from hypothesis import strategies as st

    @settings(
        settings.get_profile("default"),
        database=None,
        deadline=None,
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(st.text(), st.integers(), st.floats(), st.binary())
    def test_of_nothing(text: str, number: int, fraction: float, data: bytes) -> None:
        pass

    keeper: Any = getattr(core, "threadlocal", core)
    before = keeper._hypothesis_global_random
    try:
        test_of_nothing()
    finally:
        keeper._hypothesis_global_random = before
