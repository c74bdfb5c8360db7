"""What the tests of the mechanism share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from watching import Ready, Watch


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
