"""Which items get a child of their own: options, ini and marker, and bad input."""

from __future__ import annotations

import importlib.util

import pytest
from comparing import assert_same, loaded, plain, run

from pytest_procrastinate.marks import MARK_KEYWORDS

needs_xdist = pytest.mark.skipif(
    importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed"
)
needs_pytest_forked = pytest.mark.skipif(
    importlib.util.find_spec("pytest_forked") is None,
    reason="pytest-forked is not installed",
)

CONFTEST = """
import os, pytest, noting

def pytest_sessionstart(session):
    noting.note("session")

@pytest.fixture(autouse=True)
def where(request):
    noting.note("ran", request.node.name)
"""

MARKED = """
import pytest

forked = pytest.mark.forked

def test_unmarked(): pass

@forked
def test_marked(): pass

@forked()
def test_marked_empty(): pass

@forked(True)
def test_true(): pass

@forked(False)
def test_false(): pass

@forked(reason="it leaks")
def test_reason(): pass

@forked(True, reason="it leaks")
def test_true_and_reason(): pass

@forked(False, reason="not on this machine")
def test_false_and_reason(): pass

@pytest.mark.parametrize("n", [1, pytest.param(2, marks=forked)])
def test_param(n): pass

@forked
class TestClass:
    def test_in_class(self): pass

    @forked(False)
    def test_out_of_class(self): pass

    class TestInner:
        def test_inner(self): pass

@forked(False)
class TestPlainClass:
    def test_in_plain_class(self): pass

    @forked
    def test_own_mark_in_plain_class(self): pass
"""

UNMARKED = {"test_unmarked", "test_param[1]"}
TOLD_PLAIN = {
    "test_false",
    "test_false_and_reason",
    "test_out_of_class",
    "test_in_plain_class",
}
TOLD_FORKED = {
    "test_marked",
    "test_marked_empty",
    "test_true",
    "test_reason",
    "test_true_and_reason",
    "test_param[2]",
    "test_in_class",
    "test_inner",
    "test_own_mark_in_plain_class",
}
EVERY = UNMARKED | TOLD_PLAIN | TOLD_FORKED


def items_in_children(pytester, *args):
    """Run the suite, which must pass, and name the items that ran in a child."""
    told = loaded(pytester, *args)
    assert told.status == 0, told.result.stdout.str() + told.result.stderr.str()
    ran = [(name, pid) for pid, name in told.noted("ran")]
    (session_pid,) = {pid for (pid,) in told.noted("session")}
    children = {name: pid for name, pid in ran if pid != session_pid}
    assert len(set(children.values())) == len(children), "two items shared a child"
    assert len(ran) == len({name for name, _ in ran}), "an item ran twice"
    return set(children)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param([], TOLD_FORKED, id="marks alone"),
        pytest.param(["--forked"], EVERY - TOLD_PLAIN, id="option"),
        pytest.param(["-o", "forked=true"], EVERY - TOLD_PLAIN, id="ini"),
        pytest.param(["-o", "forked=false"], TOLD_FORKED, id="ini is false"),
        pytest.param(["-o", "forked=false", "--forked"], EVERY - TOLD_PLAIN, id="option over ini"),
        pytest.param(["--no-forked"], set(), id="no-forked over marks"),
        pytest.param(["--forked", "--no-forked"], set(), id="no-forked is last"),
        pytest.param(["--no-forked", "--forked"], set(), id="no-forked is first"),
        pytest.param(["-o", "forked=true", "--no-forked"], set(), id="no-forked over ini"),
        pytest.param(
            ["--strict-markers", "--strict-config", "-W", "error"],
            TOLD_FORKED,
            id="the mark is known",
        ),
    ],
)
def test_item_gets_a_child_when_option_ini_or_nearest_mark_says_so(pytester, args, expected):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(MARKED)

    assert items_in_children(pytester, *args) == expected


def test_ini_file_forks_and_module_mark_holds_for_the_whole_module(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        test_plain_module="""
        import pytest
        pytestmark = pytest.mark.forked(False, reason="it shows a window")
        def test_plain(): pass
        @pytest.mark.forked
        def test_nearer_mark(): pass
        """,
        test_ordinary="def test_ordinary(): pass",
    )
    pytester.makeini("[pytest]\nforked = true\n")

    assert items_in_children(pytester) == {"test_ordinary", "test_nearer_mark"}


def test_module_mark_in_a_list_and_mark_added_by_a_hook_fork(pytester):
    pytester.makeconftest(
        CONFTEST
        + """
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == "test_chosen":
            item.add_marker("forked")
        if item.name == "test_spared":
            item.add_marker(pytest.mark.forked(False), append=False)
"""
    )
    pytester.makepyfile(
        test_listed="""
        import pytest
        pytestmark = [pytest.mark.forked(reason="all of it")]
        def test_in_module(): pass
        def test_spared(): pass
        """,
        test_other="""
        def test_chosen(): pass
        def test_not_chosen(): pass
        """,
    )

    assert items_in_children(pytester) == {"test_in_module", "test_chosen"}


def test_help_and_markers_tell_of_option_ini_and_mark(pytester):
    help_text = pytester.runpytest_subprocess("--help", timeout=60)
    markers = pytester.runpytest_subprocess("--markers", timeout=60)

    help_text.stdout.fnmatch_lines_random(["*--forked*", "*--no-forked*", "  forked (bool)*"])
    markers.stdout.fnmatch_lines(["@pytest.mark.forked*reason*"])
    for keyword in MARK_KEYWORDS:
        markers.stdout.re_match_lines([rf"@pytest\.mark\.forked\(.*\b{keyword}=.*\): run the test"])


def test_python_may_ask_that_each_encoding_is_named(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONWARNDEFAULTENCODING", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error::EncodingWarning")
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.fixture(scope="module")
        def shared(): return os.getpid()
        def test_shared(shared): assert shared == os.getppid()
        def test_crash(shared): os.abort()
        """
    )

    result = pytester.runpytest_subprocess("--forked", "--forked-jobs=auto", timeout=60)

    result.assert_outcomes(passed=1, failed=1)


def test_loaded_but_unused_the_plugin_changes_nothing(pytester):
    pytester.makepyfile(
        """
        import pytest, warnings

        def test_pass(tmp_path): print("out")
        def test_fail(): assert 0
        def test_warn(): warnings.warn("careful")
        @pytest.mark.skip
        def test_skip(): pass
        """
    )

    assert_same(plain(pytester), loaded(pytester))


@pytest.mark.parametrize(
    ("mark", "words", "args"),
    [
        ('forked(reson="it leaks")', ["'reson'", "did you mean 'reason'"], []),
        ('forked(reason="it leaks", zzz=1)', ["'zzz'"], ["--forked"]),
        ('forked(True, "it leaks")', ["reason="], []),
    ],
)
def test_bad_mark_is_a_usage_error_before_any_test_runs(pytester, mark, words, args):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        test_io=f"""
        import pytest

        def test_first(): pass

        class TestFiles:
            @pytest.mark.{mark}
            def test_read(self): pass
        """
    )

    told = loaded(pytester, *args)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    assert told.noted("ran") == [], "a test ran"
    (line,) = [line for line in told.errors if "test_io.py::TestFiles::test_read" in line]
    assert line.startswith("ERROR: test_io.py::TestFiles::test_read: forked()")
    for word in words:
        assert word in line
    assert "Traceback" not in told.result.stderr.str()


def test_bad_ini_value_is_a_usage_error_that_quotes_it(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_one(): pass")
    pytester.makeini("[pytest]\nforked = perhaps\n")

    told = loaded(pytester)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    assert told.noted("ran") == []
    assert any("forked" in line and "'perhaps'" in line for line in told.errors)
    assert "INTERNALERROR" not in told.result.stdout.str() + told.result.stderr.str()


@needs_xdist
def test_xdist_worker_forks_each_item_and_a_crash_is_one_failure(pytester):
    pytester.makepyfile(
        """
        import ctypes, os, pytest

        @pytest.mark.parametrize("n", range(6))
        def test_pid(n, record_property):
            record_property("pid", (os.getpid(), os.environ["PYTEST_XDIST_WORKER"]))

        def test_victim():
            ctypes.string_at(0)
        """
    )

    told = run(pytester, "--forked", "-n2", installed=True)

    told.result.assert_outcomes(passed=6, failed=1)
    pids = [r["properties"][0][1] for r in told.reports("test_pid") if r["properties"]]
    assert len({pid for pid in pids if "gw" in pid}) == 6, "items shared a process"
    assert told.outcomes("test_victim") == ["setup passed", "call failed", "teardown passed"]
    told.result.stdout.fnmatch_lines(["*crashed with SIGSEGV*in call*"])
    assert "node down" not in told.result.stdout.str()
    assert "worker 'gw" not in told.result.stdout.str(), "the crash took the worker along"


@needs_xdist
def test_xdist_worker_forks_only_marked_items_where_told_so(pytester):
    pytester.makepyfile(
        """
        import os, pytest
        from pathlib import Path

        @pytest.mark.forked
        @pytest.mark.parametrize("n", range(3))
        def test_forked(n, record_property):
            record_property("pid", os.getpid())

        @pytest.mark.parametrize("n", range(3))
        def test_plain(n, record_property):
            record_property("pid", os.getpid())
        """
    )

    told = run(pytester, "-n1", installed=True)

    told.result.assert_outcomes(passed=6)
    pids = {
        name: {r["properties"][0][1] for r in told.reports(name) if r["properties"]}
        for name in ("test_forked", "test_plain")
    }
    assert len(pids["test_plain"]) == 1, "the worker itself"
    assert len(pids["test_forked"]) == 3
    assert not pids["test_plain"] & pids["test_forked"]


VICTIM = """
import ctypes

def test_victim():
    ctypes.string_at(0)

def test_bystander(): pass
"""


@needs_pytest_forked
@pytest.mark.parametrize(
    "args",
    [
        pytest.param([], id="as installed"),
        pytest.param(["-p", "pytest_forked"], id="it is loaded first"),
        pytest.param(["-p", "pytest_procrastinate", "-p", "pytest_forked"], id="last"),
        pytest.param(["-p", "pytest_forked", "-p", "pytest_procrastinate"], id="before"),
        pytest.param(["-o", "required_plugins=pytest-forked"], id="it is required"),
        pytest.param(["-p", "no:forked"], id="it is blocked"),
        pytest.param(["-n2"], id="with xdist", marks=needs_xdist),
    ],
)
def test_takes_over_from_pytest_forked_and_says_so_in_one_line(pytester, args):
    pytester.makepyfile(VICTIM)

    told = run(pytester, "--forked", *args, installed=True)

    told.result.assert_outcomes(passed=1, failed=1)
    told.result.stdout.fnmatch_lines(["*crashed with SIGSEGV*in call*", "*CRASHED with signal 11*"])
    assert "INTERNALERROR" not in told.result.stdout.str()
    if args != ["-p", "no:forked"]:
        header = [line for line in told.result.outlines if "pytest-forked" in line]
        assert len(header) == 1, header


@needs_pytest_forked
def test_pytest_forked_works_alone_when_this_plugin_is_blocked(pytester):
    pytester.makepyfile(VICTIM)

    told = run(pytester, "--forked", "-p", "no:pytest_procrastinate", installed=True)

    # Its 1.7.5 fails the passing test as well on pytest 9.2, without us too.
    outcomes = told.result.parseoutcomes()
    assert outcomes["failed"] + outcomes.get("passed", 0) == 2
    told.result.stdout.fnmatch_lines(["*CRASHED with signal 11*"])
    assert "crashed with SIGSEGV" not in told.result.stdout.str()


def test_a_plain_run_loads_nothing_that_forks(pytester):
    pytester.makepyfile("def test_one(): pass")
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            rooms = "child.run", "forkserver.server", "parent.loop", "process.manager"
            print("loaded:", [room for room in rooms if f"pytest_procrastinate.{room}" in sys.modules])
        """
    )

    result = pytester.runpytest_subprocess()

    result.stdout.fnmatch_lines(["*1 passed*", "loaded: [[]]"])
