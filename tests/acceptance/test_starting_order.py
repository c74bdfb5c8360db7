"""Which test starts when, where several run at once: none waits for another without a reason."""

from __future__ import annotations

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
