"""Tests of hypothesis find ready what the first of them makes ready; else they are as plainly."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")


def run(pytester, *options):
    return pytester.runpytest_subprocess(
        "--forked", "-p", "no:cacheprovider", *options, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--forked-jobs=2"]], ids=str)
def test_what_hypothesis_makes_ready_is_made_once_for_all_children(pytester, options):
    pytester.makeconftest(
        """
        import os, sys

        def pytest_collection_finish():
            def note(event, arguments):
                if event == "open" and str(arguments[0]).endswith("charmap.json.gz"):
                    with open("readers", "a") as file:
                        print(os.getpid(), file=file)

            sys.addaudithook(note)
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from hypothesis import given, settings, strategies as st

        @pytest.fixture(scope="module")
        def shared(): pass

        @pytest.mark.usefixtures("shared")
        @pytest.mark.parametrize("each", range(6))
        @settings(database=None, deadline=None)
        @given(number=st.integers(), text=st.text())
        def test_it(each, number, text): pass
        """
    )

    result = run(pytester, *options)

    result.assert_outcomes(passed=6)
    readers = pytester.path / "readers"
    assert len(set(readers.read_text().split())) == 1


def test_what_is_made_ready_is_not_seen(pytester):
    pytester.makepyfile(
        """
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=3, deadline=None)
        @given(st.integers())
        def test_it(number): pass
        """
    )

    result = run(pytester, "--hypothesis-verbosity=debug", "--hypothesis-show-statistics", "-s")

    result.assert_outcomes(passed=1)
    assert "test_it" in result.stdout.str()
    assert "test_of_nothing" not in result.stdout.str() + result.stderr.str()


def test_tests_draw_examples_of_their_own(pytester):
    pytester.makepyfile(
        """
        import pytest
        from hypothesis import given, settings, strategies as st

        @pytest.mark.parametrize("each", range(3))
        def test_it(each):
            drawn = []

            @settings(database=None, deadline=None, max_examples=20, derandomize=False)
            @given(st.integers(0, 1 << 62))
            def draw(number): drawn.append(number)

            draw()
            print("drawn", *drawn)

        @given(st.integers())
        def test_that_has_it_made_ready(number): pass
        """
    )

    result = run(pytester, "-rP")

    drawn = [line for line in result.outlines if line.startswith("drawn")]
    assert len(set(drawn)) == 3


def test_no_child_of_a_run_without_such_tests_finds_anything_made_ready(pytester):
    pytester.makepyfile(
        """
        import hypothesis
        from hypothesis.internal import charmap

        def test_it():
            assert charmap._charmap is None

        @hypothesis.given(hypothesis.strategies.integers())
        def not_collected(number): pass
        """
    )

    run(pytester).assert_outcomes(passed=1)
