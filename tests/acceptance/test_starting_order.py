"""Which test starts when, where several run at once: none waits for another without a reason."""

from __future__ import annotations

import json

import pytest
from comparing import assert_same, forked, plain
from test_jobs import MEETING, TWO


@pytest.mark.parametrize("marks", ["skip", "skipif('1 < 0')", "skipif(True, reason='so')"])
def test_a_test_that_may_be_skipped_waits_for_none_that_runs(pytester, marks):
    pytester.makepyfile(
        meeting=MEETING,
        test_it=f"""
        import pytest
        from meeting import meet

        def test_one(): meet(True)

        @pytest.mark.{marks}
        def test_skipped(): pass

        def test_other(): meet(False)
        """,
    )

    told = forked(pytester, *TWO)

    assert told.result.ret == 0  # else they have not met


def test_the_last_of_a_scope_is_skipped_after_all_that_use_it(pytester):
    pytester.makepyfile(
        test_it="""
        import noting, pytest

        class TestIt:
            @classmethod
            def setup_class(cls): noting.note("shared", "up")

            @classmethod
            def teardown_class(cls): noting.note("shared", "down")

            @pytest.mark.parametrize("n", range(3))
            def test_use(self, n):
                for _ in range(10_000_000):
                    pass
                noting.note("shared", "used")

            @pytest.mark.skip
            def test_skipped(self): pass

        def test_after(): pass
        """,
    )

    one, other = plain(pytester), forked(pytester, *TWO)

    assert_same(one, other)
    steps = [[note[1:] for note in told.noted("shared")] for told in (one, other)]
    assert steps[0] == steps[1]


def took(pytester, **seconds):
    """Have pytest's cache say that tests took so long in the last run."""
    folder = pytester.path / "cache-forked/v/forked"
    folder.mkdir(parents=True)
    durations = {f"test_it.py::{name}": value for name, value in seconds.items()}
    (folder / "durations").write_text(json.dumps(durations))


def test_a_test_that_took_long_starts_early_and_is_told_in_its_turn(pytester):
    took(pytester, test_long=5)
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import noting, pytest
        from meeting import meet

        def test_first(): meet(True)

        @pytest.mark.parametrize("n", range(8))
        def test_short(n): noting.note("began", "short")

        def test_long():
            meet(False)
            noting.note("began", "long")

        def test_last(): pass
        """,
    )

    told = forked(pytester, "-v", *TWO)

    told.result.stdout.re_match_lines_random([r".*test_long PASSED +\[ 90%\]"])
    assert told.result.ret == 0


def test_what_took_long_is_kept_for_the_next_run(pytester):
    pytester.makepyfile(
        test_it="""
        import time

        def test_short(): pass
        def test_long(): time.sleep(1)
        """
    )
    took(pytester, test_short=7, test_elsewhere=8)

    forked(pytester, *TWO)

    kept = json.loads((pytester.path / "cache-forked/v/forked/durations").read_text())
    assert sorted(kept) == ["test_it.py::test_elsewhere", "test_it.py::test_long"]
    assert kept["test_it.py::test_long"] >= 1


@pytest.mark.parametrize("written", ["{", "[1]", '{"test_it.py::test_one": "long"}'])
def test_durations_that_make_no_sense_are_none(pytester, written):
    took(pytester)
    (pytester.path / "cache-forked/v/forked/durations").write_text(written)
    pytester.makepyfile(test_it="def test_one(): pass")

    assert forked(pytester, *TWO).result.ret == 0


SHARED = """
import noting, pytest

@pytest.fixture(scope="session")
def shared():
    noting.note("step", "up")
    yield 1
    noting.note("step", "down")

def test_first(shared): pass

@pytest.mark.parametrize("n", range(6))
def test_short(shared, n): noting.note("step", "used")

def test_long(shared): assert not shared

def test_last(shared): pass
"""


@pytest.mark.parametrize("args", [[], ["-x"], ["--maxfail=2"]], ids=" ".join)
def test_what_starts_early_and_fails_ends_no_scope_and_no_run_before_its_turn(pytester, args):
    took(pytester, test_long=5)
    pytester.makepyfile(test_it=SHARED)

    one, other = plain(pytester, *args), forked(pytester, *args, *TWO)

    assert_same(one, other)
    steps = [[note[1:] for note in told.noted("step")] for told in (one, other)]
    assert steps[0] == steps[1]


def test_one_that_starts_early_and_crashes_is_told_in_its_turn(pytester):
    took(pytester, test_long=5)
    pytester.makepyfile(test_it=SHARED.replace("assert not shared", "__import__('os').abort()"))

    told = forked(pytester, "-x", *TWO)

    told.result.assert_outcomes(passed=7, failed=1)
    assert [note[1:] for note in told.noted("step")][-1] == ["down"]
    assert [note[1:] for note in told.noted("step")].count(["up"]) == 1


def test_a_test_that_waits_for_its_group_holds_up_no_other(pytester):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import pytest
        from meeting import meet

        def test_first(): pass

        @pytest.mark.forked(group="db")
        def test_uses_db(): meet(True)

        @pytest.mark.forked(group="db")
        @pytest.mark.parametrize("n", range(5))
        def test_waits(n): pass

        def test_other(): meet(False)

        def test_last(): pass
        """,
    )

    assert forked(pytester, *TWO).result.ret == 0


@pytest.mark.parametrize("fixture", ["module", "class", "function"])
def test_tests_of_scopes_that_end_keep_their_places(pytester, fixture):
    took(pytester, **{"TestA::test_2": 9, "TestB::test_2": 9, "TestB::test_3": 2})
    pytester.makepyfile(
        test_it=f"""
        import noting, pytest

        @pytest.fixture(scope={fixture!r}, params=["a", "b"])
        def shared(request):
            noting.note("shared", "up", request.param)
            yield
            noting.note("shared", "down", request.param)

        class Base:
            def test_1(self, shared): pass
            def test_2(self, shared): print("of test 2")
            def test_3(self, shared): pass
            def test_4(self): assert 0

        class TestA(Base): pass
        class TestB(Base): pass
        """
    )

    one, other = plain(pytester, "-rA"), forked(pytester, "-rA", *TWO)

    assert_same(one, other)
    if fixture != "function":
        steps = [[note[1:] for note in told.noted("shared")] for told in (one, other)]
        assert steps[0] == steps[1]
