"""Find out, as a session starts, which others are there, and register what gets along with them."""

from __future__ import annotations

import sys

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Meet coverage, which pytest-cov has started by now, in a worker of xdist too, and others."""
    if "pytest_rerunfailures" in sys.modules or "flaky" in sys.modules:
        from pytest_procrastinate.with_others.reruns import register_reruns

        register_reruns(session.config)
    reporting = sys.modules.get("pytest_bdd.reporting")
    if hasattr(reporting, "test_report_context_registry"):
        from pytest_procrastinate.with_others.bdd import Scenarios

        session.config.pluginmanager.register(Scenarios(reporting), "forked-bdd")
    if hasattr(getattr(session.config, "_syrupy", None), "flush_snapshot_write_queue"):
        from pytest_procrastinate.with_others.snapshots import Snapshots

        session.config.pluginmanager.register(Snapshots(), "forked-snapshots")
    listener = session.config.pluginmanager.get_plugin("allure_listener")
    if hasattr(listener, "_cache"):
        from pytest_procrastinate.with_others.allure import AllureResults

        session.config.pluginmanager.register(AllureResults(listener), "forked-allure")
    if "_hypothesis_pytestplugin" in sys.modules:
        from pytest_procrastinate.with_others.hypothesis import Readiness

        session.config.pluginmanager.register(Readiness(), "forked-hypothesis")
    if "pytest_isolate" in sys.modules:
        from pytest_procrastinate.with_others import isolate

        session.config.pluginmanager.register(isolate, "forked-isolate")
    if "coverage" in sys.modules:
        from pytest_procrastinate.with_others.coverage import MergedCoverage, running_coverage

        running = running_coverage()
        if running is not None:
            session.config.pluginmanager.register(MergedCoverage(running), "forked-coverage")
