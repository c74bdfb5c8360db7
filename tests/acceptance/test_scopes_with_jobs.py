"""Scopes that begin and end while several tests run at once."""

from __future__ import annotations

import os

import pytest
from comparing import assert_same, forked, plain
from test_jobs import MEETING, TWO

STEPS = """
import noting, pytest

def steps(request):
    noting.note("step", "up", request.fixturename)
    yield
    noting.note("step", "down", request.fixturename)
"""


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_a_class_that_others_come_between_begins_anew(pytester, jobs):
    """Though the server of its first tests is still there when the next ones are ordered."""
    pytester.makeconftest(
        """
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.name)
        """
    )
    pytester.makepyfile(
        STEPS
        + """
@pytest.fixture(scope="session")
def broad(request): yield from steps(request)
@pytest.fixture(scope="class")
def narrow(request, broad): yield from steps(request)
class TestC:
    def test_1(self, narrow): noting.note("step", "1")
    def test_3(self, narrow): noting.note("step", "3")
    def test_5(self, narrow): noting.note("step", "5")
def test_2(): noting.note("step", "2")
def test_4(): noting.note("step", "4")
"""
    )

    one, other = plain(pytester), forked(pytester, f"--forked-jobs={jobs}")

    other.result.assert_outcomes(passed=5)
    steps = [sorted(" ".join(rest[1:]) for _, *rest in told.notes) for told in (one, other)]
    assert steps[0] == steps[1]


def test_a_module_that_ends_after_a_later_one_has_begun_ends_only_its_own(pytester):
    """The test of ``a`` runs on while that of ``b`` ends and ``c`` is set up, in another server."""
    common = """
import pathlib, time

def wait_for(name):
    end = time.monotonic() + 30
    while not pathlib.Path(name).exists() and time.monotonic() < end:
        time.sleep(0.01)
"""
    pytester.makeconftest(
        STEPS
        + """
@pytest.fixture(scope="session", autouse=True)
def broad(request): yield from steps(request)
@pytest.fixture(scope="session")
def late(request): yield from steps(request)
"""
    )
    pytester.makepyfile(
        test_a=STEPS
        + common
        + """
@pytest.fixture(scope="module")
def a(request):
    yield from steps(request)
    open("a has ended", "w").close()
def test_a(a): wait_for("c has begun")
""",
        test_b="def test_b(): pass",
        test_c=STEPS
        + common
        + """
@pytest.fixture(scope="module")
def c(request):
    open("c has begun", "w").close()
    yield from steps(request)
def test_first(c): wait_for("a has ended")
@pytest.mark.parametrize("n", range(30))
def test_next(c, late, n): pass
""",
    )

    told = forked(pytester, "--forked-jobs=3")

    told.result.assert_outcomes(passed=33)
    steps = [" ".join(rest).strip() for _, *rest in told.noted("step")]
    assert sorted(steps) == [
        f"{change} {name}" for change in ("down", "up") for name in ("a", "broad", "c", "late")
    ]
    assert steps.index("up c") < steps.index("down a")


def test_what_is_set_up_for_tests_after_the_end_of_the_run_tells_nothing(pytester):
    """A plain run would not have come to the class that another server has set up meanwhile."""
    pytester.makepyfile(
        """
        import pathlib, pytest, time

        @pytest.fixture(scope="session")
        def broad(): yield

        @pytest.fixture(scope="class")
        def ends(request, broad):
            pathlib.Path(request.cls.__name__).touch()
            yield
            pytest.exit("enough")

        class TestFirst:
            def test_waits(self, ends):
                end = time.monotonic() + 30
                while not pathlib.Path("TestAfter").exists() and time.monotonic() < end:
                    time.sleep(0.01)

        class TestAfter:
            def test_never(self, ends): pass
            def test_at_all(self, ends): pass
        """
    )

    told = forked(pytester, "--forked-jobs=2")

    assert told.status == pytest.ExitCode.INTERRUPTED
    told.result.assert_outcomes(passed=1)
    told.result.stderr.no_fnmatch_line("Exit: *")


def test_the_teardown_of_a_class_within_another_is_told_though_the_other_begins(
    pytester, monkeypatch
):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import os, pytest
        from meeting import meet

        @pytest.fixture(scope="class")
        def shared(request):
            if "MEET" in os.environ and request.node.name == "TestOuter":
                meet(False)
            yield
            print("torn down", request.node.name)
            pytest.fail(f"of {request.node.name}", pytrace=False)

        class TestOuter:
            class TestInner:
                def test_inner(self, shared):
                    if "MEET" in os.environ:
                        meet(True)

            def test_outer(self, shared): pass

        def teardown_module(): pass
        """,
    )
    one = plain(pytester, "-rA")
    monkeypatch.setenv("MEET", "")

    assert_same(one, forked(pytester, "-rA", *TWO))


@pytest.mark.parametrize("scope", ["session", "module", "class"])
@pytest.mark.parametrize("args", [["-x"], ["-x", "-s"]], ids=" ".join)
def test_what_was_set_up_for_tests_after_the_end_of_the_run_is_torn_down_in_silence(
    pytester, monkeypatch, scope, args
):
    pytester.makepyfile(
        meeting=MEETING,
        test_it=f"""
        import noting, os, pytest
        from meeting import meet

        @pytest.fixture(scope="session", autouse=True)
        def broader(): yield

        def test_fails():
            if "MEET" in os.environ:
                meet(True)
            assert 0

        class TestLater:
            @pytest.fixture(scope={scope!r}, params=[1])
            @staticmethod
            def later(request):
                if "MEET" in os.environ:
                    meet(False)
                yield
                noting.note("later", "torn down")
                os.write(1, b"raw")
                print("printed")
                pytest.exit("of the fixture")

            def test_later(self, later): pass
        """,
    )
    one = plain(pytester, *args)
    monkeypatch.setenv("MEET", "")

    other = forked(pytester, *args, *TWO)

    assert_same(one, other)
    assert len(other.noted("later")) == 1
    assert "raw" not in other.result.stdout.str()
    assert "printed" not in other.result.stdout.str()


def test_also_what_a_class_was_set_up_with_where_its_module_has_a_server_of_its_own(
    pytester, monkeypatch
):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import noting, os, pytest
        from meeting import meet

        @pytest.fixture(scope="session", autouse=True)
        def broader(): yield
        @pytest.fixture(scope="module", autouse=True)
        def shared(): yield

        def test_fails():
            if "MEET" in os.environ:
                meet(True)
            assert 0

        class TestLater:
            @pytest.fixture(scope="class")
            @staticmethod
            def later():
                if "MEET" in os.environ:
                    meet(False)
                yield
                noting.note("later", "torn down")
                print("printed")

            def test_later(self, later): pass
        """,
    )
    one = plain(pytester, "-x")
    monkeypatch.setenv("MEET", "")

    other = forked(pytester, "-x", *TWO)

    assert_same(one, other)
    assert len(other.noted("later")) == 1
    assert "printed" not in other.result.stdout.str()


def test_the_time_of_a_test_begins_with_its_child_once_its_server_is_free_for_it(pytester):
    pytester.makepyfile(
        test_it="""
        import os, pytest, time

        forks = None

        def before_fork():
            global forks
            forks = None if forks is None else forks + 1

        def after_fork_in_child():
            if forks == 2:
                time.sleep(1.5)

        os.register_at_fork(before=before_fork, after_in_child=after_fork_in_child)

        @pytest.fixture(scope="module")
        def shared():
            global forks
            time.sleep(2)
            forks = 0

        def test_first(shared): pass

        def test_second():
            pass  # forked when two seconds are over, and not begun at three
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", "--forked-jobs=2", "--forked-timeout=3", timeout=180
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("deed", ["assert 0, 'it ends badly'", "os.abort()"])
def test_what_a_class_ends_with_is_told_though_its_module_has_begun_beside_it(pytester, deed):
    """Their servers are siblings: the module has nothing set up before the class is over."""
    pytester.makepyfile(
        f"""
        import os, pytest

        for name in ("runs", "ends"):
            os.path.exists(name) or os.mkfifo(name)

        @pytest.fixture(scope="session")
        def broad(): yield

        @pytest.fixture(scope="module")
        def narrow(broad): yield

        def test_first(broad): pass

        class TestC:
            @classmethod
            def teardown_class(cls):
                open("ends", "w").close()
                print("last words of the class")
                {deed}
            def test_waits(self): open("runs").close()

        def test_beside(narrow):
            open("runs", "w").close()
            open("ends").close()
        """
    )

    told = forked(pytester, "--forked-jobs=2")

    told.result.assert_outcomes(passed=3, errors=1)
    told.result.stdout.fnmatch_lines(["*ERROR at teardown of TestC.test_waits*", "last words*"])


def test_what_the_last_failure_of_a_run_ends_is_told_with_it_also_live(pytester):
    """Which one that is, no child knows: another failed beside it."""
    pytester.makeconftest(
        """
        import os

        def pytest_runtest_logfinish(nodeid):
            if os.path.exists("told") and "first" in nodeid:
                open("told", "w").close()
        """
    )
    pytester.makepyfile(
        test_it="""
        import logging, os, pytest

        @pytest.fixture(scope="session")
        def shared():
            yield
            logging.warning("torn down")

        def test_first(shared): assert 0

        def test_last(shared):
            if os.path.exists("told"):
                open("told").close()
            assert 0

        def test_after(shared): pass
        """
    )
    args = ["-s", "--maxfail=2"]
    one = plain(pytester, *args)
    os.mkfifo(pytester.path / "told")

    assert_same(one, forked(pytester, *args, *TWO))
