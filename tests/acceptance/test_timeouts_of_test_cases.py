"""A unittest test case that has had its time: unittest catches the exception, and what comes of it."""

from __future__ import annotations

import pytest
from comparing import TIMEOUT_SECONDS


@pytest.mark.parametrize("skip", ["self.skipTest('no')", "pytest.skip('no')", "pytest.xfail('no')"])
def test_one_that_catches_the_exception_and_skips_fails(pytester, skip):
    pytester.makepyfile(
        f"""
        import time, unittest, pytest

        class TestIt(unittest.TestCase):
            def test_victim(self):
                try:
                    time.sleep(60)
                except BaseException:
                    {skip}

            @unittest.expectedFailure
            def test_expected(self):
                time.sleep(60)
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", "--forked-timeout=500ms", "--forked-grace=5", timeout=TIMEOUT_SECONDS
    )

    result.assert_outcomes(failed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*timeout of 0.5 s in call *; the test caught the exception*"])
