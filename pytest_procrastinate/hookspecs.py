"""The hooks that pytest-procrastinate offers; its own integrations use them as well."""

from __future__ import annotations

import pytest


@pytest.hookspec
def pytest_forked_before_fork(item: pytest.Item) -> None:
    """Get ready for the fork of a test's child.

    In the process that forks (a fork server), right before each fork. Close or flush here what
    must not exist twice.

    :param item: The test that the child will run.

    In a conftest of the item's directory or above::

        def pytest_forked_before_fork(item):
            database_log.flush()
    """


@pytest.hookspec
def pytest_forked_child_started(item: pytest.Item) -> None:
    """Make a new child your own.

    In the child, once, before the item's protocol begins. The child may have been forked ahead of
    time; this is called when its turn has come.

    :param item: The test that this child runs.

    In a conftest of the item's directory or above::

        def pytest_forked_child_started(item):
            random.seed(item.nodeid)
    """


@pytest.hookspec
def pytest_forked_child_ending(item: pytest.Item) -> None:
    """Bring in what this child's memory holds, before it is gone.

    In the child, once, after the item's protocol, all reports told. It leaves by
    :func:`os._exit`: exit handlers do not run. Not called when the child dies.

    :param item: The test that this child ran.

    In a conftest of the item's directory or above::

        def pytest_forked_child_ending(item):
            profiler.dump(f"{os.getpid()}.prof")
    """


@pytest.hookspec
def pytest_forked_crashed(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to the report of a test whose child died.

    In the pytest process, once per crash, before the report is logged.

    :param report: May be changed; ``sections`` is the place for text.

    In a conftest of the item's directory or above::

        def pytest_forked_crashed(item, report):
            report.sections.append(("GPU", gpu_log()))
    """
