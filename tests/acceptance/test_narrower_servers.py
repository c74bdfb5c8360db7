"""Tests below a module's or class's shared fixtures: another server forks them; all else is as ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from comparing import compare

TIMEOUT_SECONDS = 60  # it only ends a hang
OPTIONS = ("-p", "no:cacheprovider", "--forked")

SUITE = """
import os, pytest, signal, time, unittest

@pytest.fixture(scope="session")
def broad(): return []

@pytest.fixture(scope="module")
def narrow(broad): return []

@pytest.fixture(scope="class")
def narrowest(narrow): return []

def endless():
    open("begun", "w").close()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def test_first(broad): pass
"""
BELOW = {
    "module": "def test_victim(narrow): {deed}",
    "class": "class TestIt:\n    def test_victim(self, narrowest): {deed}",
    "unittest": "class TestIt(unittest.TestCase):\n    def test_victim(self): {deed}",
}


@pytest.mark.slow
@pytest.mark.parametrize("below", BELOW)
@pytest.mark.parametrize(
    ("deed", "line"),
    [
        ("time.sleep(60)", "*timeout of 2 s in call*"),
        ("endless()", "*ran into its timeout of 2 s (*was killed by SIGTERM) in call*"),
    ],
)
def test_a_test_that_hangs_is_ended(pytester, below, deed, line):
    source = SUITE + BELOW[below].format(deed=deed) + "\ndef test_last(narrow): pass\n"
    pytester.makepyfile(source)
    limits = "--forked-timeout=2s", "--forked-grace=1s"

    result = pytester.runpytest_subprocess(*OPTIONS, *limits, timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*pytest_procrastinate*")


@pytest.mark.parametrize("below", BELOW)
def test_a_second_ctrl_c_ends_all_at_once(pytester, below):
    pytester.makepyfile(test_it=SUITE + BELOW[below].format(deed="endless()"))
    begun = pytester.path / "begun"
    os.mkfifo(begun)
    pytest_process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *OPTIONS], stdout=subprocess.PIPE, text=True
    )
    begun.open().close()  # until the test opens it, too
    pytest_process.send_signal(signal.SIGINT)
    pytest_process.send_signal(signal.SIGINT)

    output, _ = pytest_process.communicate(timeout=TIMEOUT_SECONDS)

    assert pytest_process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output


def test_what_a_stopped_test_may_take_is_bounded_too(pytester):
    deed = "os.kill(os.getpid(), signal.SIGSTOP)"
    pytester.makepyfile(SUITE + BELOW["module"].format(deed=deed))

    result = pytester.runpytest_subprocess(*OPTIONS, timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*was stopped and did not go on (*SIGKILL*) in call*"])


@pytest.mark.parametrize("deed", ["pytest.exit('now')", "raise KeyboardInterrupt"])
def test_what_a_narrower_server_tears_down_as_the_run_ends_is_told_where_tests_are_shown_at_once(
    pytester, deed
):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def broad(): yield

        @pytest.fixture(scope="module")
        def module(): yield

        @pytest.fixture(scope="module")
        def ends(module): {deed}

        def test_one(broad): pass
        def test_two(broad, ends): pass
        """
    )

    _, other = compare(pytester, "--setup-show")

    other.result.stdout.fnmatch_lines(["*TEARDOWN M module*"])


def test_a_server_that_a_test_stops_goes_on(pytester):
    stop = "os.kill(os.getppid(), signal.SIGSTOP)"
    pytester.makepyfile(
        SUITE
        + f"""
def test_stops_it(narrow): {stop}
def test_needs_it(narrow): pass
def test_stops_it_before_it_leaves(narrow): {stop}
"""
    )

    result = pytester.runpytest_subprocess(*OPTIONS, timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(passed=4)


def test_a_server_that_is_stopped_before_it_has_told_of_its_child_goes_on(pytester):
    pytester.makepyfile(
        """
        import os, pytest, signal

        stops = []

        def stop():
            while stops and not os.path.exists("ran"):
                pass
            if stops:
                os.kill(os.getpid(), stops.pop())

        os.register_at_fork(after_in_parent=stop, after_in_child=stops.clear)

        @pytest.fixture(scope="session")
        def broad(): return []

        @pytest.fixture(scope="module")
        def narrow(broad): stops.append(signal.SIGSTOP)

        def test_first(broad): pass
        def test_it(narrow): open("ran", "w").close()
        def test_last(narrow): pass
        """
    )

    result = pytester.runpytest_subprocess(*OPTIONS, timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(passed=3)
