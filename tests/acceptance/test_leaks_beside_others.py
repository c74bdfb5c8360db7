"""What a test leaves, and what hooks and plain items start in the pytest process: told apart."""

from __future__ import annotations

import functools

import pytest
from leaving import run_leaving


@pytest.fixture
def run(pytester):
    return functools.partial(run_leaving, pytester)


@pytest.mark.parametrize("in_own_session", [False, True])
def test_what_appears_while_somebodys_hook_is_called_is_a_leftover(run, pytester, in_own_session):
    """It names no test in its environment: as one that is just being executed, or is given none."""
    pytester.makeconftest(
        """
        import os, pathlib

        def parent_of(pid):
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        def pytest_runtest_logreport(report):
            if report.when == "teardown" and "leaves" in report.nodeid:
                (path,) = pathlib.Path().glob("pid-*")
                while parent_of(path.name[4:]) != os.getpid():
                    pass  # the test's child has not ended yet
        """
    )
    result, left = run(
        source=f"""
        import os, pathlib, subprocess, time

        def test_leaves():
            process = subprocess.Popen(
                ["sleep", "60"], env={{}}, start_new_session={in_own_session}
            )
            pathlib.Path(f"pid-{{process.pid}}").touch()
            # The kernel tells when a process began in whole ticks.
            began, tick = time.monotonic(), 1 / os.sysconf("SC_CLK_TCK")
            while time.monotonic() < began + 3 * tick:
                pass

        def test_another(): pass
        """,
    )

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["forked: ended 1 process left by 1 test *"])
    assert left == []


def test_what_a_leftover_forks_while_somebodys_hook_is_called_is_one_too(run, pytester):
    pytester.makeconftest(
        """
        import os, pathlib

        def parent_of(path):
            stat = pathlib.Path("/proc", path.name[4:], "stat").read_text()
            return int(stat.rpartition(")")[2].split()[1])

        def pytest_runtest_logreport(report):
            if report.when == "teardown" and "leaves" in report.nodeid:
                pathlib.Path("called").touch()
                while [parent_of(path) for path in pathlib.Path().glob("pid-*")] != [os.getpid()]:
                    pass
        """
    )
    result, left = run(
        source="""
        import os, pathlib, time

        def test_leaves():
            if os.fork() == 0:
                os.setsid()
                while not os.path.exists("called"):
                    pass
                if os.fork() == 0:
                    os.setsid()
                    pathlib.Path(f"pid-{os.getpid()}").touch()
                    time.sleep(60)
                os._exit(0)

        def test_another(): pass
        """,
    )

    result.assert_outcomes(passed=2)
    assert left == []


def test_what_a_hook_starts_as_it_is_told_of_a_death_is_no_leftover(run, pytester):
    pytester.makeconftest(
        """
        import pathlib, subprocess

        def pytest_runtest_logreport(report):
            if report.failed:
                process = subprocess.Popen(["sleep", "60"], start_new_session=True)
                pathlib.Path(f"pid-{process.pid}").touch()
        """
    )
    result, left = run(
        source="""
        import os, subprocess

        def test_dies(): os.abort()

        def test_leaves(): subprocess.Popen(["sleep", "60"])
        """,
    )

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["forked: ended 1 process left by 1 test *"])
    assert len(left) == 1


@pytest.mark.parametrize("options", [[], ["-n1"]])
def test_what_a_plain_item_starts_is_no_leftover(run, options):
    """Its processes have nothing in common with those of pytest: neither group nor session."""
    result, left = run(
        *options,
        source="""
        import os, pathlib, pytest, subprocess

        def start(*command):
            process = subprocess.Popen(command, start_new_session=True)
            pathlib.Path(f"pid-{process.pid}").touch()
            return process

        @pytest.mark.forked(False)
        def test_plain(): start("sleep", "60")

        def test_forked(): pass

        @pytest.mark.forked(False)
        def test_plain_again():
            global ends
            ends = start("sh", "-c", "exit 3")

        def test_forked_again(): start("sleep", "61")

        @pytest.mark.forked(False)
        def test_status(): assert ends.wait() == 3
        """,
    )

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["forked: ended 1 process left by 1 test *"])
    assert len(left) == 1


def test_where_it_cannot_be_told_which_test_left_something_none_are_counted(run):
    """Daemons that two tests fork at the same time name neither."""
    result, left = run(
        "--forked-jobs=2",
        source="""
        import os, pathlib, pytest, time

        @pytest.mark.parametrize("number", [0, 1])
        def test_leaves(number):
            pathlib.Path(f"ready-{number}").touch()
            wait_for_two("ready-*")
            if os.fork() == 0:
                os.setsid()
                pathlib.Path(f"pid-{os.getpid()}").touch()
                time.sleep(60)
            wait_for_two("pid-*")

        def wait_for_two(pattern):
            while len(list(pathlib.Path().glob(pattern))) < 2:
                pass
        """,
    )

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["forked: ended 2 processes left by tests (*"])
    assert left == []
