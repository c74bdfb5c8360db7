"""Tests that a hook keeps pytest from tearing down: one raises first, or runs no protocol."""

from __future__ import annotations

import pytest
from comparing import forked

RAISES_BEFORE_TEARDOWN = """
def pytest_runtest_teardown(item):
    if item.name == "test_first":
        raise ValueError("of the hook")
"""
FIXTURES = """
import noting, pytest

@pytest.fixture(scope="module")
def module():
    yield
    noting.note("down", "module")

@pytest.fixture
def own(module, request):
    yield
    noting.note("down", "own", request.node.name)

def test_first(own): pass
"""


@pytest.mark.parametrize("args", [(), ("--forked-jobs=2",), ("--forked-scope=module",)])
def test_what_a_test_has_set_up_is_torn_down_in_its_child(pytester, args):
    pytester.makeconftest(RAISES_BEFORE_TEARDOWN)
    pytester.makepyfile(test_it=FIXTURES)

    told = forked(pytester, *args)

    assert [words for _, *words in told.noted("down")] == [["own", "test_first"], ["module"]]
    assert told.outcomes() == ["setup passed", "call passed", "teardown failed"]
    assert told.status == 1


def test_the_next_test_finds_nothing_of_it(pytester):
    """In a plain run it fails: "previous item was not torn down properly"."""
    pytester.makeconftest(RAISES_BEFORE_TEARDOWN)
    pytester.makepyfile(test_it=FIXTURES + "def test_second(own): pass\n")

    told = forked(pytester)

    assert told.verdicts() == {
        "test_first": ["setup passed", "call passed", "teardown failed"],
        "test_second": ["setup passed", "call passed", "teardown passed"],
    }
    assert [words for _, *words in told.noted("down")] == [
        ["own", "test_first"],
        ["own", "test_second"],
        ["module"],
    ]


RUNS_NO_PROTOCOL = """
def pytest_runtest_protocol(item):
    return True if item.name == "test_last" else None
"""


@pytest.mark.parametrize(
    ("conftest", "last"),
    [(RAISES_BEFORE_TEARDOWN, ""), (RUNS_NO_PROTOCOL, "def test_last(module): pass")],
    ids=["raises", "is not run"],
)
def test_scopes_that_end_with_it_are_torn_down_before_the_next(pytester, conftest, last):
    pytester.makeconftest(conftest)
    pytester.makepyfile(
        test_a=FIXTURES + last,
        test_b="import noting\ndef test_other(): noting.note('down', 'not yet')",
    )

    told = forked(pytester)

    assert [words for _, *words in told.noted("down")] == [
        ["own", "test_first"],
        ["module"],
        ["not yet"],
    ]
    assert list(told.verdicts()) == ["test_first", "test_other"]
    assert told.verdicts()["test_other"] == ["setup passed", "call passed", "teardown passed"]
