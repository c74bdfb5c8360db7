"""The hooks that we offer: each in the process and at the moment that its docstring promises."""

from __future__ import annotations

import inspect
import textwrap

import pytest
from comparing import forked, loaded

from pytest_procrastinate import hookspecs

HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if name.startswith("pytest_forked_") and inspect.isfunction(function)
}

CONFTEST = """
import noting, os, pytest

def pytest_sessionstart(session):
    noting.note("main")

def pytest_forked_before_fork(item):
    noting.note("before fork", item.name)

def pytest_forked_child_started(item):
    noting.note("started", item.name)

def pytest_forked_child_ending(item):
    noting.note("ending", item.name)

def pytest_forked_crashed(item, report):
    noting.note("crashed", item.name, report.when, report.outcome)

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    noting.note("protocol", item.name)
    try:
        return (yield)
    finally:
        noting.note("end of protocol", item.name)

@pytest.fixture(autouse=True)
def own(request):
    noting.note("own", request.node.name, os.getppid())
    yield
    noting.note("own down", request.node.name)

def pytest_runtest_logreport(report):
    noting.note("logged", report.nodeid.rpartition("::")[2], report.when)
"""

SUITE = """
import noting, os, pytest

@pytest.fixture(scope="session")
def session():
    noting.note("session")

def test_plain(): pass
def test_shares(session): pass
def test_again(session): pass
def test_fails(session): assert 0
"""

CRASHING = """
import os, pytest

@pytest.fixture(scope="module")
def broken(): os.abort()

@pytest.mark.parametrize("n", [0, 1])
def test_crashes(n): os.abort()

def test_exits(): os._exit(3)
def test_broken(broken): pass
def test_passes(): pass
"""


def test_the_hooks_of_a_test_are_called_once_each_around_it(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)

    told = forked(pytester)

    ((main,),) = told.noted("main")
    for name in ("test_plain", "test_shares", "test_again", "test_fails"):
        own = [(pid, word) for pid, word, *more in told.notes if name in more]
        words = [word for _, word in own if word not in ("logged", "protocol", "end of protocol")]
        assert words == ["before fork", "started", "own", "own down", "ending"], name
        ((child, _, server),) = [note for note in told.noted("own") if note[1] == name]
        in_child = [pid for pid, word in own if word in ("started", "own down", "ending")]
        assert in_child == [child] * 3
        assert [pid for pid, word in own if word == "before fork"] == [server]
        assert len({main, child, server}) == 3
    assert told.noted("crashed") == []


def test_a_child_is_started_before_its_protocol_and_ends_after_it(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_it(): pass\ndef test_next(): pass")

    told = forked(pytester)

    for name in ("test_it", "test_next"):
        words = [
            word for _, word, *more in told.notes if name in more and word not in ("logged", "own")
        ]
        assert words == [
            *("before fork", "started", "protocol", "own down", "end of protocol", "ending")
        ]


def test_a_test_of_the_pytest_process_calls_none(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)

    told = loaded(pytester)

    assert {word for _, word, *_ in told.notes}.isdisjoint(
        ("before fork", "started", "ending", "crashed")
    )


def test_a_crash_is_told_to_the_hook_in_the_pytest_process_before_it_is_logged(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(CRASHING)

    told = forked(pytester)

    told.result.assert_outcomes(passed=1, failed=3, errors=1)
    ((main,),) = told.noted("main")
    assert told.noted("crashed") == [
        [main, "test_crashes[0]", "call", "failed"],
        [main, "test_crashes[1]", "call", "failed"],
        [main, "test_exits", "call", "failed"],
        [main, "test_broken", "setup", "failed"],
    ]
    in_main = [tuple(words) for pid, *words in told.notes if pid == main]
    for _, name, when, outcome in told.noted("crashed"):
        at = in_main.index(("crashed", name, when, outcome))
        assert in_main[at + 1] == ("logged", name, when)
    assert [name for _, name in told.noted("ending")] == ["test_passes"], "others did not get there"


def test_what_the_hook_adds_to_a_crash_is_shown(pytester):
    pytester.makeconftest(
        """
        def pytest_forked_crashed(item, report):
            report.sections.append(("GPU", f"log of {item.name}"))
        """
    )
    pytester.makepyfile(CRASHING)

    told = forked(pytester)

    told.result.stdout.fnmatch_lines(["*- GPU -*", "log of test_crashes[[]0]", "*- GPU -*"])
    assert ["GPU", "log of test_exits"] in told.reports("test_exits")[1]["sections"]


def test_a_conftest_hears_of_the_tests_below_it_only(pytester):
    for folder in ("one", "two"):
        path = pytester.mkdir(folder)
        (path / "conftest.py").write_text(CONFTEST.replace('note("', f'note("{folder} '))
        (path / f"test_{folder}.py").write_text(f"import os\ndef test_{folder}(): os.abort()\n")
    pytester.makepyfile(test_top="def test_top(): pass")

    told = forked(pytester)

    told.result.assert_outcomes(passed=1, failed=2)
    hooks = ("before fork", "started", "ending", "crashed")
    heard = {(word, more[0]) for _, word, *more in told.notes if word.partition(" ")[2] in hooks}
    assert heard == {
        (f"{folder} {hook}", f"test_{folder}")
        for folder in ("one", "two")
        for hook in ("before fork", "started", "crashed")
    }


def test_a_child_of_several_tests_is_started_and_ends_once(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    told = forked(pytester, "--forked-scope=module")

    for word in ("before fork", "started"):
        assert [name for _, name in told.noted(word)] == ["test_one"]
    assert [name for _, name in told.noted("ending")] == ["test_two"]


@pytest.mark.parametrize("name", ["before_fork", "child_started", "child_ending"])
def test_an_error_in_a_hook_is_told_and_costs_no_test(pytester, name):
    pytester.makeconftest(f"def pytest_forked_{name}(item): raise ValueError('of the hook')")
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    told = forked(pytester)

    assert list(told.verdicts()) == ["test_one", "test_two"]
    assert "of the hook" in told.result.stdout.str() + told.result.stderr.str()


# --- the examples in the docstrings -----------------------------------------------------------

NAMES = """
import noting, os, random

class Noting:
    def flush(self): noting.note("example", "flush")
    def dump(self, name): noting.note("example", name == f"{os.getpid()}.prof")

database_log = profiler = Noting()

def gpu_log(): return "of the example"
"""


def example(function):
    """Return the conftest that a docstring shows."""
    _, found, text = inspect.getdoc(function).partition("::\n\n")
    assert found, f"{function.__name__} shows no conftest"
    return textwrap.dedent(text)


def test_there_are_hooks():
    assert len(HOOKS) >= 4


WITH_EXAMPLE_FOR_A_TEST = [
    "pytest_forked_before_fork",
    "pytest_forked_child_started",
    "pytest_forked_child_ending",
    "pytest_forked_crashed",
]  # those for integrations show a part of one


@pytest.mark.parametrize("name", WITH_EXAMPLE_FOR_A_TEST)
def test_a_docstring_shows_a_conftest_that_works(pytester, name):
    text = example(HOOKS[name])
    assert f"def {name}(" in text
    pytester.makeconftest(NAMES + text)
    pytester.makepyfile(
        """
        import noting, os, random

        def test_one(): noting.note("number", random.random())
        def test_two(): noting.note("number", random.random())
        def test_crashes(): os.abort()
        """
    )

    told = forked(pytester)
    again = forked(pytester)

    told.result.assert_outcomes(passed=2, failed=1)
    assert "Error" not in told.result.stderr.str()
    seen = {
        "pytest_forked_before_fork": told.noted("example")
        and {word for _, word in told.noted("example")} == {"flush"},
        "pytest_forked_child_started": [number for _, number in told.noted("number")]
        == [number for _, number in again.noted("number")],
        "pytest_forked_child_ending": [right for _, right in told.noted("example")]
        == ["True", "True"],
        "pytest_forked_crashed": "of the example" in told.result.stdout.str(),
    }
    assert seen[name]


def test_a_test_that_runs_again_needs_no_other_to_have_ended(pytester):
    pytester.makeconftest(
        """
        def pytest_forked_run_again(item, crashes):
            return "rerun" if crashes < 2 else None
        """
    )
    pytester.makepyfile("import os\ndef test_it(): os.abort()")

    told = forked(pytester)

    told.result.assert_outcomes(failed=1)
    assert [each for each in told.outcomes("test_it") if each.startswith("call")] == [
        "call rerun",
        "call failed",
    ]
