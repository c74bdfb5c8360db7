"""Several forked tests at once: told as if they had run one by one, and kept apart where asked."""

from __future__ import annotations

import re

import pytest
from comparing import assert_same, assert_same_lines, forked, loaded, plain

from pytest_procrastinate.pytest_private import tears_down_all_as_it_stops

TWO = ("--forked-jobs=2", "--forked-timeout=50")  # the limit only ends a hang

stops_later = pytest.mark.xfail(
    not tears_down_all_as_it_stops(),
    reason="8.0.2 tears scopes down as the session ends: a second job may have begun others by then",
    strict=False,  # or not
)

MEETING = """
import os

for name in ("there", "back"):
    try:
        os.mkfifo(name)
    except FileExistsError:
        pass

def meet(first):
    \"\"\"Return once another test, that is not first, is here as well.\"\"\"
    for name in ("there", "back"):
        with open(name, "w" if first == (name == "there") else "r") as fifo:
            fifo.write("x") if fifo.writable() else fifo.read()
"""

SUITE = """
import pytest, sys, warnings

@pytest.fixture(scope="module", params=[1, 2])
def module(request):
    print("set up", request.param)
    yield request.param
    print("torn down", request.param)
    if request.param == 2:
        raise OSError("of the scope")

def test_passes(module): print("of a test")

def test_fails(module):
    print("to stderr", file=sys.stderr)
    assert module == 0

class TestClass:
    @pytest.mark.skip(reason="not now")
    def test_skipped(self): pass

    @pytest.mark.xfail(reason="known")
    def test_xfail(self): assert 0

    def test_warns(self): warnings.warn("careful")

@pytest.fixture
def broken(): raise OSError("in setup")

def test_error_in_setup(broken): pass

@pytest.mark.parametrize("n", range(6))
def test_many(n): pass
"""


def make_suite(pytester):
    pytester.makepyfile(test_one=SUITE, test_two=SUITE)


# --- the output is that of one job ------------------------------------------------------------


@pytest.mark.parametrize("args", [["-v", "-rA"], ["--maxfail=99", "-q"]], ids=" ".join)
def test_two_jobs_tell_what_a_plain_run_tells(pytester, args):
    make_suite(pytester)

    assert_same(plain(pytester, *args), forked(pytester, *args, "--forked-jobs=2"))


@stops_later
@pytest.mark.parametrize("args", [["-x"], ["--maxfail=2", "-v"], ["--maxfail=3"]], ids=" ".join)
def test_a_run_that_stops_early_tells_what_a_plain_run_tells(pytester, args):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def module():
            print("set up")
            yield
            print("torn down")

        @pytest.mark.parametrize("n", range(9))
        def test_it(module, n):
            print("test", n)
            assert n not in (2, 3, 5)
        """
    )

    assert_same(plain(pytester, *args), forked(pytester, *args, "--forked-jobs=2"))


@stops_later
def test_x_tells_no_teardown_of_what_comes_after(pytester):
    make_suite(pytester)

    assert_same(plain(pytester, "-x"), forked(pytester, "-x", "--forked-jobs=2"))


def test_junitxml_is_in_the_order_of_one_job(pytester):
    make_suite(pytester)
    texts = []
    for jobs in (1, 2):
        forked(pytester, f"--forked-jobs={jobs}", f"--junitxml={jobs}.xml")
        text = (pytester.path / f"{jobs}.xml").read_text()
        text = re.sub(r'(time|timestamp|hostname)="[^"]*"', r'\1=""', text)
        texts.append(re.sub(r"0x[0-9a-f]+", "0xADDRESS", text).replace("><", ">\n<").splitlines())

    assert_same_lines(*texts)


@pytest.mark.parametrize("args", [[], ["--maxfail=5"], ["--maxfail=3"]], ids=" ".join)
def test_crashes_are_told_as_with_one_job(pytester, args):
    pytester.makepyfile(
        """
        import os, pytest, signal

        @pytest.fixture(scope="module")
        def broken(): os.abort()

        @pytest.mark.parametrize("n", range(6))
        def test(n):
            print("words of", n)
            if n in (1, 4):
                os.kill(os.getpid(), signal.SIGSEGV)

        def test_one(broken): pass
        def test_two(broken): pass
        def test_after(): pass
        """
    )

    def told(jobs):
        return forked(pytester, "-v", f"--forked-jobs={jobs}", *args)

    one, other = told(1), told(2)

    assert one.verdicts() == other.verdicts()
    assert_same_lines(
        [line for line in one.output if "::" in line],
        [line for line in other.output if "::" in line],
    )


def test_x_kills_what_runs_beside_the_failed_test_and_does_not_tell_it(pytester):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import noting, os
        from meeting import meet

        def test_first(): pass

        def test_fails():
            meet(True)
            assert 0

        def test_beside():
            meet(False)
            noting.note("beside", os.getpid())
            open("there").read()  # nobody comes

        def test_never(): noting.note("never")
        """,
    )

    told = forked(pytester, "-x", *TWO)

    told.result.assert_outcomes(passed=1, failed=1)
    assert list(told.verdicts()) == ["test_first", "test_fails"]
    for _, pid in told.noted("beside"):
        with pytest.raises(FileNotFoundError):
            open(f"/proc/{pid}/stat").close()


# --- at once ----------------------------------------------------------------------------------


def test_two_tests_run_at_once_each_with_its_slot(pytester):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import noting, os, pytest
        from meeting import meet

        @pytest.mark.parametrize("n", range(4))
        def test_it(n, forked_slot):
            assert os.environ["FORKED_SLOT"] == str(forked_slot)
            meet(n % 2 == 0)
            noting.note("slot", n // 2, forked_slot)
        """,
    )

    told = forked(pytester, *TWO)

    told.result.assert_outcomes(passed=4)
    slots = sorted((pair, slot) for _, pair, slot in told.noted("slot"))
    assert slots == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]


@pytest.mark.parametrize("args", [["--forked"], ["--forked", "--forked-jobs=1"], []])
def test_one_at_a_time_each_test_has_slot_0(pytester, args):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_it(n, forked_slot, forked_group_slot):
            assert (forked_slot, forked_group_slot) == (0, 0)
        """
    )

    loaded(pytester, *args).result.assert_outcomes(passed=3)


def test_fixtures_are_set_up_once_and_torn_down_when_all_who_use_them_have_ended(pytester):
    pytester.makeconftest(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def session():
            noting.note("up", "session")
            yield
            noting.note("down", "session")

        @pytest.fixture(scope="module")
        def module(session, request):
            noting.note("up", request.node.name)
            yield
            noting.note("down", request.node.name)

        @pytest.fixture(autouse=True)
        def told(module, request):
            yield
            noting.note("ended", request.node.name)
        """
    )
    pytester.makepyfile(
        meeting=MEETING,
        test_a="""
        from meeting import meet

        def test_waits(): meet(True)
        def test_a(): pass
        """,
        test_b="""
        from meeting import meet

        def test_of_the_next_module(): meet(False)
        def test_b(): pass
        """,
    )

    # The last test of a module holds its place until the module is torn down: so three.
    told = forked(pytester, "--forked-jobs=3", "--forked-timeout=50")

    told.result.assert_outcomes(passed=4)
    notes = [(word, name) for _, word, name in told.notes]
    ups = sorted(name for word, name in notes if word == "up")
    assert ups == ["session", "test_a.py", "test_b.py"]
    assert len(set(notes)) == len(notes) == 10
    for scope, tests in (
        ("test_a.py", ["test_waits", "test_a"]),
        ("test_b.py", ["test_of_the_next_module", "test_b"]),
    ):
        for test in tests:
            assert notes.index(("ended", test)) < notes.index(("down", scope))
        assert notes.index(("down", scope)) < notes.index(("down", "session"))


# --- apart ------------------------------------------------------------------------------------

LOCKS = """
import contextlib, fcntl, pytest, time

@contextlib.contextmanager
def hold(name, how):
    with open(name, "w") as file:
        fcntl.flock(file, how | fcntl.LOCK_NB)  # BlockingIOError: somebody else is here
        time.sleep(0.05)  # long enough to be met, if anybody may
        yield
"""


def test_of_a_group_one_runs_at_a_time(pytester):
    pytester.makepyfile(
        LOCKS
        + """
@pytest.mark.forked(group="db")
@pytest.mark.parametrize("n", range(4))
def test_db(n):
    with hold("db", fcntl.LOCK_EX): pass

@pytest.mark.parametrize("n", range(2))
@pytest.mark.parametrize(
    "group", [pytest.param(g, marks=pytest.mark.forked(group=g)) for g in "ab"]
)
def test_groups(group, n):
    with hold(group, fcntl.LOCK_EX): pass
"""
    )

    forked(pytester, "--forked-jobs=3").result.assert_outcomes(passed=8)


def test_forked_groups_says_how_many_of_a_group_run_at_once(pytester):
    pytester.makepyfile(
        meeting=MEETING,
        test_it="""
        import noting, os, pytest
        from meeting import meet

        @pytest.mark.forked(group="gpu")
        @pytest.mark.parametrize("n", range(4))
        def test_it(n, forked_group_slot):
            assert os.environ["FORKED_GROUP_SLOT"] == str(forked_group_slot)
            meet(n % 2 == 0)
            noting.note("slot", n // 2, forked_group_slot)
        """,
    )
    pytester.makeini("[pytest]\nforked_groups =\n    gpu = 2\n    other = 1\n")

    told = forked(pytester, "--forked-jobs=4", "--forked-timeout=50")

    told.result.assert_outcomes(passed=4)
    slots = sorted((pair, slot) for _, pair, slot in told.noted("slot"))
    assert slots == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]


def test_an_exclusive_test_runs_beside_no_other(pytester):
    pytester.makepyfile(
        LOCKS
        + """
@pytest.mark.parametrize(
    "n", [0, 1, pytest.param(2, marks=pytest.mark.forked(exclusive=True)), 3, 4]
)
def test_it(n):
    with hold("all", fcntl.LOCK_EX if n == 2 else fcntl.LOCK_SH): pass
"""
    )

    forked(pytester, "--forked-jobs=2").result.assert_outcomes(passed=5)


def test_a_test_has_all_of_its_time_once_its_fork_server_is_free(pytester):
    pytester.makepyfile(
        """
        import pytest, time

        @pytest.fixture(scope="session")
        def shared(): time.sleep(2)  # with two jobs, both wait for it

        def test_first(shared): pass
        def test_second(shared): time.sleep(2)
        """
    )

    told = forked(pytester, "--forked-jobs=2", "--forked-timeout=3")

    told.result.assert_outcomes(passed=2)


def test_a_test_that_waited_for_its_fork_server_is_ended_all_the_same(pytester):
    pytester.makepyfile(
        """
        import pytest, time

        @pytest.fixture(scope="session")
        def shared(): time.sleep(1)

        def test_first(shared): pass
        def test_second(shared): time.sleep(60)
        """
    )

    told = forked(pytester, "--forked-jobs=2", "--forked-timeout=2")

    told.result.assert_outcomes(passed=1, failed=1)
    told.result.stdout.fnmatch_lines(["E*timeout of 2 s in call (--forked-timeout)"])
