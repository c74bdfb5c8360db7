"""A shared fixture that asks, as it is set up, for one that each child sets up afresh."""

from __future__ import annotations


def test_a_class_s_fixture_may_ask_for_a_session_s_that_opens_a_file(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def opened(tmp_path_factory):
            with open(tmp_path_factory.mktemp("opened") / "file", "w") as file:
                yield file

        def test_first(opened):
            pass

        @pytest.fixture(scope="class")
        def wide(request):
            file = request.getfixturevalue("opened")
            with open(file.name):
                yield file

        class TestClass:
            def test_one(self, wide):
                assert not wide.closed

            def test_two(self, wide):
                assert not wide.closed
        """
    )

    result = pytester.runpytest_subprocess("--forked", timeout=60)

    result.assert_outcomes(passed=3)
