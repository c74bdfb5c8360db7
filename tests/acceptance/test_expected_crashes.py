"""A crash of a test that is expected to fail is what a failure of it would be."""

from __future__ import annotations

import pytest
from comparing import forked, plain

XFAILS = """
import os, pytest, unittest

def die(): DEED
@pytest.mark.xfail
def test_bare(): die()
@pytest.mark.xfail(reason="known")
def test_reason(): die()
@pytest.mark.xfail(True, reason="known")
def test_true(): die()
@pytest.mark.xfail("True", reason="known")
def test_string(): die()
@pytest.mark.xfail(False, reason="not here")
def test_false(): die()
@pytest.mark.xfail(strict=True, reason="known")
def test_strict(): die()
@pytest.mark.xfail(raises=ValueError, reason="known")
def test_raises(): die()
@pytest.mark.xfail(raises=(ValueError, KeyError), strict=True)
def test_raises_several(): die()
@pytest.mark.xfail(run=False, reason="dangerous")
def test_not_run(): die()
@pytest.mark.skipif(True, reason="dangerous")
def test_skipped(): die()

@pytest.fixture
def broken(): die()
@pytest.mark.xfail(reason="known")
def test_setup(broken): pass

@pytest.fixture
def untidy():
    yield
    die()
@pytest.mark.xfail(reason="known")
def test_teardown(untidy): assert 0
@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.xfail(reason="param")), 2])
def test_param(n): die()

class TestUnit(unittest.TestCase):
    @unittest.expectedFailure
    def test_expected(self): die()
"""


@pytest.mark.parametrize(
    ("args", "deed"),
    [
        ([], "os.abort()"),
        ([], "os._exit(0)"),
        (["--runxfail"], "os.abort()"),
        (["-o", "xfail_strict=true"], "os._exit(0)"),
    ],
)
def test_xfail_means_what_it_means_for_a_failure(pytester, args, deed):
    pytester.makepyfile(test_ext=XFAILS.replace("DEED", "assert 0"))
    failed = plain(pytester, *args)
    pytester.makepyfile(test_ext=XFAILS.replace("DEED", deed))

    crashed = forked(pytester, *args)

    assert crashed.verdicts() == failed.verdicts()
    assert [(r["where"], r["when"], r["wasxfail"]) for r in crashed.reports()] == [
        (r["where"], r["when"], r["wasxfail"]) for r in failed.reports()
    ]
    assert crashed.status == failed.status


def test_xfail_that_the_test_put_on_itself_holds_for_its_crash(pytester):
    pytester.makepyfile(
        test_ext="""
        import os, pytest

        def test_victim(request):
            request.applymarker(pytest.mark.xfail(reason="added"))
            os.abort()

        @pytest.fixture
        def marking(request):
            request.node.add_marker(pytest.mark.xfail(reason="by a fixture"))

        def test_marked_by_a_fixture(marking): os.abort()
        def test_wrong_mark(request):
            request.applymarker(pytest.mark.xfail(True)) or os.abort()
        """
    )

    told = forked(pytester)
    expected = ["setup passed", "call xfailed", "teardown passed"]
    assert told.verdicts() == {
        "test_victim": expected,
        "test_marked_by_a_fixture": expected,
        "test_wrong_mark": [*expected[:1], "call failed", *expected[2:]],
    }
