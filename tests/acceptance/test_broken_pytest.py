"""A test that breaks pytest itself, in its own process: it fails alone; what a hook raises ends the run."""

from __future__ import annotations

import pytest
from comparing import TIMEOUT_SECONDS

BREAKS = """
import _pytest.reports, _pytest.runner, os, pytest

@pytest.fixture
def resource():
    yield
    open("torn-down", "a").close()

def test_before(): pass

def test_runner(resource):
    _pytest.runner.call_and_report = None

def test_reports():
    _pytest.reports.TestReport.from_item_and_call = None

def stand_in(*args, **kwargs):
    raise OSError("not today")

@pytest.fixture
def broken():
    _pytest.runner.CallInfo.from_call = stand_in

def test_set_up(broken): pass

def test_after(): pass
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_test_that_breaks_pytest_in_its_process_fails_alone(pytester, jobs):
    pytester.makepyfile(BREAKS)

    result = pytester.runpytest_subprocess(
        "--forked", f"--forked-jobs={jobs}", timeout=TIMEOUT_SECONDS
    )

    result.assert_outcomes(passed=3, failed=2, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (pytester.path / "torn-down").exists()
    broken = "pytest itself failed in the test's process: "
    result.stdout.fnmatch_lines(
        [
            f"{broken}TypeError: 'NoneType' object is not callable, at *.py:10",
            "*in runtestprotocol",
            f"{broken}TypeError: 'NoneType' object is not callable, at *.py:*",
            f"{broken}OSError: not today, at *.py:*",
        ],
    )


@pytest.mark.parametrize(
    "hook",
    [
        "def pytest_runtest_makereport(item): raise OSError('not today')",
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(item):
            yield
            item.config.getoption("not-today")
        """,
    ],
    ids=["raises itself", "what it calls raises"],
)
def test_what_a_hook_raises_ends_the_run_as_plainly(pytester, hook):
    pytester.makeconftest(hook)
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    for option in ("--no-forked", "--forked"):
        result = pytester.runpytest_subprocess(option, timeout=TIMEOUT_SECONDS)

        assert result.ret == pytest.ExitCode.INTERNAL_ERROR
        result.stdout.fnmatch_lines(["INTERNALERROR> *not?today*"])
