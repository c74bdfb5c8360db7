"""Suites of much memory, which children share in huge pages, and of many tests, which share code."""

from __future__ import annotations

import pytest
from comparing import assert_same, forked, plain

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


@pytest.mark.parametrize("args", [[], ["--forked-jobs=2"], ["--forked-scope=class"]], ids=str)
def test_the_last_tests_of_a_long_suite_are_told_as_the_first(pytester, args):
    pytester.makepyfile(
        """
        import logging, pytest, unittest, warnings

        @pytest.fixture(scope="module")
        def shared(): return 7

        @pytest.mark.parametrize("number", range(60))
        def test_it(number, shared, tmp_path, monkeypatch, capsys):
            print("out", number)
            logging.error("log %s", number)
            warnings.warn(f"warned {number}")
            assert shared == 7
            assert number % 10, capsys.readouterr()

        class TestIt(unittest.TestCase):
            def test_a(self): self.assertEqual(1, 2)
            def test_b(self): self.skipTest("b")
        """
    )
    told = forked(pytester, *args)

    assert_same(plain(pytester), told)


@pytest.mark.parametrize("args", [[], ["--forked-jobs=2"], ["--forked-fixtures=fresh"]], ids=str)
@pytest.mark.parametrize("what", ["fails", "is expected to fail", "passes"])
def test_modules_are_looked_up_once_for_the_tracebacks_of_all_children(pytester, args, what):
    pytester.makepyfile(
        f"""
        import inspect, pytest

        @pytest.fixture(scope="class")
        def shared(): pass

        @pytest.mark.usefixtures("shared")
        class TestIt:
            @pytest.mark.forked(exclusive=True)
            def test_first(self, request):
                if {what!r} == "is expected to fail":
                    request.applymarker(pytest.mark.xfail)
                assert {what!r} == "passes"

            @pytest.mark.parametrize("number", range(20))
            def test_others(self, number):
                print("looked up" if inspect.modulesbyfile else "not looked up")
        """
    )

    result = pytester.runpytest_subprocess("--forked", "-rP", *args, timeout=60)

    printed = [line for line in result.outlines if line.endswith("looked up")]
    assert len(printed) == 20
    assert printed[-1] == ("not looked up" if what == "passes" else "looked up")
