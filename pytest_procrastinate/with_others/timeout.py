"""pytest-timeout's option, ini and marker mean the same for forked tests: enforced from outside.

Its own timer would be set in whichever process runs the protocol's wrappers. ``func_only`` stays its
own affair: that timer is set around the call, which is in the child.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_procrastinate.options import Settings, Timeout

NAMES = ("timeout", "pytest_timeout")  # as an entry point, by -p


class NoTimer:
    """Keeps pytest-timeout from setting its timer for tests that we end; a plugin."""

    def __init__(self, items: set[pytest.Item]) -> None:
        self._items = items

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> bool | None:
        """Say that it is done."""
        return True if item in self._items else None


def take_over_timeouts(config: pytest.Config, settings: dict[pytest.Item, Settings]) -> None:
    """Put pytest-timeout's limits into the settings: where both are given, our own mark wins."""
    plugin: Any = next(filter(None, map(config.pluginmanager.get_plugin, NAMES)), None)
    ask = getattr(plugin, "_get_item_settings", None)
    if ask is None:
        return
    taken: set[pytest.Item] = set()
    for item, own in settings.items():
        if not own.forked:
            continue
        try:
            given = ask(item)
        except Exception:  # a bad mark: it says so itself when the test runs
            continue
        if not given.timeout or given.timeout <= 0 or given.func_only:
            continue
        taken.add(item)
        is_marked = any("timeout" in mark.kwargs for mark in item.iter_markers("forked"))
        if not is_marked and (own.timeout is None or item.get_closest_marker("timeout")):
            message = f"Timeout (>{given.timeout}s) from pytest-timeout."
            limit = Timeout(float(given.timeout), "pytest-timeout", message)
            settings[item] = own._replace(timeout=limit)
    if taken:
        config.pluginmanager.register(NoTimer(taken), "forked-no-timer")
