"""A test that crashes is run again where pytest-rerunfailures or flaky would run it again."""

from __future__ import annotations

import pytest

CRASHES = """
import os, pathlib
import pytest

def crash_until(number):
    path = pathlib.Path("runs")
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    if len(path.read_text()) < number:
        os.abort()
"""


def test_a_crash_is_rerun_in_a_new_child_and_told_as_a_rerun(pytester):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        CRASHES
        + """
@pytest.mark.flaky(reruns=2)
def test_third_time():
    crash_until(3)

@pytest.mark.flaky(reruns=1)
def test_never():
    os.abort()

def test_bystander():
    pass
"""
    )

    result = pytester.runpytest_subprocess("--forked", "-rR", "-p", "no:flaky", timeout=60)

    result.stdout.fnmatch_lines(
        ["RERUN *test_third_time*", "PASSED *test_third_time*", "*1 failed, 2 passed, 3 rerun in *"]
    )
    result.stdout.no_fnmatch_line("*had a thread beside*")  # its thread, which holds no lock
    assert len((pytester.path / "runs").read_text()) == 3


@pytest.mark.parametrize("deed", ["os.abort()", "assert 0"])
def test_a_run_with_reruns_may_fail_for_them(pytester, deed):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        CRASHES.replace("os.abort()", deed)
        + """
def test_second_time():
    crash_until(2)
"""
    )

    result = pytester.runpytest_subprocess(
        *("--forked", "-p", "no:flaky", "--reruns=1", "--fail-on-flaky"), timeout=60
    )

    result.stdout.fnmatch_lines(["*1 passed, 1 rerun in *"])
    assert result.ret == 7


@pytest.mark.parametrize("deed", ["os.abort()", "assert 0", "pass"])
def test_subtests_count_of_the_last_run_only(pytester, deed):
    module = pytest.importorskip("pytest_rerunfailures")
    if not hasattr(module, "_remove_failed_subtest_reports_from_stats"):
        pytest.skip("before 16.6 it counts those of each run")
    pytester.makepyfile(
        CRASHES.replace("os.abort()", deed)
        + """
def test_second_time(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1 or pathlib.Path("runs").exists()
    crash_until(2)
"""
    )

    result = pytester.runpytest_subprocess(
        *("--forked", "-p", "no:flaky", "--reruns=1"), timeout=60
    )

    result.stdout.fnmatch_lines(["*= 1 passed, 1 rerun in *"])
    assert result.ret == 0


def test_flaky_runs_a_crashed_test_again_and_says_so(pytester):
    pytest.importorskip("flaky")
    pytester.makepyfile(
        CRASHES
        + """
from flaky import flaky

@flaky(max_runs=3)
def test_second_time():
    crash_until(2)

@flaky
def test_fails_once(tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "once"
    if not path.exists():
        path.touch()
        raise ValueError
"""
    )

    result = pytester.runpytest_subprocess("--forked", "-p", "no:rerunfailures", timeout=60)

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "test_second_time crashed (2 runs remaining out of 3).",
            "test_fails_once failed (1 runs remaining out of 2).",
        ]
    )


@pytest.mark.parametrize(
    "args",
    [[], ["--forked-jobs=2"], ["--forked-leaks=fail"], ["-s"], ["-x"]],
    ids=["one job", "two jobs", "leaks", "live", "stops"],
)
@pytest.mark.parametrize("teardown", ["pass", "assert 0, 'of the module'"], ids=["ends", "fails"])
def test_scopes_that_end_with_a_test_are_told_once_though_it_is_run_again(pytester, teardown, args):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="module")
        def module():
            yield
            print("torn down")
            {teardown}

        def test_before(module): pass
        def test_it(module): assert 0
        """
    )
    options = "-rA", "-p", "no:flaky", "-p", "no:randomly", "--reruns=2"
    plain = pytester.runpytest_subprocess(*options, "--no-forked", *args, timeout=60)

    result = pytester.runpytest_subprocess(*options, "--forked", *args, timeout=60)

    outcomes = plain.parseoutcomes()
    assert outcomes["rerun"] == 2
    assert result.parseoutcomes() == outcomes
    printed = [run.stdout.str().count("torn down") for run in (plain, result)]
    assert printed[0] == printed[1]
