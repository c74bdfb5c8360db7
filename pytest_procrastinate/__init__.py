"""pytest-procrastinate: each test in its own forked child.

The package itself is the pytest plugin: what pytest calls is listed here.
"""

from pytest_procrastinate.as_written import import_as_written

import_as_written(__name__)

from pytest_procrastinate.plugin import (  # noqa: E402
    forked_group_slot,
    forked_slot,
    pytest_addhooks,
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_load_initial_conftests,
    pytest_report_header,
    pytest_runtestloop,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from pytest_procrastinate.with_others.meeting import pytest_sessionstart  # noqa: E402

__all__ = [
    "forked_group_slot",
    "forked_slot",
    "pytest_addhooks",
    "pytest_addoption",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_runtestloop",
    "pytest_sessionfinish",
    "pytest_sessionstart",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]
