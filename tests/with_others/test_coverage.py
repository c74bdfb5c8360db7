"""Coverage reports the same with ``--forked`` as without; of a crashed test what ran before."""

from __future__ import annotations

import os
import sys

import pytest

coverage = pytest.importorskip("coverage")
pytest.importorskip("pytest_cov")

LIBRARY = """\
def choose(number):
    if number > 1:
        return "many"
    return "one"

def set_up(scope):
    return scope

def tear_down(scope):
    return scope

def in_thread():
    return 1

def last_call():
    return 1

def after_the_end():
    return 1
"""

SUITE = """
import threading
import pytest
import library

@pytest.fixture(scope="session")
def session_wide():
    yield library.set_up("session")
    library.tear_down("session")

@pytest.fixture(scope="module")
def module_wide(session_wide):
    yield library.choose(1)
    library.after_the_end()

@pytest.fixture
def own():
    yield
    library.last_call()

def test_session(session_wide):
    pass

def test_module(module_wide, own):
    assert library.choose(2) == "many"

def test_thread():
    thread = threading.Thread(target=library.in_thread)
    thread.start()
    thread.join()

def test_skipped():
    pytest.skip()
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("COV", "PYTEST_ADDOPTS")):
            monkeypatch.delenv(name)
    pytester.makepyfile(library=LIBRARY, test_suite=SUITE)
    return pytester


def measured(pytester, *command):
    """Run a command that measures, and return what it did: lines or arcs, and contexts, by file."""
    data_file = pytester.path / ".coverage"
    data_file.unlink(missing_ok=True)
    before = set(pytester.path.iterdir())
    result = pytester.run(sys.executable, "-m", *command, timeout=120)
    left = {path.name for path in set(pytester.path.iterdir()) - before}
    left -= {"__pycache__", ".pytest_cache", "stdout", "stderr"}
    assert left == {".coverage"}, result.stdout.str()
    data = coverage.CoverageData(str(data_file))
    data.read()
    found = {}
    for file in data.measured_files():
        ran = data.arcs(file) if data.has_arcs() else data.lines(file)
        contexts = data.contexts_by_lineno(file)
        found[file] = sorted(ran), {line: sorted(each) for line, each in contexts.items()}
    return found, result


@pytest.mark.parametrize(
    "options",
    [
        ["--cov"],
        ["--cov=library"],
        ["--cov=library", "--cov-branch", "--cov-context=test"],
    ],
    ids=" ".join,
)
def test_pytest_cov_reports_the_same_lines_branches_and_contexts(suite, options):
    plain, _ = measured(suite, "pytest", "--no-forked", "--cov-report=", *options)
    forked, result = measured(suite, "pytest", "--forked", "--cov-report=", *options)

    result.assert_outcomes(passed=3, skipped=1)
    assert forked == plain
    assert len(plain) == (2 if options == ["--cov"] else 1)


def test_coverage_run_reports_the_same(suite):
    command = ("coverage", "run", "--branch", "--source=.", "-m", "pytest")
    plain, _ = measured(suite, *command, "--no-forked")
    forked, result = measured(suite, *command, "--forked")

    result.assert_outcomes(passed=3, skipped=1)
    assert forked == plain


def test_workers_of_xdist_report_the_same(suite):
    pytest.importorskip("xdist")
    options = ["-n2", "--dist=loadfile", "--cov=library", "--cov-branch", "--cov-report="]
    plain, _ = measured(suite, "pytest", "--no-forked", *options)
    forked, result = measured(suite, "pytest", "--forked", *options)

    result.assert_outcomes(passed=3, skipped=1)
    assert forked == plain


def test_coverage_s_own_patches_for_forks_change_nothing(suite):
    if not hasattr(coverage.Coverage().config, "patch"):
        pytest.skip("this coverage has no `patch`")
    suite.makefile(".toml", rc="[tool.coverage.run]\npatch = ['fork', '_exit']\nsigterm = true\n")
    options = ["--cov=library", "--cov-config=rc.toml", "--cov-report="]
    plain, _ = measured(suite, "pytest", "--no-forked", *options)
    forked, result = measured(suite, "pytest", "--forked", *options)

    result.assert_outcomes(passed=3, skipped=1)
    assert forked == plain


def test_what_ran_before_a_crash_is_kept(suite):
    ways = {
        "null": "ctypes.string_at(0)",
        "abort": "os.abort()",
        "leave": "os._exit(0)",
        "thread": "run(threading.Thread(target=ctypes.string_at, args=(0,)))",
        "fixture": "ctypes.string_at(0)",
    }
    library = "".join(
        f"def before_{way}():\n    return 1\n\ndef after_{way}():\n    return 1\n\n" for way in ways
    )
    tests = "".join(
        f"""
def crash_{way}():
    library.before_{way}()
    {how}
    library.after_{way}()

def test_{way}({"broken" if way == "fixture" else ""}):
    crash_{way}()
"""
        for way, how in ways.items()
    )
    suite.makepyfile(
        library=library,
        test_suite=f"""
import ctypes, os, threading
import pytest, library

def run(thread):
    thread.start()
    thread.join()

@pytest.fixture(scope="module")
def broken():
    crash_fixture()
{tests}""",
    )

    found, result = measured(suite, "pytest", "--forked", "--cov=library", "--cov-report=")

    lines = library.splitlines()
    ran = [
        lines[number - 2].split()[1] for number in next(iter(found.values()))[0] if number % 3 == 2
    ]
    assert ran == [f"before_{way}():" for way in ways]
    result.assert_outcomes(failed=4, errors=1)


def test_of_a_killed_test_the_phases_before_are_kept(suite):
    suite.makepyfile(
        test_suite="""
        import os, signal
        import pytest, library

        @pytest.fixture
        def own():
            library.choose(1)

        def test_killed(own):
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )

    found, result = measured(suite, "pytest", "--forked", "--cov=library", "--cov-report=")

    result.assert_outcomes(failed=1)
    assert 4 in next(iter(found.values()))[0]
