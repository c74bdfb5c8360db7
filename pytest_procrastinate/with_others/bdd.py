"""Beside pytest-bdd: a report carries its scenario, for the gherkin reporter and cucumber's JSON.

pytest-bdd (from 9) keeps it beside the report, in ``test_report_context_registry``, for this process only.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

SCENARIO = "$bdd_scenario"


class Scenarios:
    """Sends what is kept with a report, keeps it where the report is told; a plugin.

    :param module: ``pytest_bdd.reporting``.
    """

    def __init__(self, module: Any) -> None:
        self._registry = module.test_report_context_registry
        self._context = module.ReportContext

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self, report: object) -> Generator[None, Any, Any]:
        """Add the scenario to what is sent of a report."""
        data = yield
        context = self._registry.get(report)
        if data is not None and context is not None:
            data[SCENARIO] = context.scenario, context.name
        return data

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> Generator[None, Any, Any]:
        """Keep the scenario with the report that was sent."""
        context = data.pop(SCENARIO, None)
        report = yield
        if report is not None and context is not None:
            scenario, name = context
            self._registry[report] = self._context(scenario=scenario, name=name)
        return report
