"""A suite that fills much memory: its children are forked from huge pages, and share what they read."""

from __future__ import annotations

import pytest
from comparing import forked

from pytest_procrastinate.process.huge_pages import collapse_memory


@pytest.mark.slow
@pytest.mark.parametrize(("tests", "is_huge"), [(99, False), (100, True)])
def test_many_tests_of_a_big_suite_are_forked_from_huge_pages(pytester, tests, is_huge):
    pytester.makeconftest(
        """
        import noting

        def pytest_forked_server_started():
            with open("/proc/self/smaps_rollup") as file:
                sizes = dict(row.split(":") for row in list(file)[1:])
            noting.note("huge", int(sizes["AnonHugePages"].split()[0]) >> 10)
        """
    )
    pytester.makepyfile(
        f"""
        import pytest

        ballast = [bytes([n % 251]) * 967 for n in range(100_000)]

        @pytest.mark.parametrize("number", range({tests}))
        def test_it(number):
            assert ballast[number * 1000] == bytes([number * 1000 % 251]) * 967
            ballast.clear()
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=tests)
    ((_, megabytes),) = told.noted("huge")
    assert (int(megabytes) > 60) is (is_huge and collapse_memory(0) > 0)
