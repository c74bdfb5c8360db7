"""What tests of one scope leave to the next: what is forked ahead must not miss it, nor end it."""

from __future__ import annotations

import pytest
from comparing import compare, forked, plain

STEPS = """
import noting, os, pytest, unittest

def steps(request):
    value = getattr(request, "param", "")
    noting.note("step", "up", request.fixturename, value)
    yield value
    noting.note("step", "down", request.fixturename, value)
"""
LAST_OF_CLASS_WITHOUT_ITS_FIXTURE = """
class TestC:
    @pytest.fixture(scope="class")
    def f(self, request): yield from steps(request)
    def test_uses(self, f): noting.note("step", "uses")
    def test_last(self): noting.note("step", "last")
def test_after(): noting.note("step", "after")
"""
PARAMETER_COMES_AGAIN = """
@pytest.fixture(scope="module")
def f(request): yield from steps(request)
class TestC:
    @pytest.mark.parametrize("f", ["i", "j", "i"], indirect=True)
    def test_it(self, f): noting.note("step", "runs", f)
"""
SESSION_FIXTURE = """
@pytest.fixture(scope="session")
def f(request): yield from steps(request)
"""
OVERRIDDEN_FIXTURE_IS_GIVEN_A_PARAMETER = """
@pytest.fixture(scope="module")
def f(request, f): yield from steps(request)
def test_a(f): noting.note("step", "a", f)
class TestC:
    @pytest.mark.parametrize("f", ["i"], indirect=True)
    def test_b(self, f): noting.note("step", "b", f)
"""
BROAD_FIXTURE_SET_UP_ANEW_FOR_ONE_TEST = """
@pytest.fixture(scope="session")
def f(request): yield from steps(request)
@pytest.fixture(scope="session")
def g(request, f): yield from steps(request)
@pytest.mark.parametrize("f", ["j"], indirect=True)
def test_a(g): noting.note("step", "a")
@pytest.mark.parametrize("f", ["i"], indirect=True, scope="function")
def test_b(f): noting.note("step", "b")
def test_c(f): noting.note("step", "c")
"""
BROAD_FIXTURE_SET_UP_ANEW_IN_A_CLASS = """
@pytest.fixture(scope="session")
def other(request): yield from steps(request)
@pytest.fixture(scope="session")
def f(request, other): yield from steps(request)
def test_a(f): noting.note("step", "a")
class TestC:
    @pytest.fixture(params=["i"])
    def f(self, f): pass
    @pytest.fixture(scope="class", autouse=True)
    def g(self): noting.note("step", "up g")
    def test_b(self, f): noting.note("step", "b")
def test_c(f): noting.note("step", "c")
"""
FIXTURE_OF_A_FIXTURE_THAT_IS_SET_UP_ANEW = """
pytestmark = pytest.mark.parametrize("f", ["j", "i"], indirect=True, scope="module")
@pytest.fixture(scope="module")
def other(request): yield from steps(request)
class TestC:
    class TestD:
        def test_it(self, f, other, g): noting.note("step", "runs", g)
"""
FIXTURES_OF_A_CONFTEST = """
@pytest.fixture(scope="module")
def f(request): yield from steps(request)
@pytest.fixture(scope="class")
def g(request): yield from steps(request)
@pytest.fixture(scope="package")
def wide(request): yield from steps(request)
"""
OVERRIDDEN_BY_A_NARROWER_ONE = """
class TestC:
    @pytest.fixture
    def f(self, tmp_path, f): noting.note("step", "own f")
    def test_a(self, f): noting.note("step", "a")
    def test_b(self, f): noting.note("step", "b")
"""
OVERRIDDEN_AND_THEN_NOT = """
class TestC:
    @pytest.fixture
    def f(self, f): noting.note("step", "own f")
    def test_a(self, f, g, wide): noting.note("step", "a")
def test_b(f, g): noting.note("step", "b")
"""
OVERRIDDEN_BY_WHAT_ASKS_FOR_IT_THROUGH_ANOTHER = """
@pytest.fixture(scope="module")
def f(request, through): yield from steps(request)
def test_a(f): noting.note("step", "a", f)
def test_b(f): noting.note("step", "b", f)
"""
ASKS_FOR_THE_ONE_ABOVE = """
@pytest.fixture(scope="session")
def f(request): yield from steps(request)
@pytest.fixture(scope="module")
def through(request, f): yield from steps(request)
"""
PACKAGE = """
@pytest.fixture(scope="package")
def f(request):
    noting.note("step", "up f", request.param)
    return request.param
@pytest.fixture(scope="package")
def g(f):
    noting.note("step", "up g", f)
    yield f
    noting.note("step", "down g", f)
"""
TEARDOWN_ENDS_THE_RUN = """
class TestC(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        noting.note("step", "down")
        pytest.exit("now")
    def test_a(self): noting.note("step", "a")
class TestD(unittest.TestCase):
    def test_b(self): noting.note("step", "b")
"""


def steps_of(told):
    return [words for _, *words in told.noted("step")]


@pytest.mark.parametrize(
    "tests",
    [
        pytest.param(
            LAST_OF_CLASS_WITHOUT_ITS_FIXTURE, id="last of a class does not use its fixture"
        ),
        pytest.param(PARAMETER_COMES_AGAIN, id="parameter comes again"),
        pytest.param(BROAD_FIXTURE_SET_UP_ANEW_FOR_ONE_TEST, id="narrowed by parametrize"),
        pytest.param(BROAD_FIXTURE_SET_UP_ANEW_IN_A_CLASS, id="narrowed in a class"),
        pytest.param(TEARDOWN_ENDS_THE_RUN, id="teardown ends the run"),
    ],
)
def test_scopes_begin_and_end_where_they_do_in_a_plain_run(pytester, tests):
    pytester.makepyfile(test_it=STEPS + tests)

    one, other = compare(pytester)

    assert steps_of(one)
    assert steps_of(one) == steps_of(other)


@pytest.mark.parametrize("tests", [OVERRIDDEN_BY_A_NARROWER_ONE, OVERRIDDEN_AND_THEN_NOT])
def test_a_fixture_that_is_overridden_and_asked_for_is_shared_as_well(pytester, tests):
    pytester.makeconftest(STEPS + FIXTURES_OF_A_CONFTEST)
    pytester.makepyfile(test_it=STEPS + tests)

    one, other = compare(pytester)

    assert steps_of(one) == steps_of(other)


def test_a_fixture_that_is_overridden_may_be_given_a_parameter(pytester):
    pytester.makeconftest(STEPS + SESSION_FIXTURE)
    pytester.makepyfile(test_it=STEPS + OVERRIDDEN_FIXTURE_IS_GIVEN_A_PARAMETER)

    one, other = compare(pytester)

    assert steps_of(one) == steps_of(other)


def test_a_fixture_that_is_overridden_may_be_asked_for_through_another(pytester):
    """To ``through``, pytest gives the ``f`` that is overridden: the other asks for it."""
    pytester.makeconftest(STEPS + ASKS_FOR_THE_ONE_ABOVE)
    pytester.makepyfile(test_it=STEPS + OVERRIDDEN_BY_WHAT_ASKS_FOR_IT_THROUGH_ANOTHER)

    one, other = compare(pytester)

    assert steps_of(one) == steps_of(other)


PARAMETERS_TAKE_TURNS = """
@pytest.fixture(scope="session")
def base(): yield
@pytest.fixture(scope="class")
def f(request, base): yield from steps(request)
class TestC:
    @pytest.mark.parametrize("f", ["i", "j"] * 6, indirect=True)
    def test_it(self, f): noting.note("step", "runs", f)
"""


def test_parameters_that_take_turns_are_each_set_up_anew_with_several_jobs(pytester):
    """A test forked ahead of another that changes a parameter must not inherit the one before."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.callspec.indices["f"])
        """
    )
    pytester.makepyfile(test_it=STEPS + PARAMETERS_TAKE_TURNS)

    one = plain(pytester)
    other = forked(pytester, "--forked-jobs=2")

    assert len(steps_of(one)) == 36
    assert steps_of(one) == steps_of(other)


def test_a_module_that_ended_with_a_skipped_test_begins_anew_when_it_comes_again(pytester):
    """A session fixture's parameters have pytest visit each module twice."""
    pytester.makeconftest(
        STEPS
        + """
@pytest.fixture(scope="session", params=["p", "q"])
def s(request): yield from steps(request)
@pytest.fixture(scope="module")
def m(request): yield from steps(request)
"""
    )
    first = """
def test_runs(s, m): noting.note("step", "runs", s)
@pytest.mark.skip
def test_last(s, m): pass
"""
    second = 'def test_after(s): noting.note("step", "after", s)'
    pytester.makepyfile(test_first=STEPS + first, test_second=STEPS + second)

    one, other = compare(pytester)

    assert steps_of(one) == steps_of(other)


@pytest.mark.parametrize("option", ["-v", "-s", "--setup-show"])
def test_what_a_scope_logs_as_it_ends_with_a_skipped_test_is_told_with_it(pytester, option):
    """Where tests are told as they run, the skip must not be told before its scopes have ended."""
    pytester.makepyfile(
        """
        import logging, pytest

        @pytest.fixture(scope="session")
        def wide():
            yield
            logging.warning("the session ends")

        class TestC:
            @pytest.fixture(scope="class")
            def of_class(self, wide):
                yield
                logging.warning("the class ends")

            def test_runs(self, of_class): pass
            @pytest.mark.skip
            def test_last(self): pass
        """
    )

    _, other = compare(pytester, option)

    log = other.reports("test_last")[-1]["sections"]
    assert "the class ends" in str(log)
    assert "the session ends" in str(log)


def test_what_asked_for_an_ended_fixture_ends_with_it(pytester):
    pytester.makeconftest(STEPS + PACKAGE)
    pytester.makepyfile(test_it=STEPS + FIXTURE_OF_A_FIXTURE_THAT_IS_SET_UP_ANEW)

    one, other = compare(pytester)

    assert steps_of(one) == steps_of(other)


@pytest.mark.parametrize("deed", ["pass", "os.abort()"])
def test_setup_of_an_item_s_own_class_runs_in_its_child(pytester, deed):
    """What it changes stays there, and what it breaks is that test's failure alone."""
    pytester.makeconftest(
        f"""
        import os, pytest

        CHANGED = []

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".yaml":
                return File.from_parent(parent, path=file_path)

        class File(pytest.File):
            def collect(self):
                for name in ("first", "second"):
                    yield Item.from_parent(self, name=name)
            def setup(self): pass

        class Item(pytest.Item):
            def setup(self):
                CHANGED.append(self.name)
                self.pid = os.getpid()
                if self.name == "first": {deed}
            def runtest(self):
                assert self.name == "first" or CHANGED == [self.name]
                assert os.getpid() == self.pid
        """
    )
    (pytester.path / "a.yaml").touch()

    told = forked(pytester)

    dies = deed != "pass"
    told.result.assert_outcomes(passed=1 if dies else 2, errors=int(dies))


def test_what_is_used_below_a_class_is_torn_down_in_the_order_of_a_plain_run(pytester):
    """Pytest 8.0 tears down in order of last use: also of that by tests of a narrower server."""
    pytester.makepyfile(
        STEPS
        + """
@pytest.fixture(scope="session")
def a(request): yield from steps(request)
@pytest.fixture(scope="session")
def b(request): yield from steps(request)
class TestC:
    @pytest.fixture(scope="class")
    def narrow(self, request): yield from steps(request)
    def test_1(self, a, b, narrow): pass
    def test_2(self, narrow, a): pass
"""
    )

    one, other = plain(pytester), forked(pytester)

    other.result.assert_outcomes(passed=2)
    assert steps_of(one) == steps_of(other)


def test_what_an_autouse_fixture_asks_for_is_torn_down_in_the_order_of_a_plain_run(pytester):
    """Pytest 8.0 tears down in order of last use: what a fixture asks for is used before it."""
    pytester.makepyfile(
        STEPS
        + """
@pytest.fixture(scope="module")
def asked(request): yield from steps(request)
@pytest.fixture(scope="module", autouse=True)
def asking(request, asked): yield from steps(request)
@pytest.fixture(scope="module")
def other(request): yield from steps(request)
def test_1(other): pass
def test_2(other): pass
"""
    )

    one, other = plain(pytester), forked(pytester)

    other.result.assert_outcomes(passed=2)
    assert steps_of(one) == steps_of(other)


def test_a_fixture_ends_where_a_test_has_it_with_a_narrower_scope(pytester):
    """That test has a parameter of its own before: its child is forked by then."""
    pytester.makeconftest(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def shared(request):
            noting.note("step", "up")
            yield
            noting.note("step", "down")
        """
    )
    pytester.makepyfile(
        test_a="def test_one(shared): pass",
        test_b="""
        import pytest

        @pytest.fixture
        def shared(shared): pass

        @pytest.mark.parametrize("own", [1])
        @pytest.mark.parametrize("shared", [1], indirect=True)
        def test_two(own, shared): pass
        """,
        test_c="def test_three(shared): pass",
    )

    one, other = plain(pytester), forked(pytester)

    steps, others = ([words for _, *words in told.noted("step")] for told in (one, other))
    assert steps == others
