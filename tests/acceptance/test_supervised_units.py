"""Timeouts, limits and leftovers of tests that share a child."""

from __future__ import annotations

import pytest
from comparing import forked


def test_each_test_of_a_unit_has_a_timeout_of_its_own(pytester):
    pytester.makepyfile(
        """
        import os, pytest, time

        @pytest.mark.parametrize("n", range(3))
        def test_hangs(n): time.sleep(60)
        def test_passes(): open("pid", "w").write(str(os.getpid()))
        def test_in_the_same_child(): assert open("pid").read() == str(os.getpid())
        @pytest.fixture(scope="module")
        def ends_late():
            yield
            time.sleep(60)
        def test_last(ends_late): pass
        """
    )

    told = forked(pytester, "--forked-scope=module", "--forked-timeout=1")

    told.result.assert_outcomes(failed=3, passed=3, errors=1)
    assert told.result.stdout.str().count("timeout of 1 s in call (--forked-timeout)") >= 3
    told.result.stdout.fnmatch_lines(["*timeout of 1 s in teardown (--forked-timeout)"])


@pytest.mark.parametrize(
    ("leaks", "outcomes", "line"),
    [
        ("kill", {"passed": 3}, "forked: ended 1 process left by 1 test *"),
        ("warn", {"passed": 3}, "forked: *::test_last left process * (sleep 60)"),
        ("fail", {"passed": 3, "errors": 1}, "left behind: process * (sleep 60) *"),
    ],
)
def test_what_a_unit_leaves_running_is_told_with_its_last_test(pytester, leaks, outcomes, line):
    pytester.makepyfile(
        """
        import subprocess

        def test_first(): pass
        def test_leaves(): subprocess.Popen(["sleep", "60"])
        def test_last(): pass
        """
    )

    told = forked(pytester, "--forked-scope=module", f"--forked-leaks={leaks}")

    told.result.assert_outcomes(**outcomes)
    told.result.stdout.fnmatch_lines([line])
    assert told.verdicts()["test_leaves"] == ["setup passed", "call passed", "teardown passed"]


@pytest.mark.parametrize(
    ("leaks", "outcomes", "line"),
    [
        ("kill", {"passed": 3}, "forked: ended 1 thread left by 1 test *"),
        ("warn", {"passed": 3}, "forked: *::test_last left thread 'test left it'"),
        ("fail", {"passed": 3, "errors": 1}, "left behind: thread 'test left it' *"),
    ],
)
def test_a_thread_that_a_unit_leaves_is_told_once_and_none_that_ends_with_it(
    pytester, leaks, outcomes, line
):
    pytester.makepyfile(
        """
        import pytest, threading

        @pytest.fixture(scope="module", autouse=True)
        def ends_with_its_module():
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, name="ends with its module")
            thread.start()
            with open("unit", "w"):
                yield
            stop.set()
            thread.join()

        def test_first(): pass
        def test_leaves(): threading.Thread(target=threading.Event().wait, name="test left it").start()
        def test_last(): pass
        """
    )

    told = forked(pytester, "--forked-scope=module", f"--forked-leaks={leaks}")

    told.result.assert_outcomes(**outcomes)
    told.result.stdout.fnmatch_lines([line])
    told.result.stdout.no_fnmatch_line("*ends with its module*")
    told.result.stdout.no_fnmatch_line("*left descriptor*")
    assert told.verdicts()["test_leaves"] == ["setup passed", "call passed", "teardown passed"]


def test_a_unit_whose_child_can_tell_no_more_goes_on_in_a_new_one(pytester):
    pytester.makepyfile(
        """
        import os

        def test_first(): pass
        def test_closes_all(): os.closerange(3, 65536)
        def test_next(): pass
        def test_last(): pass
        """
    )

    told = forked(pytester, "--forked-scope=module")

    verdicts = told.verdicts()
    assert list(verdicts) == ["test_first", "test_closes_all", "test_next", "test_last"]
    for name in ("test_first", "test_next", "test_last"):
        assert verdicts[name] == ["setup passed", "call passed", "teardown passed"]


def test_a_test_with_a_limit_of_its_own_has_a_child_of_its_own(pytester):
    pytester.makepyfile(
        """
        import pytest

        def test_first(): pass
        @pytest.mark.forked(memory_limit="64M")
        def test_limited(): bytearray(1 << 30)
        def test_last(): bytearray(1 << 30)
        """
    )

    told = forked(pytester, "--forked-scope=module")

    told.result.assert_outcomes(passed=2, failed=1)
    told.result.stdout.fnmatch_lines(["E *MemoryError"])


def test_a_child_may_go_on_for_longer_than_one_that_leaves(pytester):
    pytester.makeconftest(
        """
        from pytest_procrastinate.parent import supervisor

        supervisor.LEAVE_SECONDS = 0.0
        """
    )
    pytester.makepyfile(
        """
        import time

        def test_quick(): pass
        def test_slow(): time.sleep(1)
        def test_last(): pass
        """
    )

    told = forked(pytester, "--forked-scope=module")

    told.result.assert_outcomes(passed=3)


SESSION_TIMEOUT = ("--forked-session-timeout=5", "--forked-grace=1")


@pytest.mark.slow
def test_the_session_timeout_ends_a_unit_with_all_that_it_has_left(pytester):
    pytester.makepyfile(
        """
        import time

        def test_hangs(): time.sleep(60)
        def test_hangs_too(): time.sleep(60)
        """
    )

    told = forked(pytester, "--forked-scope=module", *SESSION_TIMEOUT)

    assert told.result.stdout.str().count("TestTimeout: timeout of 5 s in ") >= 2
    told.result.stdout.fnmatch_lines(["!!*--forked-session-timeout: 5 s are over*"])


@pytest.mark.slow
def test_the_session_timeout_ends_scopes_that_are_left_after_it(pytester):
    pytester.makepyfile(
        test_a="import time\ndef test_hangs(): time.sleep(60)",
        test_b="""
        import pytest, time

        @pytest.fixture(scope="module")
        def ends_late():
            yield
            time.sleep(60)
        def test_waits_for_those_before(ends_late): assert 0
        """,
    )

    told = forked(pytester, "--forked-jobs=2", *SESSION_TIMEOUT)

    told.result.assert_outcomes(failed=2, errors=1)
    told.result.stdout.fnmatch_lines(
        [
            "*timeout of 5 s in teardown (--forked-session-timeout)",
            "!!*--forked-session-timeout: 5 s are over*",
        ]
    )
