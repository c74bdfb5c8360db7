"""How a session ends: stopped early, rerun from the cache, exited or interrupted.

Each case is run plainly and forked and must tell the same, print the same and
exit with the same status.
"""

from __future__ import annotations

import pytest
from comparing import assert_same, compare, forked, plain

SUITE = {
    "test_a": """
        import pytest

        def test_pass(): print("out of test_pass")
        def test_fail(): assert 0, "first"
        def test_pass_after_fail(): pass

        @pytest.fixture
        def broken(): raise ValueError("no set-up")

        def test_error(broken): pass
        """,
    "test_b": """
        import pytest

        class TestClass:
            def test_fail(self): assert 0, "second"

            @pytest.fixture
            def untidy(self):
                yield
                raise ValueError("no tear-down")

            def test_teardown_error(self, untidy): pass

        @pytest.mark.skip(reason="not now")
        def test_skip(): pass

        @pytest.mark.xfail(reason="known")
        def test_xfail(): assert 0

        @pytest.mark.xfail(strict=True, reason="thought to be known")
        def test_xpass_strict(): pass

        def test_last(): pass
        """,
}


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([[]], id="to the end"),
        pytest.param([["-x"]], id="exitfirst"),
        pytest.param([["--maxfail=2"]], id="maxfail"),
        pytest.param([["--maxfail=4", "-q"]], id="maxfail on a teardown"),
        pytest.param([["--sw"], ["--sw"], ["--sw", "--sw-skip"]], id="stepwise"),
        pytest.param([[], ["--lf"]], id="last failed"),
        pytest.param([["-x"], ["--ff", "-v"]], id="failed first"),
        pytest.param([["--collect-only"]], id="collect only"),
        pytest.param([["--setup-only", "-q"]], id="setup only"),
    ],
)
def test_options_that_end_a_session_end_it_as_in_a_plain_run(pytester, runs):
    pytester.makepyfile(**SUITE)
    for args in runs:
        compare(pytester, *args)


@pytest.mark.parametrize("args", [[], ["--continue-on-collection-errors"], ["--maxfail=1"]])
def test_collection_errors_end_the_session_as_in_a_plain_run(pytester, args):
    pytester.makepyfile(
        **SUITE,
        test_0_broken="import no_such_module",
        test_c_skipped="import pytest; pytest.skip('not here', allow_module_level=True)",
    )

    one, _ = compare(pytester, *args)

    assert any(row["kind"] == "collect" for row in one.rows)


def test_empty_run_says_so(pytester):
    one, _ = compare(pytester)

    assert one.status == pytest.ExitCode.NO_TESTS_COLLECTED


REACHED = """
import os, pytest

def reach(place, session=None):
    if os.environ["PLACE"] != place:
        return
    deed = os.environ["DEED"]
    if deed == "exit":
        pytest.exit("had enough")
    if deed == "exit 7":
        pytest.exit("had enough", returncode=7)
    if deed == "exit 0":
        pytest.exit("all is well", returncode=0)
    if deed == "exit 4":
        pytest.exit("used wrongly", pytest.ExitCode.USAGE_ERROR)
    if deed == "interrupt":
        raise KeyboardInterrupt("stop it")
    setattr(session, deed, "had enough")
"""
REACHING_CONFTEST = """
import os, pytest, noting
from reaching import reach

@pytest.fixture(scope="module")
def module_resource():
    noting.note("set up", "module")
    yield
    noting.note("tear down", "module")

@pytest.fixture
def resource(request, module_resource):
    noting.note("set up", request.node.name)
    reach("fixture", request.session)
    yield
    noting.note("tear down", request.node.name)
    reach("teardown", request.session)

def pytest_runtest_setup(item):
    if item.name == "test_it":
        reach("setup hook", item.session)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if item.name == "test_it":
        reach("call hook", item.session)
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    result = yield
    if item.name == "test_it" and call.when == "call":
        reach("makereport", item.session)
    return result

class TellingHooks:
    def __init__(self, session):
        self.session = session

    def pytest_runtest_logstart(self, nodeid):
        if "test_it" in str(nodeid):
            reach("logstart", self.session)

    def pytest_runtest_logreport(self, report):
        if "test_it" in str(report.nodeid) and report.when == "call":
            reach("logreport", self.session)

    def pytest_runtest_logfinish(self, nodeid):
        if "test_it" in str(nodeid):
            reach("logfinish", self.session)

def pytest_sessionstart(session):
    session.config.pluginmanager.register(TellingHooks(session))
"""
REACHING_TEST = """
from reaching import reach

def test_before(resource, request): print("before")

def test_it(resource, request):
    print("at it")
    reach("test", request.session)

def test_after(resource): print("after")
"""


@pytest.mark.parametrize(
    ("deed", "place"),
    [
        ("exit", "test"),
        ("exit 7", "fixture"),
        ("exit 7", "teardown"),
        ("exit 4", "teardown"),
        ("exit 0", "setup hook"),
        ("exit 7", "logreport"),
        ("interrupt", "test"),
        ("interrupt", "teardown"),
        ("interrupt", "makereport"),
        ("interrupt", "logreport"),
        ("shouldstop", "test"),
        ("shouldstop", "setup hook"),
        ("shouldstop", "logreport"),
        ("shouldfail", "call hook"),
        ("shouldfail", "logfinish"),
    ],
)
def test_session_ended_from_a_test_or_hook_ends_as_in_a_plain_run(pytester, deed, place):
    pytester.makepyfile(reaching=REACHED, test_reaching=REACHING_TEST)
    pytester.makeconftest(REACHING_CONFTEST)
    env = {"DEED": deed, "PLACE": place}

    one = plain(pytester, env=env)
    other = forked(pytester, env=env)

    assert one.outcomes("test_after") == [], "this case does not end the session"
    assert_same(one, other)
    set_up, torn_down = other.noted("set up"), other.noted("tear down")
    assert "test_after" not in [name for _, name in set_up], "the next test had begun"
    if place != "fixture":  # whose yield is not reached
        assert sorted(set_up) == sorted(torn_down)


def test_interrupt_shows_full_traceback_when_asked(pytester):
    pytester.makepyfile(reaching=REACHED, test_reaching=REACHING_TEST)
    pytester.makeconftest(REACHING_CONFTEST)

    one, _ = compare(
        pytester, "--full-trace", output=False, env={"DEED": "interrupt", "PLACE": "test"}
    )

    assert one.status == pytest.ExitCode.INTERRUPTED


def test_sigint_to_pytest_ends_the_session_as_in_a_plain_run(pytester):
    pytester.makeconftest(
        """
        import os, pytest

        def pytest_configure(config):
            os.environ["MAIN_PID"] = str(os.getpid())
        """
    )
    pytester.makepyfile(
        """
        import os, signal, threading

        def test_before(): pass

        def test_interrupted():
            os.kill(int(os.environ["MAIN_PID"]), signal.SIGINT)
            threading.Event().wait(50)

        def test_after(): pass
        """
    )

    one, other = plain(pytester), forked(pytester)

    assert one.status == other.status == pytest.ExitCode.INTERRUPTED
    assert one.outcomes("test_before") == other.outcomes("test_before")
    assert other.outcomes("test_after") == []
    other.result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert "INTERNALERROR" not in other.result.stdout.str()


def test_exit_before_the_loop_ends_the_session_as_in_a_plain_run(pytester):
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_finish(session):
            pytest.exit("not today", returncode=9)
        """
    )
    pytester.makepyfile("def test_one(): pass")

    one, _ = compare(pytester)

    assert one.status == 9


def test_crash_counts_for_exitfirst_and_is_the_last_failed(pytester):
    pytester.makepyfile(
        """
        import os, signal

        def test_before(): pass
        def test_victim(): os.kill(os.getpid(), signal.SIGSEGV)
        def test_after(): pass
        """
    )

    first = forked(pytester, "-x")
    again = forked(pytester, "--lf")

    assert list(first.verdicts()) == ["test_before", "test_victim"]
    first.result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert first.status == again.status == 1
    assert list(again.verdicts()) == ["test_victim"]


def test_exit_status_follows_the_worst_outcome(pytester):
    pytester.makepyfile(test_ok="def test_ok(): pass", **SUITE)

    for args in (["test_ok.py"], ["no_such_file.py"], ["-k", "nothing like it"]):
        assert plain(pytester, *args).status == forked(pytester, *args).status, args


def test_what_a_last_teardown_raises_keeps_no_plugin_from_seeing_the_session_finish(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def shared():
            yield
            pytest.exit("of the fixture", returncode=8)

        def test_interrupted(): raise KeyboardInterrupt
        """
    )

    one, other = compare(pytester)

    assert one.status == other.status == 8
    assert any(row["kind"] == "session" for row in other.rows)
