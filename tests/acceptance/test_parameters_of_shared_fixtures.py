"""Parameters of shared fixtures, compared as this pytest compares them."""

from __future__ import annotations

import pytest
from comparing import compare

FIXTURE = """
import noting, pytest

class NotToBeCompared:
    def __eq__(self, other): raise ValueError("ambiguous")
    __hash__ = object.__hash__

@pytest.fixture(scope="SCOPE")
def f(request):
    noting.note("step", "up")
    yield
    noting.note("step", "down")

@pytest.fixture
def own(f):
    noting.note("step", "own up")
    yield
    noting.note("step", "own down")
"""
TESTS = """
SAME = VALUE

@pytest.mark.parametrize("f", [VALUE, SAME, SAME, 1], indirect=True)
def test_a(own, f): noting.note("step", "a")
@pytest.mark.parametrize("f", [SAME, VALUE, True], indirect=True)
def test_b(f): noting.note("step", "b")
class TestC:
    @pytest.mark.parametrize("f", [VALUE], indirect=True)
    def test_c(self, f): noting.note("step", "c")
    @pytest.mark.parametrize("f", [SAME, VALUE, SAME], indirect=True)
    def test_d(self, own): noting.note("step", "d")
"""


@pytest.mark.parametrize("scope", ["session", "class"])
@pytest.mark.parametrize("value", ["float('nan')", "NotToBeCompared()", "[1000]"])
def test_a_fixture_is_set_up_as_often_as_in_a_plain_run_whatever_its_parameter(
    pytester, value, scope
):
    pytester.makepyfile(test_it=(FIXTURE + TESTS).replace("VALUE", value).replace("SCOPE", scope))

    one, other = compare(pytester)

    assert [words for _, *words in one.noted("step")] == [
        words for _, *words in other.noted("step")
    ]
