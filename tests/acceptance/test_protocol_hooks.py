"""The protocol hooks of others: wrappers, own protocols, own loops, broken ones.

Each is entered exactly as often as in a plain run, in the process where the test
runs.
"""

from __future__ import annotations

import pytest
from comparing import assert_same_lines, compare, forked, plain

WRAPPING_CONFTEST = """
import os, pytest, noting

def wrapper(name):
    @pytest.hookimpl(wrapper=True)
    def hook(item):
        noting.note("hook", f"{name} enter", item.name, os.getpid())
        try:
            return (yield)
        finally:
            noting.note("hook", f"{name} leave", item.name, os.getpid())
    return hook

for phase in ("protocol", "setup", "call"):
    globals()[f"pytest_runtest_{phase}"] = wrapper(phase)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    noting.note("hook", "teardown enter", item.name, os.getpid())
    result = yield
    noting.note("hook", "teardown leave", item.name, os.getpid())
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    noting.note("hook", f"makereport {call.when}", item.name, os.getpid())
    return (yield)

@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    noting.note("hook", "pyfunc", pyfuncitem.name, os.getpid())
    return (yield)

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    noting.note("loop", "enter", os.getpid())
    result = yield
    noting.note("loop", "leave", os.getpid())
    return result
"""


def test_protocol_wrappers_are_entered_as_often_as_plain_where_the_test_runs(pytester):
    pytester.makeconftest(WRAPPING_CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        def test_pass(): pass
        def test_fail(): assert 0
        @pytest.mark.skip
        def test_skip_mark(): pass
        def test_skip(): pytest.skip("now")
        @pytest.mark.xfail
        def test_xfail(): assert 0
        @pytest.mark.xfail(run=False)
        def test_not_run(): assert 0
        @pytest.fixture
        def broken(): raise ValueError
        def test_error(broken): pass
        class TestClass:
            def test_in_class(self): pass
        """
    )

    one, other = compare(pytester)

    assert_same_lines(
        *[[f"{name} {what}" for _, what, name, _ in t.noted("hook")] for t in (one, other)]
    )
    (main, *_) = other.noted("loop")[0]
    assert [(what, pid) for pid, what, _ in other.noted("loop")] == [
        ("enter", main),
        ("leave", main),
    ]
    for name in ("test_pass", "test_fail", "test_error", "test_in_class"):
        pids = {pid for pid, _, item, _ in other.noted("hook") if item == name}
        assert len(pids) == 1, f"{name} ran in {len(pids)} processes"
        assert main not in pids


def test_protocol_wrapper_of_a_crashed_test_is_entered_once(pytester):
    pytester.makeconftest(WRAPPING_CONFTEST)
    pytester.makepyfile(
        """
        import os

        def test_victim(): os._exit(1)
        def test_after(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(failed=1, passed=1)
    assert [what for _, what, name, _ in told.noted("hook") if name == "test_victim"] == [
        "protocol enter",
        "setup enter",
        "setup leave",
        "makereport setup",
        "call enter",
        "pyfunc",
    ]


@pytest.mark.parametrize("times", [1, 3])
def test_conftest_that_owns_the_protocol_runs_each_test_as_it_likes(pytester, times):
    pytester.makeconftest(
        f"""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for n in range({times}):
                last = n == {times} - 1
                item._initrequest()
                reports = runtestprotocol(item, nextitem=nextitem if last else item, log=False)
                for report in reports:
                    item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """
    )
    pytester.makepyfile(
        """
        seen = []

        def test_counts():
            seen.append(1)
            assert len(seen) != 2

        def test_other(): pass
        """
    )

    one, _ = compare(pytester)

    assert len(one.reports("test_other")) == 3 * times


def test_loop_of_a_conftest_is_respected(pytester):
    """A plugin that brings its own loop has the last word, as in a plain run."""
    pytester.makeconftest(
        """
        import noting, pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(session):
            noting.note("own loop")
            return True
        """
    )
    pytester.makepyfile("def test_one(): pass")

    one, other = compare(pytester)

    assert len(one.noted("own loop")) == len(other.noted("own loop")) == 1


def test_error_in_a_hook_of_the_pytest_process_is_an_internal_error_in_both(pytester):
    pytester.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.when == "call":
                raise RuntimeError("a broken conftest")
        """
    )
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    one = plain(pytester)
    other = forked(pytester)

    assert one.status == other.status == pytest.ExitCode.INTERNAL_ERROR
    assert other.outcomes("test_two") == []
    other.result.stdout.fnmatch_lines(["INTERNALERROR> *a broken conftest*"])


def test_error_in_a_protocol_hook_is_an_internal_error_in_both(pytester):
    """A broken conftest is no crash of the test: the session ends, and says why."""
    pytester.makeconftest(
        """
        def pytest_runtest_makereport(item, call):
            if call.when == "call" and item.name == "test_one":
                raise RuntimeError("a broken conftest")
        """
    )
    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")

    one = plain(pytester)
    other = forked(pytester)

    assert one.status == other.status == pytest.ExitCode.INTERNAL_ERROR
    assert other.outcomes("test_two") == []
    other.result.stdout.fnmatch_lines(["INTERNALERROR> *a broken conftest*"])


def test_a_plugin_that_serializes_reports_itself_is_asked(pytester):
    pytester.makeconftest(
        """
        import pytest

        def pytest_report_to_serializable(report):
            if isinstance(report, pytest.TestReport):
                return {**report._to_json(), "$report_type": "Mine", "by": "me"}

        def pytest_report_from_serializable(data):
            if data.pop("$report_type", "") == "Mine":
                return pytest.TestReport._from_json(data)

        def pytest_runtest_logreport(report):
            print("told by", report.by)
        """
    )
    pytester.makepyfile("def test_it(): pass")

    result = pytester.runpytest_subprocess("--forked", "-s")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*told by me"] * 3)


def test_tests_of_a_unit_that_tell_nothing_are_over_when_their_child_goes_on(pytester):
    """Their child may be in a phase of the next one by the time that their end is heard."""
    pytester.makeconftest(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            runtestprotocol(item, nextitem=nextitem, log=False)
            return True
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(1000))
        def test_it(number): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked", "--forked-scope=module")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes()
