"""Fixtures of a broader scope are set up once, in the fork server, and shared by the children."""

from __future__ import annotations

import importlib.util

import pytest
from comparing import compare, forked, loaded, plain

needs_xdist = pytest.mark.skipif(
    importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed"
)

CONFTEST = """
import noting, os, pytest

def pytest_sessionstart(session):
    noting.note("main")

def steps(request, value=None):
    name = f"{request.fixturename}[{value}]"
    noting.note("up", name)
    yield value
    noting.note("down", name)

@pytest.fixture(scope="session", params=["s1", "s2"])
def session_param(request): yield from steps(request, request.param)

@pytest.fixture(scope="session")
def session_plain(request): yield from steps(request, [])

@pytest.fixture(scope="package")
def package(request): yield from steps(request)

@pytest.fixture(scope="module", params=["m1", "m2"])
def module(request, session_plain): yield from steps(request, request.param)

@pytest.fixture(scope="class")
def klass(request, module): yield from steps(request)

@pytest.fixture
def own(request): yield from steps(request)
"""

TESTS = """
import noting, pytest

pytestmark = pytest.mark.usefixtures("package")

@pytest.fixture(autouse=True)
def told(request):
    noting.note("test", request.node.name)

def test_a(session_param, own): pass

def test_b(module, own): pass

class TestC:
    def test_c(self, klass): pass

    def test_d(self, klass, session_param): pass

def test_e(session_plain): pass
"""


def words(told):
    """Return what was noted, without the process ids."""
    return [note[1:] for note in told.notes]


def make_scopes(pytester):
    pytester.makeconftest(CONFTEST)
    for package in ("one", "two"):
        folder = pytester.mkpydir(package)
        (folder / f"test_{package}.py").write_text(TESTS)
    pytester.makepyfile(test_three=TESTS)


def test_each_scope_is_set_up_and_torn_down_as_often_and_when_a_plain_run_does(pytester):
    make_scopes(pytester)

    one, other = compare(pytester, "-v")

    assert words(one) == words(other)
    assert [name for _, name in other.noted("up")].count("session_plain[[]]") == 1


def test_neither_fixtures_nor_tests_run_in_the_pytest_process(pytester):
    make_scopes(pytester)

    told = forked(pytester, "one")

    ((main,),) = told.noted("main")
    servers = {pid for pid, name in told.noted("up") if not name.startswith("own")}
    tests = [pid for pid, _ in told.noted("test")]
    assert told.status == 0
    assert main not in {pid for pid, *_ in told.notes[1:]}
    assert len(set(tests)) == len(tests)
    assert not servers & set(tests)
    for pid, name in told.noted("up"):
        assert [pid, name] in told.noted("down"), "it is torn down by the process that set it up"


def test_what_a_test_changes_in_a_shared_value_the_next_does_not_see(pytester):
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def shared():
            noting.note("up")
            value = {"list": [1]}
            yield value
            noting.note("down", value)

        @pytest.mark.parametrize("n", range(3))
        def test(shared, n):
            assert shared == {"list": [1]}
            shared["list"].append(n)
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=3)
    assert len(told.noted("up")) == 1
    assert [value for _, value in told.noted("down")] == ["{'list': [1]}"]


# --- choosing ---------------------------------------------------------------------------------

COUNTED = """
import noting, pytest

@pytest.fixture(scope="session")
def counted():
    noting.note("up")
    yield
    noting.note("down")

MARK
def test_one(counted): pass

def test_two(counted): pass
def test_three(counted): pass
"""


@pytest.mark.parametrize(
    ("args", "mark", "times"),
    [
        pytest.param([], "", 1, id="default"),
        pytest.param(["--forked-fixtures=auto"], "", 1, id="auto"),
        pytest.param(["--forked-fixtures=shared"], "", 1, id="shared"),
        pytest.param(["--forked-fixtures=fresh"], "", 3, id="fresh"),
        pytest.param(["-o", "forked_fixtures=fresh"], "", 3, id="ini"),
        pytest.param(
            ["-o", "forked_fixtures=fresh", "--forked-fixtures=shared"], "", 1, id="over ini"
        ),
        pytest.param([], "@pytest.mark.forked(fixtures='fresh')", 2, id="mark"),
        pytest.param(
            ["--forked-fixtures=fresh"], "@pytest.mark.forked(fixtures='shared')", 3, id="one only"
        ),
    ],
)
def test_who_sets_up_a_fixture_can_be_chosen(pytester, args, mark, times):
    pytester.makepyfile(COUNTED.replace("MARK", mark))

    told = forked(pytester, *args)

    told.result.assert_outcomes(passed=3)
    assert (len(told.noted("up")), len(told.noted("down"))) == (times, times)


@pytest.mark.parametrize(
    ("args", "mark", "start"),
    [
        (["--forked-fixtures=share"], "", "--forked-fixtures: "),
        (["-o", "forked_fixtures=share"], "", "ini option forked_fixtures: "),
        ([], "@pytest.mark.forked(fixtures='share')", "*::test_one: forked(fixtures=...): "),
    ],
)
def test_a_bad_choice_is_a_usage_error_that_says_the_fix(pytester, args, mark, start):
    pytester.makepyfile(COUNTED.replace("MARK", mark))

    told = forked(pytester, *args)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines(f"ERROR: {start}'share' is unknown; did you mean 'shared'?")
    assert told.noted("up") == []


# --- what pytest's own options and xdist make of it -------------------------------------------


def test_tests_that_marks_skip_are_not_forked(pytester):
    pytester.makeconftest(
        """
        import noting

        def pytest_forked_before_fork(item):
            noting.note("fork", item.name)
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def shared(): return 1

        @pytest.mark.skip
        def test_skip(shared): pass

        @pytest.mark.skipif(True, reason="true")
        def test_skipif(shared): pass

        def test_runs(shared): pass

        @pytest.mark.skipif("1 + 1 == 2", reason="string")
        def test_string(): pass

        @pytest.mark.skip
        def test_last(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=1, skipped=4)
    assert [name for _, name in told.noted("fork")] == ["test_runs"]


@pytest.mark.parametrize("option", ["--setup-show", "--setup-plan", "--setup-only"])
def test_what_set_up_options_show_is_what_a_plain_run_shows(pytester, option):
    make_scopes(pytester)

    one, other = compare(pytester, option)

    assert words(one) == words(other)


def test_the_namespace_of_doctests_is_set_up_once(pytester):
    """Pytest asks for it when a doctest is set up: it is none of the item's own fixtures."""
    pytester.makeconftest(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def doctest_namespace():
            noting.note("up")
            yield {"three": 3}
            noting.note("down")
        """
    )
    pytester.makepyfile(
        '''
        def one():
            """
            >>> three
            3
            """

        def other():
            """
            >>> three + 1
            4
            """

        def test_it(): pass
        '''
    )

    one, other = compare(pytester, "--doctest-modules", "--setup-show")

    assert len(one.noted("up")) == len(other.noted("up")) == len(other.noted("down")) == 1


@needs_xdist
def test_each_worker_of_xdist_sets_up_a_session_fixture_once(pytester):
    pytester.makepyfile(
        """
        import noting, os, pytest

        @pytest.fixture(scope="session")
        def shared():
            noting.note("up", os.environ["PYTEST_XDIST_WORKER"])
            yield
            noting.note("down", os.environ["PYTEST_XDIST_WORKER"])

        @pytest.mark.parametrize("n", range(8))
        def test(shared, n):
            noting.note("test", os.environ["PYTEST_XDIST_WORKER"])
        """
    )

    told = loaded(pytester, "-p", "xdist", "-n2", "--forked")

    told.result.assert_outcomes(passed=8)
    workers = sorted({worker for _, worker in told.noted("test")})
    assert sorted(worker for _, worker in told.noted("up")) == workers
    assert sorted(worker for _, worker in told.noted("down")) == workers


@pytest.mark.parametrize(
    "args",
    [[], ["-x"], ["--maxfail=2"], ["--forked-jobs=2"], ["--forked-scope=class"]],
    ids=" ".join,
)
def test_the_teardown_of_a_scope_knows_how_many_have_failed(pytester, args):
    """As a fixture does that keeps its files where something has failed."""
    pytester.makepyfile(
        """
        import noting, pytest

        def counting(request):
            yield
            noting.note(request.scope, request.session.testsfailed)

        session = pytest.fixture(scope="session")(counting)
        module = pytest.fixture(scope="module")(counting)
        of_class = pytest.fixture(scope="class")(counting)

        @pytest.fixture
        def fails_to_end():
            yield
            assert False

        def test_passes(session): pass
        def test_fails(module, session): assert False

        class TestC:
            def test_fails(self, of_class): assert False
            @pytest.mark.xfail
            def test_is_expected_to_fail(self): assert False
            def test_fails_twice(self, fails_to_end): assert False

        def test_passes_last(module, session): pass
        """
    )

    told = forked(pytester, *args)

    one = plain(pytester, *(arg for arg in args if "forked" not in arg))
    assert one.notes
    assert words(told) == words(one)
