"""What a test leaves running: ended, laid to the right test, and told as asked."""

from __future__ import annotations

import functools
import resource

import pytest
from leaving import run_leaving

SUITE = """
import os, pathlib, subprocess, threading, time

def note(pid):
    pathlib.Path(f"pid-{pid}").touch()

def test_clean(): pass

def test_process():
    note(subprocess.Popen(["sleep", "60"]).pid)

def test_daemon():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, b"%d" % os.getpid())
            os.closerange(0, write)
            os.closerange(write + 1, 1000)
            os.execve("/bin/sleep", ["sleep", "61"], {})  # that closes the pipe
        os._exit(0)
    os.wait()
    os.close(write)
    note(int(open(read).read()))

def test_thread():
    threading.Thread(target=time.sleep, args=(60,), name="mine").start()

def test_descriptor():
    os.open("/dev/null", os.O_RDONLY)
"""


@pytest.fixture
def run(pytester):
    return functools.partial(run_leaving, pytester, source=SUITE)


def test_by_default_it_is_ended_with_one_line(run):
    result, left = run()

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["forked: ended 2 processes and 1 thread left by 3 tests*"])
    assert left == []


def test_warn_names_each(run):
    result, left = run("--forked-leaks=warn")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "forked: test_it.py::test_process left process * (sleep 60)",
            "forked: test_it.py::test_daemon left process * (sleep 61)",
            "forked: test_it.py::test_thread left thread 'mine'",
            "forked: test_it.py::test_descriptor left descriptor * (/dev/null)",
        ]
    )
    assert left == []


def test_fail_fails_the_teardown_of_the_test_that_left_it(run):
    result, left = run("--forked-leaks=fail")

    result.assert_outcomes(passed=5, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_process*",
            "left behind: process * (sleep 60) (--forked-leaks=fail)",
            "*ERROR at teardown of test_daemon*",
            "left behind: *process * (sleep 61) (--forked-leaks=fail)",
            "*ERROR at teardown of test_thread*",
            "left behind: thread 'mine' (--forked-leaks=fail)",
        ]
    )
    assert left == []


def test_off_touches_nothing(run):
    result, left = run("--forked-leaks=off")

    result.assert_outcomes(passed=5)
    result.stdout.no_fnmatch_line("forked: *")
    assert len(left) == 2


def test_a_mark_wins(run):
    result, left = run(
        source="""
        import pathlib, pytest, subprocess

        @pytest.mark.forked(leaks="off")
        def test_it():
            pid = subprocess.Popen(["sleep", "60"]).pid
            pathlib.Path(f"pid-{pid}").touch()
        """
    )

    result.assert_outcomes(passed=1)
    assert len(left) == 1


def test_what_a_shared_fixture_or_a_conftest_starts_is_no_leftover(run, pytester):
    pytester.makeconftest(
        """
        import pytest, subprocess

        started = []

        def pytest_runtest_logreport(report):
            if report.when == "call":
                started.append(subprocess.Popen(["sleep", "62"]))

        def pytest_sessionfinish():
            assert [each.poll() for each in started] == [None, None]
            for each in started:
                each.kill()
                assert each.wait() == -9

        @pytest.fixture(scope="session")
        def server():
            process = subprocess.Popen(["sleep", "63"])
            yield process
            assert process.poll() is None
            process.kill()
            process.wait()
        """
    )
    result, _ = run(
        "--forked-fixtures=shared",
        source="""
        import os

        def test_one(server): os.kill(server.pid, 0)
        def test_two(server): os.kill(server.pid, 0)
        """,
    )

    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("forked: *")


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_what_standard_descriptors_lead_to_is_no_leftover(run, capture):
    """A test for which a shared fixture is set up begins while pytest captures."""
    result, _ = run(
        "--forked-leaks=fail",
        f"--capture={capture}",
        source="""
        import pytest

        @pytest.fixture(scope="session")
        def shared(): return []

        def test_first(): pass
        def test_sets_up(shared): pass
        def test_has_it(shared): pass
        """,
    )

    result.assert_outcomes(passed=3)


def test_what_a_test_leaves_in_the_group_of_pytest_is_its_leftover(run):
    result, left = run(
        "--forked-leaks=warn",
        source="""
        import os, pathlib, subprocess

        def parent_of(pid):
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        def test_it():
            os.setpgid(0, os.getpgid(parent_of(os.getppid())))
            process = subprocess.Popen(["sleep", "60"])
            pathlib.Path(f"pid-{process.pid}").touch()
        """,
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["forked: test_it.py::test_it left process * (sleep 60)"])
    assert left == []


def test_of_tests_that_run_together_the_one_that_started_it_left_a_daemon(run):
    result, left = run(
        "--forked-leaks=warn",
        "--forked-jobs=2",
        source="""
        import os, pathlib, pytest, subprocess, time

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(number):
            options = {"start_new_session": True, "close_fds": True}
            process = subprocess.Popen(["sleep", f"6{number}"], **options)
            pathlib.Path(f"pid-{process.pid}").touch()
            while len(list(pathlib.Path().glob("pid-*"))) < 2:
                time.sleep(0.01)
        """,
    )

    result.assert_outcomes(passed=2)
    for number in "12":
        told = f"forked: test_it.py::test_it?{number}? left process * (sleep 6{number})"
        result.stdout.fnmatch_lines([told])
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("chain", [3, 10000])
def test_a_process_that_forks_and_ends_again_and_again_is_ended_as_the_run_ends(run, chain):
    result, left = run(
        source=f"""
        import os, pathlib, time

        def test_it():
            if os.fork():
                return
            for number in range({chain}):
                os.setsid()
                if os.fork():
                    os._exit(0)
                pathlib.Path("pid-%d" % os.getpid()).touch()
                time.sleep(0.02)
            time.sleep(60)
        """,
    )

    result.assert_outcomes(passed=1)
    assert left == []


def test_many_threads_that_are_left_take_no_longer_than_one(run):
    source = """
        import threading

        def test_leaves_many():
            for _ in range(200):
                threading.Thread(target=threading.Event().wait).start()
        """

    result, _ = run("--forked-timeout=15", source=source)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["forked: ended 200 threads left by 1 test*"])


def test_more_processes_than_pytest_may_have_descriptors_are_ended(run):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        result, left = run(
            source="""
            import pathlib, subprocess

            def test_leaves():
                for _ in range(70):
                    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
                    pathlib.Path(f"pid-{process.pid}").touch()

            def test_another(): pass
            """,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["forked: ended 70 processes left by 1 test *"])
    assert left == []
