"""A crash in a broader fixture: told where it belongs, tried once, and no other fixture is lost."""

from __future__ import annotations

import pytest
from comparing import compare, forked, headline

SURVIVOR = """
import noting, os, pytest, signal

@pytest.fixture(scope="session")
def survivor():
    noting.note("survivor up")
    yield
    noting.note("survivor down")
"""


def test_a_module_fixture_that_crashes_in_three_modules_costs_no_session_fixture(pytester):
    pytester.makeconftest(
        SURVIVOR
        + """
@pytest.fixture(scope="module")
def broken(survivor, request):
    noting.note("broken up", request.node.name)
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    )
    for name in ("test_x", "test_y", "test_z"):
        pytester.makepyfile(
            **{
                name: """
                def test_before(survivor): pass
                def test_one(broken): pass
                def test_two(broken): pass
                def test_after(survivor): pass
                """
            }
        )

    told = forked(pytester)

    told.result.assert_outcomes(passed=6, errors=6)
    assert len(told.noted("survivor up")) == 1
    assert len(told.noted("survivor down")) == 1
    assert [name for _, name in told.noted("broken up")] == ["test_x.py", "test_y.py", "test_z.py"]
    for name in ("test_one", "test_two"):
        assert told.outcomes(name) == ["setup failed", "teardown passed"] * 3
    for report in told.reports("test_two")[::2]:
        assert "SIGSEGV" in headline(report)
        assert "broken" in report["longrepr"]


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", id="signal"),
        pytest.param("os._exit(3)", "exited with", id="exit"),
    ],
)
def test_a_session_fixture_that_crashes_fails_its_tests_without_another_try(
    pytester, statement, word
):
    pytester.makepyfile(
        f"""
        import noting, os, pytest, signal

        @pytest.fixture(scope="session")
        def broken():
            noting.note("broken up")
            {statement}

        def test_before(): pass
        def test_one(broken): pass
        def test_two(broken): pass
        def test_three(broken): pass
        def test_after(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=2, errors=3)
    assert len(told.noted("broken up")) == 1
    for name in ("one", "two", "three"):
        assert told.outcomes(f"::test_{name}") == ["setup failed", "teardown passed"]
        assert word in headline(told.reports(f"::test_{name}")[0])


@pytest.mark.parametrize("statement", ["pass", "1 / 0"])
def test_a_fixture_that_crashes_after_it_has_asked_for_another_is_not_tried_again(
    pytester, statement
):
    pytester.makepyfile(
        f"""
        import contextlib, noting, os, pytest

        @pytest.fixture(scope="session")
        def asked():
            noting.note("asked up")
            {statement}

        @pytest.fixture(scope="session")
        def broken(request):
            noting.note("broken up")
            with contextlib.suppress(ZeroDivisionError):
                request.getfixturevalue("asked")
            os.abort()

        def test_before(): pass
        def test_one(broken): pass
        def test_two(broken): pass
        def test_after(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=2, errors=2)
    assert len(told.noted("broken up")) == 1
    assert len(told.noted("asked up")) == 1


def test_a_crash_in_the_teardown_of_a_scope_is_told_on_its_last_test(pytester):
    pytester.makeconftest(SURVIVOR)
    pytester.makepyfile(
        test_a="""
        import noting, os, pytest, signal

        @pytest.fixture(scope="module")
        def broken(survivor):
            yield
            noting.note("broken down")
            os.kill(os.getpid(), signal.SIGSEGV)

        def test_first(broken): pass
        def test_last(broken): pass
        """,
        test_b="def test_bystander(survivor): pass",
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=3, errors=1)
    assert told.outcomes("test_first") == ["setup passed", "call passed", "teardown passed"]
    assert told.outcomes("test_last") == ["setup passed", "call passed", "teardown failed"]
    assert "SIGSEGV" in headline(told.reports("test_last")[-1])
    for word in ("broken down", "survivor up", "survivor down"):
        assert len(told.noted(word)) == 1, word


def test_teardown_errors_of_several_scopes_are_one_report(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def session():
            yield
            raise ValueError("of the session")

        @pytest.fixture(scope="module")
        def module(session):
            yield
            raise KeyError("of the module")

        @pytest.fixture
        def own(module):
            yield
            raise OSError("of the test")

        def test_first(module): pass
        def test_last(own): pass
        """
    )

    told = forked(pytester)

    assert told.outcomes("test_last") == ["setup passed", "call passed", "teardown failed"]
    report = told.reports("test_last")[-1]
    text = report["longrepr"] + str(report["sections"])
    for scope in ("test", "module", "session"):
        assert f"of the {scope}" in text


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_no_other_test_pays_for_a_shared_fixture_that_hangs(pytester, phase):
    """Those whose turn has come meanwhile wait for the fork server."""
    pytester.makepyfile(
        f"""
        import itertools, pytest

        @pytest.fixture(scope="class")
        def hangs():
            if {phase!r} == "setup": sum(itertools.repeat(0))  # in C, which holds the GIL
            yield
            if {phase!r} == "teardown": sum(itertools.repeat(0))

        def test_first(): pass

        class TestIt:
            def test_victim(self, hangs): pass

        @pytest.mark.parametrize("number", range(5))
        def test_other(number): pass
        """
    )

    told = forked(pytester, "--forked-jobs=3", "--forked-timeout=2s", "--forked-grace=2s")

    told.result.assert_outcomes(errors=1, passed=6 if phase == "setup" else 7)
    told.result.stdout.fnmatch_lines([f"*ran into its timeout of 2 s (*SIGKILL) in {phase}*"])


def test_an_assertion_that_fails_as_a_scope_ends_is_explained(pytester):
    pytester.makeconftest(
        """
        import pytest

        def pytest_assertrepr_compare(op, left, right):
            return ["explained by the conftest"] if left == "ours" else None

        @pytest.fixture(scope="session")
        def session():
            yield
            assert "ours" == "theirs"

        @pytest.fixture(scope="module")
        def module():
            yield
            assert [1, 2, 3] == [1, 0, 3]
        """
    )
    pytester.makepyfile(
        test_one="def test_module(module): pass",
        test_two="def test_session(session): pass",
    )

    compare(pytester)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("death", ["os.abort()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_crash_as_another_parameter_comes_is_told_once(pytester, death, jobs):
    """The fork server tears the fixture down in the set-up of the test that needs the other one."""
    pytester.makepyfile(
        test_it=f"""
        import noting, os, pytest

        @pytest.fixture(scope="module", params=[1, 2, 3])
        def shared(request):
            noting.note("set up", request.param)
            yield request.param
            if request.param == 2:
                {death}

        def test_one(shared): pass
        def test_two(shared): pass
        """
    )

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(passed=5, errors=1)
    told.result.stdout.fnmatch_lines(["* ERROR at setup of test_one[[]3[]] *"])
    assert [param for _, param in told.noted("set up")] == ["1", "2", "3"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("scope", ["session", "module"])
def test_what_a_shared_fixture_forks_and_lets_run_on_is_no_fork_server(pytester, scope, jobs):
    pytester.makepyfile(
        f"""
        import os, pytest

        @pytest.fixture(scope="session")
        def broad(): pass

        @pytest.fixture(scope={scope!r})
        def shared(broad):
            if pid := os.fork():
                os.waitpid(pid, 0)
            yield
            if pid := os.fork():
                os.waitpid(pid, 0)

        def test_one(shared): pass
        def test_two(shared): pass
        """
    )

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(passed=2)
    told.result.stdout.no_fnmatch_line("*INTERNALERROR*")
