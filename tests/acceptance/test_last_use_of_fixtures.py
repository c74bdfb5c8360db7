"""Pytest 8.0 tears fixtures down in the order of their last use: so do fork servers, whoever uses them."""

from __future__ import annotations

import pytest
from comparing import forked, plain

STEPS = """
import noting, pytest

def steps(request):
    noting.note("step", "up", request.fixturename)
    yield
    noting.note("step", "down", request.fixturename)
"""
LAST_USED_IN_A_CLASS_WITHIN = """
class TestC:
    @pytest.fixture(scope="class")
    def f(self, request): yield from steps(request)
    @pytest.fixture(scope="class")
    def g(self, request): yield from steps(request)
    def test_a(self, g, f): noting.note("step", "a")
    class TestD:
        @pytest.fixture(scope="class")
        def inner(self, request): yield from steps(request)
        def test_b(self, inner): noting.note("step", "b")
        def test_c(self, g): noting.note("step", "c")
    def test_d(self, f): noting.note("step", "d")
"""
NODE_HAS_A_FINALIZER = """
@pytest.fixture(scope="session")
def f(request): yield from steps(request)
@pytest.fixture(scope="session")
def g(request, f): request.node.addfinalizer(lambda: noting.note("step", "down node"))
@pytest.fixture(scope="module")
def own(request): yield from steps(request)
def test_a(g, own): noting.note("step", "a")
"""
NOT_ALL_ARE_USED = """
@pytest.fixture(scope="module")
def f(request): yield from steps(request)
@pytest.fixture(scope="module")
def g(request): yield from steps(request)
@pytest.fixture(scope="module")
def fails(): raise ValueError
def test_a(f, g): pass
def test_b(fails, f): pass
def test_c(fails, f): pass
@pytest.mark.xfail(run=False)
def test_d(f): pass
"""
ENDS_WITH_WHAT_IT_ASKED_FOR = """
@pytest.fixture(scope="session", params=[1, 2])
def asked(request): yield from steps(request)
@pytest.fixture(scope="session")
def f(request, asked): yield from steps(request)
@pytest.fixture(scope="module")
def g(request, asked): yield from steps(request)
@pytest.mark.parametrize("again", [1, 2])
def test_a(f, g, again): noting.note("step", "a")
def test_b(f): noting.note("step", "b")
"""
OVERRIDES_WHAT_IT_ASKS_FOR = """
@pytest.fixture(scope="session")
def f(request): yield from steps(request)
class TestC:
    @pytest.fixture(scope="session")
    def g(self, request): yield from steps(request)
    @pytest.fixture(scope="session")
    def f(self, g, f): pass
    def test_a(self, f): noting.note("step", "a")
    def test_b(self, f): noting.note("step", "b")
"""


@pytest.mark.parametrize(
    "tests",
    [
        LAST_USED_IN_A_CLASS_WITHIN,
        NODE_HAS_A_FINALIZER,
        NOT_ALL_ARE_USED,
        ENDS_WITH_WHAT_IT_ASKED_FOR,
        OVERRIDES_WHAT_IT_ASKS_FOR,
    ],
)
def test_fixtures_are_torn_down_after_their_last_use_where_plain_pytest_does_so(pytester, tests):
    pytester.makepyfile(STEPS + tests)

    one, other = plain(pytester), forked(pytester)

    assert one.verdicts() == other.verdicts()
    steps, others = ([words for _, *words in told.noted("step")] for told in (one, other))
    assert steps == others
