"""What the tests of the mechanism share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from managing import Gate
from watching import HANG_SECONDS, Ready, Watch

from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.waiting import Waiter, default_waiter


@pytest.fixture
def watch(make_waiter) -> Iterator[Watch]:
    """An open waiter and what a manager does with it."""
    watch = Watch(make_waiter())
    yield watch
    watch.close()


@pytest.fixture
def ready() -> Iterator[Ready]:
    """How processes tell that they are where the test wants them."""
    ready = Ready()
    yield ready
    ready.close()


@pytest.fixture
def make_waiter() -> Callable[[], Waiter]:
    """The waiter that this system has, where a test does not name its own."""
    return default_waiter


@pytest.fixture
def manager(make_waiter) -> Iterator[ProcessManager]:
    """A manager that is set up; what still runs in the end is killed."""
    manager = ProcessManager(make_waiter())
    manager.setup()
    yield manager
    manager.kill_processes(signal.SIGKILL)
    manager.shutdown(HANG_SECONDS)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where children wait until the test lets them through."""
    gate = Gate()
    yield gate
    gate.close()
