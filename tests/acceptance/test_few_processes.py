"""Little room for processes: a fork is refused (EAGAIN), and what becomes of the tests."""

from __future__ import annotations

import pytest

TESTS = 12

FEW_PROCESSES = """
import errno, os

fork = os.fork

def fork_if_there_is_room():
    with open(f"/proc/self/task/{{os.getpid()}}/children") as file:
        if len(file.read().split()) >= (1 if os.getpid() == PYTEST else {limit}):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

PYTEST = os.getpid()
os.fork = fork_if_there_is_room
"""


@pytest.mark.parametrize(
    ("args", "limit"),
    [
        (["--forked-jobs=1"], 1),
        (["--forked-jobs=4"], 1),
        (["--forked-jobs=4"], 2),
        (["--forked-scope=class"], 1),
    ],
)
def test_where_only_some_can_be_forked_the_others_wait_for_these_to_end(pytester, args, limit):
    pytester.makeconftest(FEW_PROCESSES.format(limit=limit))
    pytester.makepyfile(
        f"""
        import os, pytest

        @pytest.fixture(scope="module")
        def of_module(): return []

        @pytest.fixture(scope="class")
        def of_class(of_module): return []

        class TestOne:
            @pytest.mark.parametrize("i", range({TESTS}))
            def test_it(self, i): pass

            def test_crash(self): os.abort()

            def test_last(self): pass

        class TestTwo:
            def test_it(self, of_class): pass

            def test_other(self, of_module): os.abort()

            def test_last(self, of_class): pass
        """
    )

    result = pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", *args)

    result.assert_outcomes(passed=TESTS + 3, failed=2)
    result.stdout.fnmatch_lines(["crashed with SIGABRT*"] * 2)


@pytest.mark.parametrize(
    "args",
    [["--forked-jobs=1"], ["--forked-jobs=2"], ["--forked-jobs=8"], ["--forked-scope=class"]],
)
def test_where_none_can_be_forked_each_test_says_so(pytester, args):
    pytester.makeconftest(FEW_PROCESSES.format(limit=0))
    pytester.makepyfile("".join(f"def test_{number}(): pass\n" for number in range(5)))

    result = pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", *args)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["no child could be forked: *Resource temporarily unavailable*", "*5 errors in *"]
    )


@pytest.mark.parametrize("jobs", ["1", "2", "3", "8"])
def test_where_room_is_left_for_fork_servers_only_each_test_says_so(pytester, jobs):
    """One that waits for its turn to be begun, in a class, makes no room for others."""
    pytester.makeconftest(FEW_PROCESSES.format(limit="1 if os.getppid() == PYTEST else 0"))
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def of_session(): yield

        @pytest.fixture(scope="module")
        def of_module(of_session): yield

        @pytest.fixture(scope="class")
        def of_class(): yield

        def test_before(of_module): pass

        class TestClass:
            def test_it(self, of_class): pass

        def test_after(of_module): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked", f"--forked-jobs={jobs}", timeout=60)

    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["no child could be forked: *Resource temporarily unavail*"] * 3)
