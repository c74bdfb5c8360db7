"""Beside pytest-rerunfailures and flaky: a test that crashes is run again, in a new child.

What fails without a crash they run again themselves, in the child. Crashes are counted apart from
such failures: a child does not know of the crashes before it. Names used of pytest-rerunfailures
(from 10): ``get_reruns_count``, ``Item.execution_count``, ``TestReport.rerun``, from 16.6
``_remove_failed_subtest_reports_from_stats``; of flaky (from 3.7): ``_flaky_max_runs``, ``PLUGIN``,
``FlakyPlugin._stream``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class RerunFailures:
    """Counts a crash as pytest-rerunfailures counts a failure; a plugin.

    :param module: ``pytest_rerunfailures``.
    """

    def __init__(self, module: Any) -> None:
        self._reruns = module.get_reruns_count
        self._uncount = getattr(module, "_remove_failed_subtest_reports_from_stats", None)
        self._crashes: dict[str, int] = {}

    @pytest.hookimpl
    def pytest_forked_run_again(self, item: pytest.Item, crashes: int) -> str | None:
        """Allow as many reruns as its options and marks do."""
        return "rerun" if crashes <= (self._reruns(item) or 0) else None

    @pytest.hookimpl
    def pytest_forked_crashed(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Number the report among those of the test's runs: its summary sorts them."""
        crashes = self._crashes.get(item.nodeid, 0)
        report.rerun = crashes  # type: ignore[attr-defined]
        self._crashes[item.nodeid] = crashes + 1
        item.execution_count = crashes + 2  # type: ignore[attr-defined]  # with the run after it
        outcome: Any = report.outcome
        if outcome == "rerun":
            self._uncount_subtests(item.config, item.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, config: pytest.Config, data: dict[str, Any]) -> None:
        """Count the crashes before, of which the child that made this report does not know."""
        if data.get("outcome") == "rerun":
            self._uncount_subtests(config, str(data.get("nodeid")))
        crashes = self._crashes.get(str(data.get("nodeid")), 0)
        if crashes and "rerun" in data:
            data["rerun"] += crashes

    def _uncount_subtests(self, config: pytest.Config, nodeid: str) -> None:
        """Forget how the subtests went of a run that is not the last one, as was done in the child."""
        if self._uncount is not None:
            self._uncount(config, config.pluginmanager.get_plugin("session"), nodeid)

    @pytest.hookimpl
    def pytest_forked_child_started(self, tell: Callable[[str, object], None]) -> None:
        """Note how the test can tell of its runs."""
        self._tell = tell

    @pytest.hookimpl
    def pytest_forked_child_ending(self, item: pytest.Item) -> None:
        """Tell how often the test has run in this child."""
        if getattr(item, "execution_count", 0) > 1:
            self._tell("reruns", (item.nodeid, item.execution_count))  # type: ignore[attr-defined]

    @pytest.hookimpl
    def pytest_forked_told(self, config: pytest.Config, name: str, payload: Any) -> None:
        """Count these runs here: --fail-on-flaky asks for them."""
        match name, payload:
            case ("reruns", (str(nodeid), int(count))):
                session: Any = config.pluginmanager.get_plugin("session")
                for item in session.items:
                    if item.nodeid == nodeid:
                        item.execution_count = count + self._crashes.get(nodeid, 0)


class Flaky:
    """Counts a crash as flaky counts a failure; a plugin.

    :param plugin: flaky's own.
    """

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin
        self._tell: Callable[[str, object], None] | None = None
        self._known = 0

    @pytest.hookimpl
    def pytest_forked_run_again(self, item: pytest.Item, crashes: int) -> str | None:
        """Allow as many runs as its decorators, marks and options do; note it in its report."""
        runs = self._runs(item)
        if crashes >= runs:
            return None
        self._plugin._stream.write(
            f"{item.name} crashed ({runs - crashes} runs remaining out of {runs}).\n"
        )
        return ""

    @pytest.hookimpl
    def pytest_forked_child_started(self, tell: Callable[[str, object], None]) -> None:
        """Note how far flaky's report has come."""
        self._tell = tell
        self._known = len(self._plugin._stream.getvalue())

    @pytest.hookimpl
    def pytest_forked_child_ending(self) -> None:
        """Tell what the child has added to it."""
        added = self._plugin._stream.getvalue()[self._known :]
        if added and self._tell is not None:
            self._tell("flaky", added)

    @pytest.hookimpl
    def pytest_forked_told(self, name: str, payload: object) -> None:
        """Add it here as well."""
        if name == "flaky":
            self._plugin._stream.write(str(payload))

    def _runs(self, item: pytest.Item) -> int:
        mark = item.get_closest_marker("flaky")
        if mark is not None:
            return int(mark.kwargs.get("max_runs", mark.args[0] if mark.args else 2) or 2)
        function = getattr(item, "function", None)
        owners = (function, getattr(item, "cls", None))
        found = [runs for each in owners if (runs := getattr(each, "_flaky_max_runs", None))]
        if found:
            return int(found[0])
        option = item.config.option
        return int(option.max_runs or 2) if getattr(option, "force_flaky", False) else 1


def register_reruns(config: pytest.Config) -> None:
    """Register what gets along with those that are there."""
    manager = config.pluginmanager
    for _, plugin in manager.list_name_plugin():
        if plugin is not None and getattr(plugin, "__name__", "") == "pytest_rerunfailures":
            manager.register(RerunFailures(plugin), "forked-rerunfailures")
            return
        flaky = getattr(plugin, "PLUGIN", None)
        if type(flaky).__name__ == "FlakyPlugin":
            manager.register(Flaky(flaky), "forked-flaky")
            return
