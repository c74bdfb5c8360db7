"""Warnings and subtests of a forked item are told as those of a plain one."""

from __future__ import annotations

import pytest
from _pytest import unraisableexception
from comparing import assert_same, assert_same_lines, compare, forked, plain

pytest_9 = pytest.mark.skipif(
    pytest.version_tuple < (9, 0), reason="pytest has its own subtests since 9.0"
)

WARNINGS = """
import pathlib, pytest, warnings

warnings.warn("while collecting")

class Mine(UserWarning): pass
class Strange(Warning):
    def __init__(self, path, code): super().__init__(path, code); self.code = code
    def __str__(self): return f"strange {self.code}"
class Outer:
    class Nested(FutureWarning): pass
class Keyword(UserWarning):
    def __init__(self, *, word): super().__init__(); self.word = word
    def __str__(self): return f"keyword {self.word}"

def test_builtin():
    warnings.warn("plain words")
    warnings.warn("deprecated", DeprecationWarning)
    warnings.warn("pending", PendingDeprecationWarning)
    warnings.warn("bytes", BytesWarning)

def test_custom():
    warnings.warn("mine", Mine)
    warnings.warn(Strange(pathlib.Path("p"), 3))
    warnings.warn("nested", Outer.Nested)
    warnings.warn(Keyword(word="w"))

def test_local():
    class Local(UserWarning): pass
    warnings.warn("of a local class", Local)

def test_not_text():
    warnings.warn(Mine(b"\\xff", object, {1: 2}))
    warnings.warn("surrogate \\ud800 and nul \\0")

def test_elsewhere():
    warnings.warn_explicit("explicit", UserWarning, "/no/such/file.py", 7)
    warnings.warn("one level up", stacklevel=2)

@pytest.fixture
def loud():
    warnings.warn("in set-up")
    yield
    warnings.warn("in tear-down")

def test_fixture(loud): warnings.warn("in call")

@pytest.mark.parametrize("n", range(3))
def test_same_place(n): warnings.warn("again and again")

@pytest.mark.filterwarnings("error")
def test_becomes_an_error(): warnings.warn("fatal")

@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ignored(): warnings.warn("not heard")

def test_caught():
    with pytest.warns(Mine): warnings.warn("caught", Mine)

def test_unraisable():
    class Bad:
        def __del__(self): raise ValueError("in __del__")
    Bad()

def test_thread():
    import threading
    def run(): raise ValueError("in a thread")
    t = threading.Thread(target=run); t.start(); t.join()

def test_returns(): return 3
"""


@pytest.mark.parametrize(
    "args",
    [
        pytest.param([], id="default"),
        pytest.param(["-W", "error"], id="errors"),
    ],
)
def test_warnings_are_told_and_summed_up_as_in_a_plain_run(pytester, args):
    pytester.makepyfile(test_warn=WARNINGS)
    if "error" in args:
        args = [*args, "-W", "ignore:while collecting"]

    one, _ = compare(pytester, *args)

    assert any(row["kind"] == "warning" for row in one.rows) or "error" in args


def test_thousands_of_warnings_are_all_told(pytester):
    pytester.makepyfile(
        """
        import warnings

        def test_many():
            for n in range(3000):
                warnings.warn(f"number {n}")
        """
    )

    _, other = compare(pytester)

    assert len([row for row in other.rows if row["kind"] == "warning"]) == 3000


@pytest.mark.parametrize("args", [(), ("-W", "always"), ("-W", "once"), ("-s",)])
def test_warning_of_a_test_and_of_its_scopes_is_told_as_in_a_plain_run(pytester, args):
    """The teardown of one parameter comes in a test's set-up, that of the next one at its end."""
    pytester.makeconftest(
        """
        import warnings, pytest

        def warn(text):
            warnings.warn(text)

        @pytest.fixture(scope="module", params=[1, 2])
        def number(request):
            yield request.param
            warnings.warn("number is over")
            warn("a test or a fixture is over")
            warnings.warn_explicit("explicit", UserWarning, "/no/such/file.py", 7)

        @pytest.fixture(scope="class")
        def other():
            yield
            warn("a test or a fixture is over")
            warnings.warn("deprecated", DeprecationWarning)
        """
    )
    pytester.makepyfile(
        """
        import warnings, pytest
        from conftest import warn

        def test_one(number): warn("a test or a fixture is over")

        @pytest.mark.filterwarnings("always")
        def test_always(number): warn("a test or a fixture is over")

        class TestFailing:
            def test_fails(self, number, other):
                warn("a test or a fixture is over")
                assert 0  # as pytest shows it, it changes the filters: Python forgets all notes

        class TestClass:
            def test_two(self, number, other): pass

            def test_three(self, number, other):
                warn("a test or a fixture is over")
                warnings.warn_explicit("explicit", UserWarning, "/no/such/file.py", 7)
        """
    )

    one, _ = compare(pytester, *args)

    assert any(row["kind"] == "warning" for row in one.rows)


@pytest.mark.parametrize("args", [("-W", "error"), ("-W", "always")])
def test_fork_beside_a_thread_warns_nobody(pytester, args):
    """Python 3.12 and later warn of a fork while other threads run: not the user's doing.

    One line of the summary names the threads, in place of a warning for each test.
    """
    pytester.makeconftest(
        """
        import threading

        def pytest_sessionstart(session):
            session.stop = threading.Event()
            session.thread = threading.Thread(target=session.stop.wait)
            session.thread.start()

        def pytest_sessionfinish(session):
            session.stop.set()
            session.thread.join()
        """
    )
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    one, other = compare(pytester, *args, output=False)

    assert one.status == other.status == 0
    assert not [row for row in other.rows if row["kind"] == "warning"]
    other.result.stdout.fnmatch_lines(["forked: the pytest process had a thread beside its own *"])


def test_resources_of_the_plugin_itself_are_closed(pytester):
    """An unclosed file of ours would become the failure of a user's test."""
    pytester.makepyfile(
        """
        import gc, os, pytest

        @pytest.mark.parametrize("n", range(3))
        def test_collects(n): gc.collect()

        def test_victim(): os._exit(1)

        def test_after(): gc.collect()
        """
    )

    told = forked(pytester, "-W", "error", "-W", "always::ResourceWarning", "-v")

    told.result.assert_outcomes(passed=4, failed=1, warnings=0)


SUBTESTS = """
import pathlib, pytest, unittest, warnings

def test_all_pass(subtests):
    for n in range(3):
        with subtests.test(n=n): print("in", n)

def test_some_fail(subtests):
    for n in range(4):
        with subtests.test("message", n=n):
            print("in", n)
            assert n % 2

def test_every_outcome(subtests):
    with subtests.test("fails"): assert 0
    with subtests.test("skips"): pytest.skip("a reason")
    with subtests.test("xfails"): pytest.xfail("a reason")
    with subtests.test("passes", path=pathlib.Path("p"), text="\\udc80"): pass
    with subtests.test(): pass
    print("after")

def test_skips_only(subtests):
    with subtests.test("skips"): pytest.skip("a reason")

def test_fails_itself_too(subtests):
    with subtests.test("fails"): assert 0, "the subtest"
    assert 0, "the test"

@pytest.mark.xfail(reason="known")
def test_xfail_mark(subtests):
    with subtests.test("fails"): assert 0

@pytest.mark.xfail(reason="known", strict=True)
def test_xfail_strict(subtests):
    with subtests.test("passes"): pass

def test_nested(subtests):
    with subtests.test("outer"):
        with subtests.test("inner"): assert 0

def test_warns(subtests):
    with subtests.test("warns"): warnings.warn("from a subtest")

def test_properties(subtests, record_property):
    record_property("path", pathlib.Path("p"))
    with subtests.test("fails"): assert 0

@pytest.fixture
def from_fixture(subtests):
    with subtests.test("in set-up"): assert 0
    yield
    with subtests.test("in tear-down"): assert 0

def test_in_fixture(from_fixture): pass
"""
SUBTESTS_OF_UNITTEST = """
import unittest

class TestUnit(unittest.TestCase):
    def test_pass(self):
        for n in range(3):
            with self.subTest(n=n): pass

    def test_fail(self):
        for n in range(4):
            with self.subTest("message", n=n): self.assertTrue(n % 2)

    def test_skip(self):
        with self.subTest("one"): self.skipTest("a reason")
        with self.subTest("two"): pass

    def test_error_after(self):
        with self.subTest("one"): self.fail("the subtest")
        raise ValueError("the test")

    @unittest.expectedFailure
    def test_expected(self):
        with self.subTest("one"): self.fail("expected")
"""


@pytest_9
@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["-rA"], id="default"),
        pytest.param(["-x"], id="exitfirst"),
        pytest.param(["-o", "verbosity_subtests=2"], id="verbosity of subtests"),
    ],
)
def test_subtests_are_told_as_in_a_plain_run(pytester, args):
    pytester.makepyfile(test_sub=SUBTESTS)

    one, _ = compare(pytester, *args)

    assert {row["type"] for row in one.reports()} == {"TestReport", "SubtestReport"}


@pytest.mark.parametrize("args", [["-rA"], ["-x"]])
def test_subtests_of_unittest_are_told_as_in_a_plain_run(pytester, args):
    """All but the terminal's letters, which a plain run captures into the test's output."""
    pytester.makepyfile(test_unit=SUBTESTS_OF_UNITTEST)

    one, other = compare(pytester, *args, output=False)

    summaries = [
        told.output[told.output.index("=== short test summary info ===") :] for told in (one, other)
    ]
    assert_same_lines(*summaries)


@pytest_9
def test_crash_after_subtests_keeps_what_they_told(pytester):
    pytester.makepyfile(
        """
        import os, signal

        def test_victim(subtests):
            with subtests.test("passes"): pass
            with subtests.test("fails"): assert 0, "told before"
            with subtests.test("crashes"): os.kill(os.getpid(), signal.SIGSEGV)

        def test_after(): pass
        """
    )

    told = forked(pytester)

    assert told.outcomes("test_victim") == [
        "setup passed",
        "call passed",
        "call failed",
        "call failed",
        "teardown passed",
    ]
    told.result.stdout.fnmatch_lines_random(["*told before*", "*crashed with SIGSEGV*in call*"])
    assert told.outcomes("test_after") == ["setup passed", "call passed", "teardown passed"]


@pytest.mark.parametrize("args", [[], ["--forked-jobs=2"], ["--forked-scope=module"]], ids=str)
@pytest.mark.parametrize("errors", [[], ["-Werror"]], ids=str)
def test_what_nobody_could_catch_during_collection_is_told_once(pytester, args, errors):
    """With the first test: pytest keeps it until then."""
    if not hasattr(unraisableexception, "unraisable_exceptions"):
        pytest.skip("this pytest tells it at once")
    pytester.makepyfile(
        """
        import gc, pytest, threading

        gc.disable()  # or the thread's exception may be its context

        class Unruly:
            def __del__(self): raise ValueError("in __del__")

        class InCycle(Unruly):
            def __init__(self): self.myself = self

        def target(): raise KeyError("in thread")

        Unruly()
        InCycle()
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

        @pytest.fixture(scope="module")
        def shared(): pass

        def test_first(shared): pass
        def test_second(): pass
        def test_third(): pass
        """
    )
    pytester.makeconftest("import gc\ndef pytest_collection_finish(): gc.collect(), gc.enable()")

    told = forked(pytester, *args, *errors)

    assert_same(plain(pytester, *errors), told)
