"""Units of ``--forked-scope`` whose tests differ: in what they run beside, in what is skipped or crashes."""

from __future__ import annotations

import pytest
from comparing import forked


@pytest.mark.parametrize("args", [[], ["--forked-jobs=3"]], ids=["one job", "three jobs"])
def test_a_test_of_a_unit_runs_beside_what_its_own_mark_says(pytester, args):
    pytester.makepyfile(
        """
        import fcntl, noting, pytest, time

        def hold(name, how):
            with open(name, "w") as file:
                fcntl.flock(file, how | fcntl.LOCK_NB)  # BlockingIOError: somebody else is here
                time.sleep(0.05)  # long enough to be met, if anybody may

        @pytest.fixture(autouse=True)
        def told(request):
            noting.note("test", request.node.nodeid)

        @pytest.mark.parametrize("n", range(3))
        class TestUnit:
            def test_first(self, n): hold("all", fcntl.LOCK_SH)

            @pytest.mark.forked(exclusive=True)
            def test_alone(self, n): hold("all", fcntl.LOCK_EX)

            @pytest.mark.forked(group="db")
            def test_db(self, n): hold("db", fcntl.LOCK_EX)

        @pytest.mark.forked(group="db")
        class TestOther:
            def test_one(self): hold("db", fcntl.LOCK_EX)
            def test_two(self): hold("db", fcntl.LOCK_EX)

        @pytest.mark.parametrize("n", range(3))
        def test_beside(n): hold("all", fcntl.LOCK_SH)
        """
    )

    told = forked(pytester, "--forked-scope=class", *args)

    told.result.assert_outcomes(passed=14)
    children = {nodeid.partition("::")[2]: pid for pid, nodeid in told.noted("test")}
    assert children["TestOther::test_one"] == children["TestOther::test_two"]
    assert children["TestUnit::test_first[0]"] != children["TestUnit::test_alone[0]"]


@pytest.mark.parametrize("args", [[], ["--forked-jobs=2"]], ids=["one job", "two jobs"])
def test_a_fixture_that_crashes_is_an_error_for_each_test_of_a_unit_that_needs_it(pytester, args):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.fixture(scope="module")
        def crashes(): os.abort()

        def test_first(crashes): pass

        class TestUnit:
            def test_one(self, crashes): pass
            def test_two(self, crashes): pass
            def test_without(self): pass
            def test_three(self, crashes): pass

        def test_last(): pass
        """
    )

    told = forked(pytester, "--forked-scope=class", *args)

    told.result.assert_outcomes(errors=4, passed=2)
    assert told.status == pytest.ExitCode.TESTS_FAILED
