"""``--forked-scope``: the tests of a class, module, package or all of them share one child."""

from __future__ import annotations

import pytest
from comparing import assert_same, forked, plain

TESTS = """
import noting, pytest

@pytest.fixture(autouse=True)
def told(request):
    noting.note("test", request.node.nodeid)

class TestOne:
    def test_a(self): pass
    def test_b(self): pass

class TestTwo:
    def test_c(self): pass
    def test_d(self): pass

def test_e(): pass
def test_f(): pass
"""


def make_suite(pytester):
    for package in ("one", "two"):
        folder = pytester.mkpydir(package)
        for name in "xy":
            (folder / f"test_{package}_{name}.py").write_text(TESTS)


def units(told):
    """Return the units of the run, in order: the nodeids that one process ran after another."""
    found: list[list[str]] = []
    pids: list[str] = []
    for pid, nodeid in told.noted("test"):
        if not pids or pids[-1] != pid:
            assert pid not in pids, "a child was left and came back"
            pids.append(pid)
            found.append([])
        found[-1].append(nodeid)
    return found


@pytest.mark.parametrize(
    ("scope", "children", "size"),
    [
        ("function", 24, 1),
        ("class", 16, 2),
        ("module", 4, 6),
        ("package", 2, 12),
        ("session", 1, 24),
    ],
)
def test_the_tests_of_a_unit_share_a_child(pytester, scope, children, size):
    make_suite(pytester)

    told = forked(pytester, f"--forked-scope={scope}")

    told.result.assert_outcomes(passed=24)
    found = units(told)
    assert len(found) == children
    assert max(map(len, found)) == size
    if scope == "class":  # functions outside of classes have children of their own
        assert sorted(map(len, found)) == [1] * 8 + [2] * 8


@pytest.mark.parametrize(
    ("args", "sizes"),
    [
        pytest.param(["-o", "forked_scope=module"], [6], id="ini"),
        pytest.param(
            ["-o", "forked_scope=module", "--forked-scope=function"], [1] * 6, id="over ini"
        ),
    ],
)
def test_the_scope_can_be_said_in_the_ini(pytester, args, sizes):
    pytester.makepyfile(TESTS)

    assert [*map(len, units(forked(pytester, *args)))] == sizes


def test_the_scope_can_be_said_in_a_mark(pytester):
    pytester.makepyfile(
        TESTS.replace("class TestOne", "@pytest.mark.forked(scope='class')\nclass TestOne")
    )

    assert [*map(len, units(forked(pytester)))] == [2, 1, 1, 1, 1]


def test_state_is_shared_inside_a_unit_and_not_outside(pytester):
    pytester.makepyfile(
        shared_state="SEEN = []",
        test_one="""
        from shared_state import SEEN

        class TestOne:
            def test_first(self):
                assert SEEN == []
                SEEN.append(1)

            def test_second(self):
                assert SEEN == [1]
                SEEN.append(2)

        class TestTwo:
            def test_third(self):
                assert SEEN == []

        def test_fourth():
            assert SEEN == []
            SEEN.append(4)

        def test_fifth():
            assert SEEN == []
        """,
    )

    forked(pytester, "--forked-scope=class").result.assert_outcomes(passed=5)


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_all_is_told_as_in_a_plain_run(pytester, scope):
    source = """
        import pytest, sys, warnings

        @pytest.fixture(scope="module")
        def module():
            print("up")
            yield
            print("down")

        @pytest.fixture(scope="class")
        def klass(module):
            yield
            raise OSError("of the class")

        class TestIt:
            def test_passes(self, klass): print("of a test")

            def test_fails(self, klass, tmp_path):
                print("to stderr", file=sys.stderr)
                assert 0

            @pytest.mark.skip(reason="not now")
            def test_skipped(self): pass

            @pytest.mark.xfail(reason="known")
            def test_xfail(self): assert 0

            def test_warns(self, klass): warnings.warn("careful")

        @pytest.fixture
        def broken(): raise OSError("in setup")

        def test_error(broken): pass
        def test_last(module): pass
    """
    pytester.makepyfile(test_one=source, test_two=source)

    one, other = plain(pytester, "-rA"), forked(pytester, "-rA", f"--forked-scope={scope}")

    assert_same(one, other)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("skipped", [1, 2])
def test_a_unit_goes_on_after_what_is_skipped_before_a_shared_fixture(pytester, skipped, jobs):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def shared(): pass

        class TestC:
            @pytest.mark.parametrize("n", range({skipped}))
            @pytest.mark.skip
            def test_skipped(self, shared, n): pass

            def test_a(self, shared): pass
            def test_b(self): pass
        """
    )

    one, other = plain(pytester), forked(pytester, "--forked-scope=class", f"--forked-jobs={jobs}")

    assert_same(one, other)


CRASHING = """
import noting, os, pytest, signal

@pytest.fixture(scope="module")
def module():
    noting.note("up")
    yield
    noting.note("down")

@pytest.fixture(autouse=True)
def told(request):
    noting.note("test", request.node.name)

class TestIt:
    def test_a(self, module): pass
    def test_b(self, module): pass

    def test_crashes(self, module):
        print("last words")
        os.kill(os.getpid(), signal.SIGSEGV)

    def test_d(self, module): pass
    def test_e(self, module): pass
"""


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_a_crash_fails_alone_and_a_new_child_goes_on(pytester, scope):
    pytester.makepyfile(CRASHING)

    told = forked(pytester, f"--forked-scope={scope}")

    told.result.assert_outcomes(passed=4, failed=1)
    assert list(told.verdicts()) == ["test_a", "test_b", "test_crashes", "test_d", "test_e"]
    assert units(told) == [["test_a", "test_b", "test_crashes"], ["test_d", "test_e"]]
    told.result.stdout.fnmatch_lines(["*SIGSEGV*in call*", "*last words*"])
    if scope == "class":  # a broader fixture is not the unit's
        assert (len(told.noted("up")), len(told.noted("down"))) == (1, 1)


def test_each_crash_in_a_row_has_its_own_child(pytester):
    pytester.makepyfile(
        """
        import noting, os, pytest

        @pytest.mark.parametrize("n", range(5))
        def test_it(n):
            noting.note("test", str(n))
            if n in (0, 1, 4):
                os.abort()
        """
    )

    told = forked(pytester, "--forked-scope=module")

    told.result.assert_outcomes(passed=2, failed=3)
    assert units(told) == [["0"], ["1"], ["2", "3", "4"]]


@pytest.mark.parametrize("statement", ["assert 0", "os.abort()"])
@pytest.mark.parametrize("args", [["-x"], ["--maxfail=1", "--forked-jobs=2"]], ids=" ".join)
def test_x_stops_in_the_middle_of_a_unit(pytester, statement, args):
    pytester.makepyfile(
        f"""
        import noting, os, pytest

        @pytest.fixture(scope="module", autouse=True)
        def module():
            yield
            noting.note("down")

        def test_first(): pass
        def test_fails(): {statement}
        def test_never(): noting.note("never")
        def test_at_all(): noting.note("never")
        """
    )

    told = forked(pytester, "--forked-scope=module", *args)

    told.result.assert_outcomes(passed=1, failed=1)
    assert list(told.verdicts()) == ["test_first", "test_fails"]
    assert told.noted("never") == []
    assert len(told.noted("down")) == (statement == "assert 0")


def test_units_run_beside_each_other(pytester):
    pytester.makepyfile(
        meeting="""
        import os

        for name in ("there", "back"):
            try:
                os.mkfifo(name)
            except FileExistsError:
                pass
        """,
        test_a="""
        import meeting

        def test_first():
            open("there", "w").close()

        def test_second():
            open("back").read()
        """,
        test_b="""
        import meeting

        def test_first():
            open("there").read()

        def test_second():
            open("back", "w").close()
        """,
    )

    told = forked(pytester, "--forked-scope=module", "--forked-jobs=2", "--forked-timeout=50")

    told.result.assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("args", "mark", "start"),
    [
        (["--forked-scope=modul"], "", "--forked-scope: "),
        (["-o", "forked_scope=modul"], "", "ini option forked_scope: "),
        ([], "@pytest.mark.forked(scope='modul')", "*::test_it: forked(scope=...): "),
    ],
)
def test_a_bad_scope_is_a_usage_error_that_says_the_fix(pytester, args, mark, start):
    pytester.makepyfile(f"import pytest\n{mark}\ndef test_it(): pass")

    told = forked(pytester, *args)

    assert told.status == pytest.ExitCode.USAGE_ERROR
    told.result.stderr.fnmatch_lines(f"ERROR: {start}'modul' is unknown; did you mean 'module'?")


def test_what_asked_for_another_parameter_is_set_up_again_though_its_teardown_failed(pytester):
    """The unit's child sets it up, the fork server what it asks for."""
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def asked(request): return request.param

        @pytest.fixture(scope="module")
        def asks(asked):
            noting.note("step", f"up {asked}")
            yield
            noting.note("step", f"down {asked}")
            assert asked == 2

        @pytest.mark.parametrize("asked", [1, 2], indirect=True)
        @pytest.mark.parametrize("again", [1, 2])
        def test_it(asks, again): noting.note("step", "test")
        """
    )

    one, other = plain(pytester), forked(pytester, "--forked-scope=module")

    assert one.verdicts() == other.verdicts()
    steps, others = ([words for _, *words in told.noted("step")] for told in (one, other))
    assert steps == others
