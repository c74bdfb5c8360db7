"""Beside pytest-timeout: its option, ini and mark end a forked test as they would a plain one."""

from __future__ import annotations

import pytest

pytest.importorskip("pytest_timeout")
SLEEPS = """
import pytest, time

{mark}
def test_sleeps():
    time.sleep(60)

def test_after():
    pass
"""


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("@pytest.mark.timeout(1)", ()),
        ("", ("--timeout=1",)),
        ("", ("-o", "timeout=1")),
        ("@pytest.mark.timeout(1, method='thread')", ()),
    ],
)
def test_its_limit_ends_a_forked_test_and_no_other(pytester, mark, options):
    pytester.makepyfile(SLEEPS.format(mark=mark))

    result = pytester.runpytest_subprocess("--forked", *options, timeout=50)

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*Timeout*1*s*"])


def test_its_limit_ends_a_test_that_holds_the_gil(pytester):
    pytester.makepyfile(
        """
        import itertools, pytest

        @pytest.mark.timeout(1)
        def test_holds(): sum(itertools.repeat(0))
        def test_after(): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked", "--forked-grace=1", timeout=50)

    result.assert_outcomes(failed=1, passed=1)


def test_our_mark_wins_over_its_option(pytester):
    pytester.makepyfile(
        """
        import pytest, time

        @pytest.mark.forked(timeout=0)
        def test_takes_its_time(): time.sleep(1.5)
        """
    )

    result = pytester.runpytest_subprocess("--forked", "--timeout=1", timeout=50)

    result.assert_outcomes(passed=1)
