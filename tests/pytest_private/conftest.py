"""A suite with fixtures of each scope, and what pytest knows of its items."""

from __future__ import annotations

import pytest

from pytest_procrastinate import pytest_private as private

SUITE = """
import pytest

LOG = []

@pytest.fixture(scope="session", params=["x", "y"])
def session(request):
    LOG.append("up session")
    yield request.param
    LOG.append("down session")

@pytest.fixture(scope="module")
def module(session):
    LOG.append("up module")
    yield [session]
    LOG.append("down module")

@pytest.fixture
def own(module):
    LOG.append("up own")
    yield
    LOG.append("down own")

class TestOne:
    def test_a(self, own): pass

    def test_b(self, module): pass

@pytest.mark.skip(reason="not now")
def test_skipped(module): pass

@pytest.mark.parametrize("module", [1, 2], indirect=True, scope="session")
def test_wide(module): pass
"""


@pytest.fixture
def items(pytester):
    """The items of :data:`SUITE`, by name."""
    found = {item.name: item for item in pytester.getitems(SUITE)}
    yield found
    item = next(iter(found.values()))
    item.session._setupstate.teardown_exact(None)
    item.config._ensure_unconfigure()


@pytest.fixture
def item(items):
    return items["test_a[x]"]


@pytest.fixture
def state(item):
    return item.session._setupstate


@pytest.fixture
def log(item):
    return item.module.LOG


@pytest.fixture
def definitions(item):
    return {name: definition for name, definition, _ in private.fixtures_of(item)}
