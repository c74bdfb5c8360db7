"""A shared fixture that asks, as it is set up, for one that each child sets up afresh."""

from __future__ import annotations

from comparing import compare


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


def test_an_override_may_ask_through_others_for_what_it_overrides(pytester):
    pytester.makeconftest(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def value():
            noting.note("up", "session")
            yield 1
            noting.note("down", "session")
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def through(value): return value + 1

        @pytest.fixture
        def value(through): return through + 1

        def test_one(value): assert value == 3
        def test_two(value): assert value == 3
        """
    )

    _, told = compare(pytester)

    assert [words for _, *words in told.noted("up")] == [["session"]]
    assert [words for _, *words in told.noted("down")] == [["session"]]


def test_fixtures_in_many_layers_are_looked_through_at_once(pytester):
    """Each of 16 layers has 3 fixtures that ask for all below: 43 million ways lead down."""
    layers = [f"f{layer}_{n}" for layer in range(16) for n in range(3)]
    source = "import pytest\n"
    for number, name in enumerate(layers):
        below = ", ".join(layers[number // 3 * 3 - 3 : number // 3 * 3]) if number > 2 else ""
        source += f"@pytest.fixture(scope='session')\ndef {name}({below}): return 1\n"
    pytester.makepyfile(source + "def test_it(f15_0, f15_1, f15_2): pass\n")

    result = pytester.runpytest_subprocess("--forked", timeout=60)

    result.assert_outcomes(passed=1)


def test_what_only_an_overridden_fixture_asks_for_is_shared(pytester):
    """Pytest 8 does not list it among the fixtures of a test."""
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(scope="module")
        def deepest():
            noting.note("up", "deepest")
            yield 1
            noting.note("down", "deepest")

        @pytest.fixture(scope="class")
        def deep(deepest):
            noting.note("up", "deep")
            yield deepest + 1
            noting.note("down", "deep")

        @pytest.fixture
        def value(deep): return deep + 1

        class TestClass:
            @pytest.fixture
            def value(self, value): return value + 1

            def test_one(self, value): assert value == 4
            def test_two(self, value): assert value == 4

        def test_three(deepest): pass
        """
    )

    _, told = compare(pytester)

    assert [words for _, *words in told.noted("up")] == [["deepest"], ["deep"]]
    assert [words for _, *words in told.noted("down")] == [["deep"], ["deepest"]]


def test_what_comes_after_a_shared_fixture_that_fails_is_not_set_up(pytester):
    """Nor where the item's own class begins before them: then they are set up ahead of it."""
    pytester.makeconftest(
        """
        import noting, pytest

        def pytest_pycollect_makeitem(collector, name, obj):
            if name.startswith("test_own"):
                return Own.from_parent(collector, name=name, callobj=obj)

        class Own(pytest.Function):
            def setup(self):
                noting.note("set up", self.name)
                super().setup()

        @pytest.fixture(scope="session")
        def first():
            noting.note("first")
            pytest.skip("first")

        @pytest.fixture(scope="module")
        def second():
            noting.note("second")
        """
    )
    pytester.makepyfile(
        """
        def test_own(first, second): pass
        def test_own_again(first, second): pass
        """
    )

    one, other = compare(pytester)

    assert len(one.noted("first")) == len(other.noted("first")) == 1
    assert one.noted("second") == other.noted("second") == []
