"""The hooks that pytest-procrastinate offers; its own integrations use them as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.hookspec
def pytest_forked_server_started(
    session: pytest.Session, tell: Callable[[str, object], None]
) -> None:
    """Make a new fork server your own.

    In a fork server, once, before it sets up anything. A server for the tests of one module or
    class is forked from another one: then it is called there again.

    :param tell: Call ``tell(name, payload)`` to have :func:`pytest_forked_told` called in the
        pytest process; the payload is made of builtins.

    In a plugin::

        def pytest_forked_server_started(self, session, tell):
            self.tell = tell
    """


@pytest.hookspec
def pytest_forked_leaving_scopes(item: pytest.Item) -> None:
    """Get ready for the teardown of shared fixtures.

    In a fork server, before it tears down the scopes that end with a test. The test's own
    teardown, and its hooks, have run in its child.

    :param item: The last test that used them.

    In a conftest of the item's directory or above::

        def pytest_forked_leaving_scopes(item):
            profiler.label = f"{item.nodeid} teardown"
    """


@pytest.hookspec
def pytest_forked_server_ending(session: pytest.Session) -> None:
    """Bring in what a fork server's memory holds, before it is gone.

    In a fork server, once, after it has torn down all. Not called when it dies.

    In a plugin::

        def pytest_forked_server_ending(self, session):
            self.tell("my-profiler", self.profiler.samples())
    """


@pytest.hookspec
def pytest_forked_told(config: pytest.Config, name: str, payload: object) -> None:
    """Hear what a plugin has told in another process.

    In the pytest process, for each call of a ``tell``. What a test's child told is heard when the
    test is told to pytest, even if the child has crashed after it.

    :param name: What the plugin called it: its own name, so that plugins do not meet.
    :param payload: May come from a process that is corrupted: check it.

    In a plugin::

        def pytest_forked_told(self, name, payload):
            if name == "my-profiler":
                self.samples += payload
    """


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
def pytest_forked_child_started(item: pytest.Item, tell: Callable[[str, object], None]) -> None:
    """Make a new child your own.

    In the child, once, before the item's protocol begins. The child may have been forked ahead of
    time; this is called when its turn has come.

    :param item: The test that this child runs.
    :param tell: Call ``tell(name, payload)`` to have :func:`pytest_forked_told` called in the
        pytest process; the payload is made of builtins.

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


@pytest.hookspec(firstresult=True)
def pytest_forked_run_again(item: pytest.Item, crashes: int) -> str | None:
    """Say whether a test whose child died is run again, in a new child.

    In the pytest process, once per crash. Not for a crash in a shared fixture.

    :param crashes: How often the test has crashed by now, 1 at the first time.
    :returns: The outcome of the report that tells of this crash, which somebody has to know in
        ``pytest_report_teststatus``; empty: nothing is told; None: it is not run again.

    In a conftest of the item's directory or above::

        def pytest_forked_run_again(item, crashes):
            return "" if crashes < 3 and item.get_closest_marker("shaky") else None
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
