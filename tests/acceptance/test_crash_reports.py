"""What the report of a crash shows: in the terminal, in junitxml, to a conftest."""

from __future__ import annotations

import re
import shlex
from xml.etree import ElementTree

import pytest
from comparing import forked, headline, line_of, plain

HEAD = """
import logging, os, pytest, signal, sys
"""
IN_CALL = ["setup passed", "call failed", "teardown passed"]
PASSED = ["setup passed", "call passed", "teardown passed"]

LIBRARY = """
import ctypes

def in_a_library():
    ctypes.string_at(0)  # the library's line
"""
STYLES = """
from library import in_a_library

def test_victim():
    print("printed before")
    in_a_library()  # the test's line

def test_after(): pass
"""


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_crash_is_shown_in_each_traceback_style(pytester, style):
    pytester.makepyfile(test_ext=STYLES, library=LIBRARY)

    told = forked(pytester, f"--tb={style}", "-rf")

    line = line_of(pytester, "test_ext.py", "# the test's line")
    text = told.result.stdout.str()
    what = f"crashed with SIGSEGV (segmentation fault) in call, at test_ext.py:{line}"
    body = text.partition("short test summary info")[0]
    if style == "no":
        assert what not in body
    elif style == "line":
        (shown,) = [row for row in body.splitlines() if what in row]
        assert re.match(rf"\S*test_ext\.py:{line}: crashed with SIGSEGV", shown)
    else:
        assert what in body
        assert "CRASHED with signal 11" in body
        assert "printed before" in body
        assert "_ test_victim _" in body
        assert "in_a_library" in body
    told.result.stdout.fnmatch_lines(
        [f"FAILED test_ext.py::test_victim - {what}", "*1 failed, 1 passed*"]
    )
    assert told.errors == []
    assert "Traceback (most recent call last)" not in text
    assert "INTERNALERROR" not in text


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_crash_outside_of_the_call_is_shown_by_tb_line(pytester, phase):
    pytester.makepyfile(
        f"""
        import os, pytest

        @pytest.fixture
        def resource():
            "setup" != {phase!r} or os.abort()
            yield
            "teardown" != {phase!r} or os.abort()

        def test_victim(resource): pass
        """
    )

    told = forked(pytester, "--tb=line")

    body = told.result.stdout.str().partition("short test summary info")[0]
    assert body.count(f"E   crashed with SIGABRT (aborted) in {phase}, at test_") == 1
    told.result.assert_outcomes(errors=1, passed=int(phase == "teardown"))


def test_stack_begins_where_the_thread_died_and_names_the_tests_line(pytester):
    pytester.makepyfile(test_ext=STYLES, library=LIBRARY)

    told = forked(pytester)

    (report,) = [r for r in told.reports() if r["outcome"] == "failed"]
    library = line_of(pytester, "library.py", "# the library's line")
    own = line_of(pytester, "test_ext.py", "# the test's line")
    assert f", at test_ext.py:{own}" in headline(report)
    rows = report["longrepr"]
    assert re.search(rf"library\.py\D+{library}\b.*in_a_library", rows)
    assert re.search(rf"test_ext\.py\D+{own}\b.*test_victim", rows)
    assert "_pytest/" not in rows, "pytest's own calls say nothing"
    assert "pluggy" not in rows
    assert "pytest_procrastinate/" not in rows
    assert re.search(r"\d(\.\d+)? ?(s|ms|seconds)\b|N s", rows), "how long it ran"
    assert re.search(r"\d+ ?(MiB|MB|KiB)", rows), "how much memory it had"


def test_crash_in_another_thread_is_that_of_the_test(pytester):
    pytester.makepyfile(
        test_ext="""
        import ctypes, threading

        def in_thread():
            ctypes.string_at(0)  # here

        def test_victim():
            thread = threading.Thread(target=in_thread)
            thread.start()
            thread.join()

        def test_after(): pass
        """
    )

    told = forked(pytester)

    assert told.verdicts()["test_victim"] == IN_CALL
    assert told.verdicts()["test_after"] == PASSED
    line = line_of(pytester, "test_ext.py", "# here")
    told.result.stdout.fnmatch_lines([f"*crashed with SIGSEGV*in call, at test_ext.py:{line}"])


def test_command_to_run_it_again_runs_that_test_again(pytester):
    params = ["a b'c[d]", "$HOME;"]
    sub = pytester.mkdir("sub dir")
    (sub / "test_ext.py").write_text(
        "import os, pytest\n"
        f"@pytest.mark.parametrize('value', {[*params, 'other']})\n"
        "class TestIt:\n"
        "    def test_victim(self, value):\n"
        "        if value != 'other': os.abort()\n"
    )

    told = forked(pytester)

    lines = [line for line in told.result.outlines if "pytest --forked" in line]
    for param, line in zip(params, lines, strict=True):
        arguments = shlex.split(line[line.index("pytest --forked") :])[1:]
        again = forked(pytester, *arguments)
        assert again.status == 1
        assert {r["where"] for r in again.reports()} == {
            f"sub dir/test_ext.py::TestIt::test_victim[{param}]"
        }


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_junitxml_has_a_failure_for_the_call_and_errors_for_the_rest(pytester, family):
    pytester.makepyfile(
        test_ext=HEAD
        + """
def die():
    os.write(1, b"last words\\n")
    os.kill(os.getpid(), signal.SIGSEGV)

@pytest.fixture
def broken(): die()
@pytest.fixture
def untidy():
    yield
    die()

def test_call(): die()
def test_setup(broken): pass
def test_teardown(untidy): pass
@pytest.mark.xfail(reason="known")
def test_xfail(): die()
def test_after(): pass
"""
    )

    forked(
        pytester, "--junitxml=out.xml", "-o", f"junit_family={family}", "-o", "junit_logging=all"
    )

    suite = ElementTree.parse(pytester.path / "out.xml").getroot()[0]
    kinds = {
        case.get("name"): [e.tag for e in case if not e.tag.startswith("system-")] for case in suite
    }
    assert kinds == {
        "test_call": ["failure"],
        "test_setup": ["error"],
        "test_teardown": ["error"],
        "test_xfail": ["skipped"],
        "test_after": [],
    }
    for case in suite:
        for child in case:
            if child.tag in ("failure", "error"):
                assert "crashed with SIGSEGV (segmentation fault)" in child.get("message")
                assert "CRASHED with signal 11" in child.text
    assert "last words" in suite.findtext("testcase/system-out")
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "2", "1")


def test_conftest_hears_of_a_crash_as_of_a_failure(pytester):
    pytester.makeconftest(
        """
        import noting, os

        def pytest_configure(config):
            global main
            main = os.getpid()

        def pytest_runtest_logreport(report):
            if report.failed:
                noting.note("failed", report.when, report.longrepr.reprcrash.lineno,
                            report.longrepr.reprcrash.message, os.getpid() == main)
        """
    )
    pytester.makepyfile(test_ext=STYLES, library=LIBRARY)

    told = forked(pytester)

    ((_, when, line, message, main),) = told.noted("failed")
    assert (when, main) == ("call", "True")
    assert int(line) == line_of(pytester, "test_ext.py", "# the test's line")
    assert message.startswith("crashed with SIGSEGV")


def test_what_was_told_before_stays_told_with_its_sections_and_properties(pytester):
    """Beside its own words a crash report has what a failure of that line would have."""
    pytester.makepyfile(
        test_ext=HEAD
        + """
@pytest.fixture
def resource(record_property):
    print("out of set-up")
    print("err of set-up", file=sys.stderr)
    logging.warning("log of set-up")
    record_property("in set-up", 1)

@pytest.mark.usefixtures("resource")
def test_victim(record_property):
    print("out of call, no newline", end="")
    print("err of call", file=sys.stderr)
    logging.warning("log of call")
    os.write(1, b"native out\\n")
    os.write(2, b"native err\\n")
    os.system("echo of a grandchild")
    record_property("in call", 2)
    assert not os.environ.get("FAIL")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )

    failed = plain(pytester, env={"FAIL": "1"}).reports()
    crashed = forked(pytester).reports()

    assert [r["when"] for r in failed] == [r["when"] for r in crashed]
    for one, other in zip(failed, crashed, strict=True):
        for key in ("outcome", "location", "keywords", "timed"):
            assert one[key] == other[key], key
        for section in one["sections"]:
            assert section in other["sections"]
        order = [section for section in other["sections"] if section in one["sections"]]
        assert order == one["sections"]
    assert crashed[0]["properties"] == failed[0]["properties"]


def test_properties_recorded_before_the_crash_are_kept(pytester):
    pytester.makepyfile(
        test_ext=HEAD
        + """
@pytest.fixture
def resource(record_property): record_property("early", "1")

def test_victim(resource): os._exit(1)
"""
    )

    told = forked(pytester, "--junitxml=out.xml")

    assert [r["properties"] for r in told.reports()] == [[["early", "1"]]] * 3
    assert '<property name="early" value="1"' in (pytester.path / "out.xml").read_text()


def test_what_scripts_look_for_is_worded_as_in_pytest_forked(pytester):
    pytester.makepyfile(
        """
        import os, signal

        def test_term(): os.kill(os.getpid(), signal.SIGTERM)

        def test_exit(): os._exit(42)
        """
    )

    told = forked(pytester)

    told.result.stdout.fnmatch_lines(
        ["*CRASHED with signal 15 (SIGTERM)", "*EXITED with status 42"]
    )


def test_a_source_that_cannot_be_read_to_an_end_is_not_read(pytester):
    pytester.makepyfile(
        """
        import os

        def test_endless():
            exec(compile("os.abort()", "/dev/zero", "exec"))

        def test_nobody_writes():
            os.unlink(__file__)
            os.mkfifo(__file__)
            os.abort()
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(failed=2)
    told.result.stdout.fnmatch_lines(
        ["crashed with SIGABRT*test_*.py:4", "crashed with SIGABRT*test_*.py:9"]
    )
