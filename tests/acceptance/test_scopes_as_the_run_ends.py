"""Scopes that end because the run does: each is torn down where it was set up, and that is told."""

from __future__ import annotations

import pytest
from comparing import compare, forked, plain

FIXTURES = """
import noting, pytest, warnings

def steps(request):
    noting.note("step", "up", request.fixturename)
    yield
    noting.note("step", "down", request.fixturename)
    warnings.warn(f"{request.fixturename} ends")

@pytest.fixture(scope="session")
def session(request): yield from steps(request)
@pytest.fixture(scope="module")
def module(request, session): yield from steps(request)
@pytest.fixture(scope="class")
def narrow(request, module): yield from steps(request)
"""
ENDS_IN_A_TEST = """
import pytest

class TestC:
    def test_first(self, narrow): pass
    def test_ends(self, narrow): {deed}
    def test_never(self, narrow): pass
"""
ENDS_AS_A_SCOPE_IS_LEFT = """
import pytest, warnings

class TestC:
    @pytest.fixture(scope="class")
    def exits(self, module):
        yield
        pytest.exit("now")
    def test_it(self, exits, narrow): warnings.warn("in the test")
def test_never(): pass
"""


@pytest.mark.parametrize("deed", ["pytest.exit('now')", "raise KeyboardInterrupt"])
def test_all_scopes_are_torn_down_once_and_their_warnings_are_told(pytester, deed):
    pytester.makeconftest(FIXTURES)
    pytester.makepyfile(test_it=ENDS_IN_A_TEST.format(deed=deed))

    one, other = plain(pytester), forked(pytester)

    steps = [words for _, *words in one.noted("step")]
    assert [words for words in steps if words[0] == "down"] == [
        ["down", "narrow"],
        ["down", "module"],
        ["down", "session"],
    ]
    assert [words for _, *words in other.noted("step")] == steps
    assert other.status == one.status
    assert other.output == one.output
    one.result.stdout.fnmatch_lines(["*session ends*", "*1 passed, 3 warnings in *"])


def test_a_scope_that_exits_as_it_is_left_leaves_no_report_of_the_teardown(pytester):
    pytester.makeconftest(FIXTURES)
    pytester.makepyfile(test_it=ENDS_AS_A_SCOPE_IS_LEFT)

    one, other = plain(pytester), forked(pytester)

    assert other.verdicts() == one.verdicts()
    assert other.output == one.output


ENDS_AS_ITS_LAST_SCOPES_ARE_LEFT = """
import pytest

@pytest.fixture(scope="{scope}")
def exits({broader}):
    yield
    pytest.exit("now")
def test_it(exits, {broader}): pass
"""
EXITS = pytest.mark.parametrize(
    ("scope", "broader"), [("function", "session"), ("module", "session"), ("class", "module")]
)


@EXITS
def test_warnings_of_broader_scopes_are_told_though_a_narrower_one_exits(pytester, scope, broader):
    pytester.makeconftest(FIXTURES)
    pytester.makepyfile(
        test_it=ENDS_AS_ITS_LAST_SCOPES_ARE_LEFT.format(scope=scope, broader=broader)
    )

    one, other = plain(pytester), forked(pytester)

    assert other.verdicts() == one.verdicts()
    assert other.output == one.output
    one.result.stdout.fnmatch_lines(["*session ends*", "*Exit: now*"])


@EXITS
def test_a_failure_of_a_broader_scope_is_told_though_a_narrower_one_exits(pytester, scope, broader):
    pytester.makeconftest(FIXTURES.replace("warnings.warn(f", "assert not (f"))
    pytester.makepyfile(
        test_it=ENDS_AS_ITS_LAST_SCOPES_ARE_LEFT.format(scope=scope, broader=broader)
    )

    told = forked(pytester)

    assert told.status == pytest.ExitCode.INTERRUPTED
    told.result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_it*",
            "*session ends*",
            "*Exit: now*",
            "*1 passed, 1 error in *",
        ]
    )


def test_with_stepwise_the_failed_test_tells_of_all_scopes(pytester):
    """No child knows what ``--stepwise`` stops with: the pytest process does."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def wide():
            yield
            print("the session ends")

        @pytest.fixture(scope="module")
        def module(wide):
            yield
            print("the module ends")

        def test_fails(module): assert 0
        def test_after(module): pass
        """
    )

    compare(pytester, "--sw")


def test_setup_show_writes_the_end_of_a_scope_before_the_report_of_its_teardown(pytester):
    pytester.makeconftest(FIXTURES)
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def fails():
            yield
            assert 0

        def test_it(session, fails): pass
        """
    )

    compare(pytester, "--setup-show")


def test_a_fixture_may_ask_for_an_override_as_it_is_set_up(pytester):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="module")
        def base(): return "base"

        @pytest.fixture(scope="module")
        def asks(request): return request.getfixturevalue("base")
        """
    )
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(scope="module")
        def base(base):
            noting.note("up")
            return "own " + base

        def test_a(asks): assert asks == "own base"
        def test_b(asks): assert asks == "own base"
        """
    )

    _, other = compare(pytester)

    assert len(other.noted("up")) == 1


LEFT = """
import noting, os, pytest, signal, time

PYTEST = os.getpid()

@pytest.fixture(scope="session")
def session():
    yield
    noting.note("begins")
    {teardown}
    noting.note("ends")

def test_it(session): pytest.exit("enough")
def test_never(session): pass
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_torn_down_as_the_run_ends_may_take_its_time(pytester, jobs):
    pytester.makeconftest(
        """
        from pytest_procrastinate.parent import servers

        servers.LOOK_SECONDS = 0.1
        """
    )
    pytester.makepyfile(
        LEFT.format(teardown="time.sleep(1.5); os.kill(os.getpid(), signal.SIGSTOP)")
    )

    told = forked(pytester, f"--forked-jobs={jobs}", "--forked-grace=10ms")

    assert told.status == pytest.ExitCode.INTERRUPTED
    assert len(told.noted("ends")) == 1


def test_what_is_torn_down_as_the_run_ends_has_the_time_of_a_test(pytester):
    pytester.makepyfile(LEFT.format(teardown="time.sleep(1000)"))

    told = forked(pytester, "--forked-timeout=500ms", "--forked-grace=500ms")

    assert told.status == pytest.ExitCode.INTERRUPTED
    assert len(told.noted("begins")) == 1
    told.result.stdout.fnmatch_lines(["forked: shared fixtures were not torn down within 1 s"])


def test_ctrl_c_ends_what_is_torn_down_as_the_run_ends(pytester):
    pytester.makepyfile(LEFT.format(teardown="os.kill(PYTEST, signal.SIGINT); time.sleep(1000)"))

    told = forked(pytester)

    assert told.status == pytest.ExitCode.INTERRUPTED
    assert len(told.noted("begins")) == 1


def test_scopes_that_fail_with_a_skipped_test_are_not_what_its_xfail_mark_expects(pytester):
    """Plain pytest looks at that mark only where the test is not skipped."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def broad():
            yield
            assert 0, "broad ends badly"
        @pytest.fixture(scope="module")
        def narrow(broad): yield
        def test_first(narrow): pass
        @pytest.mark.skip
        @pytest.mark.xfail
        def test_last(narrow): pass
        """
    )

    _, other = compare(pytester)

    other.result.assert_outcomes(passed=1, skipped=1, errors=1)


@pytest.mark.parametrize("args", [[], ["-x"]], ids=" ".join)
def test_scopes_fail_as_an_xfail_mark_expects_that_their_last_test_gave_itself(pytester, args):
    """Plain pytest looks at its marks once more when it has run."""
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.fixture(scope="module")
        def narrow():
            yield
            assert 0, "narrow ends badly"
        def test_last(narrow, request):
            request.node.add_marker(pytest.mark.xfail(reason="known"))
        """,
        test_later="def test_later(): pass",
    )

    _, other = compare(pytester, *args)

    other.result.assert_outcomes(passed=1, xpassed=1, xfailed=1)


@pytest.mark.parametrize("flag", ["shouldstop", "shouldfail"])
@pytest.mark.parametrize("scope", ["session", "module", "class"])
def test_a_scope_that_asks_for_the_end_of_the_run_as_it_ends_gets_it(pytester, flag, scope):
    pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.fixture(scope="session")
        def broad(): yield
        class TestC:
            @pytest.fixture(scope={scope!r})
            def asks(self, broad, request):
                yield
                request.session.{flag} = "enough"
            def test_first(self, asks): pass
            def test_second(self, asks): pass
        """,
        test_later="def test_later(): pass",
    )

    _, other = compare(pytester)

    other.result.stdout.fnmatch_lines(["!*enough*!"])


@pytest.mark.parametrize("outcome", ["pytest.skip('own')", "pytest.xfail('own')"])
def test_a_scope_that_fails_after_a_teardown_that_skips_is_a_failure(pytester, outcome):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def session():
            yield
            raise ValueError("of the session")

        @pytest.fixture
        def own():
            yield
            {outcome}

        def test_it(session, own): pass
        """
    )

    one, other = plain(pytester, "--junitxml=one.xml"), forked(pytester, "--junitxml=other.xml")

    assert one.verdicts() == other.verdicts()
    assert one.status == other.status == pytest.ExitCode.TESTS_FAILED
    assert "ValueError: of the session" in other.reports("test_it")[-1]["longrepr"]
