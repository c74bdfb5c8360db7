"""``--forked-jobs`` and what goes with it: bad values, and beside xdist."""

from __future__ import annotations

import importlib.util

import pytest
from comparing import forked

needs_xdist = pytest.mark.skipif(
    importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed"
)


@pytest.mark.parametrize(
    ("args", "start"),
    [
        (["--forked-jobs=0"], "--forked-jobs: '0' "),
        (["--forked-jobs=-1"], "--forked-jobs: '-1' "),
        (["--forked-jobs=many"], "--forked-jobs: 'many' "),
        (["-o", "forked_jobs=0"], "ini option forked_jobs: '0' "),
        (["-o", "forked_groups=gpu"], "ini option forked_groups: 'gpu' "),
        (["-o", "forked_groups=gpu = ²"], "ini option forked_groups: 'gpu = ²' "),
        (["-o", "forked_groups=gpu = 0"], "ini option forked_groups: 'gpu = 0' "),
    ],
)
def test_a_bad_value_is_a_usage_error_that_says_the_fix(pytester, args, start):
    pytester.makepyfile("def test_it(): pass")

    told = forked(pytester, *args)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines(f"ERROR: {start}*; write *")


@pytest.mark.parametrize("limit", ["3", "9" * 5000], ids=["another", "5000 digits"])
def test_a_limit_of_a_group_that_makes_no_sense_is_a_usage_error(pytester, limit):
    pytester.makepyfile("def test_it(): pass")
    pytester.makeini(f"[pytest]\nforked_groups =\n    gpu = 2\n    gpu = {limit}\n")

    told = forked(pytester)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines("ERROR: ini option forked_groups: 'gpu*; *")


@pytest.mark.parametrize(
    ("mark", "told_of"),
    [("group=3", "group=...): 3 is not "), ("exclusive='no'", "exclusive=...): 'no' is neither ")],
)
def test_a_mark_that_makes_no_sense_is_a_usage_error(pytester, mark, told_of):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.forked({mark})
        def test_it(): pass
        """
    )

    told = forked(pytester)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines(f"ERROR: *::test_it: forked({told_of}*; write *")


@needs_xdist
def test_jobs_on_the_command_line_do_not_go_with_n(pytester):
    pytester.makepyfile("def test_it(): pass")

    told = forked(pytester, "-p", "xdist", "-n2", "--forked-jobs=2")

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines("*--forked-jobs: not together with -n; leave one out*")


@needs_xdist
def test_the_ini_gives_way_to_n(pytester):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(n, forked_slot):
            assert os.environ["PYTEST_XDIST_WORKER"] == f"gw{forked_slot}"
        """
    )

    told = forked(pytester, "-p", "xdist", "-n2", "-o", "forked_jobs=2")

    told.result.assert_outcomes(passed=4)


@needs_xdist
@pytest.mark.parametrize(
    "workers",
    [
        ["--tx", "popen//id=db", "--tx", "popen//id=web", "--tx", "popen"],
        ["--tx", "popen//id=gw1", "--tx", "popen//id=host1", "--tx", "popen//id=1"],
        ["--tx", "popen//id=10.0.0.1", "--tx", "popen//id=b2", "--tx", "popen//id=3b"],
    ],
    ids=["names", "one digit", "other digits"],
)
def test_slots_are_distinct_whatever_the_workers_are_called(pytester, workers):
    pytester.makepyfile(
        """
        import noting, os, pytest

        @pytest.mark.parametrize("n", range(3))
        def test_it(n, forked_slot):
            noting.note("slot", os.environ["PYTEST_XDIST_WORKER"], forked_slot)
        """
    )

    told = forked(pytester, "-p", "xdist", "--dist=each", *workers)

    told.result.assert_outcomes(passed=9)
    slots = {worker: slot for _, worker, slot in told.noted("slot")}
    assert sorted(slots.values()) == ["0", "1", "2"]
