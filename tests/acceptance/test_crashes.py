"""A child that dies fails its test, in the phase it was in, and says what happened."""

from __future__ import annotations

import re

import pytest
from comparing import forked, headline, line_of, plain

HEAD = """
import ctypes, logging, os, pytest, signal, sys, unittest

libc = ctypes.CDLL(None)
"""

# name: how, the words of the first line; libc's regcomp recurses in C for each bracket
DEATHS = {
    "null_pointer": ("ctypes.string_at(0)", r"crashed with SIGSEGV \(segmentation fault\)"),
    "segv": (
        "os.kill(os.getpid(), signal.SIGSEGV)",
        r"crashed with SIGSEGV \(segmentation fault\)",
    ),
    "bus": ("os.kill(os.getpid(), signal.SIGBUS)", r"crashed with SIGBUS \(bus error\)"),
    "fpe": ("os.kill(os.getpid(), signal.SIGFPE)", r"crashed with SIGFPE \("),
    "ill": ("os.kill(os.getpid(), signal.SIGILL)", r"crashed with SIGILL \("),
    "abort": ("libc.abort()", r"crashed with SIGABRT \(aborted"),
    "os_abort": ("os.abort()", r"crashed with SIGABRT \(aborted"),
    "overflow": (
        "libc.regcomp(ctypes.create_string_buffer(4096), b'(' * 5_000_000, 1)",
        r"crashed with SIGSEGV \(segmentation fault\)",
    ),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", r"SIGKILL"),
    "term": ("os.kill(os.getpid(), signal.SIGTERM)", r"SIGTERM"),
    "usr1": ("os.kill(os.getpid(), signal.SIGUSR1)", r"SIGUSR1"),
    "exit_0": ("os._exit(0)", r"exited with status 0"),
    "exit_3": ("os._exit(3)", r"exited with status 3"),
    "exit_from_c": ("libc.exit(3)", r"exited with status 3"),
    "exit_0_from_c": ("libc.exit(0)", r"exited with status 0"),
    "exec_true": ("os.execv('/bin/true', ['true'])", r"exited with status 0"),
    "exec_sh": ("os.execv('/bin/sh', ['sh', '-c', 'exit 4'])", r"exited with status 4"),
}
SIGNALS = {"null_pointer", "segv", "bus", "fpe", "ill", "abort", "os_abort", "overflow"}
PASSED = ["setup passed", "call passed", "teardown passed"]
IN_CALL = ["setup passed", "call failed", "teardown passed"]


def test_each_way_to_die_fails_the_call_and_is_named(pytester):
    victims = "".join(
        f"def test_{name}():\n    print('printed before')\n    {how}  # dies of {name}.\n\n"
        f"def test_beside_{name}(): pass\n\n"
        for name, (how, _) in DEATHS.items()
    )
    pytester.makepyfile(test_ext=HEAD + victims)

    told = forked(pytester)

    verdicts = told.verdicts()
    failures = {
        r["where"].partition("test_ext.py::test_")[2]: r
        for r in told.reports()
        if r["outcome"] == "failed"
    }
    died = {name: verdicts[f"test_{name}"] for name in DEATHS}
    assert died == dict.fromkeys(DEATHS, IN_CALL)
    beside = {name: verdicts[f"test_beside_{name}"] for name in DEATHS}
    assert beside == dict.fromkeys(DEATHS, PASSED)
    wrong = {}
    for name, (_, words) in DEATHS.items():
        line = line_of(pytester, "test_ext.py", f"# dies of {name}.")
        place = rf", at test_ext\.py:{line}$" if name in SIGNALS else r", at test_ext\.py:\d+$"
        if not re.search(f"{words}.* in call{place}", headline(failures[name])):
            wrong[name] = headline(failures[name])
        if ["Captured stdout call", "printed before\n"] not in failures[name]["sections"]:
            wrong[f"output of {name}"] = failures[name]["sections"]
    assert wrong == {}
    assert told.status == 1
    assert told.errors == [], "what the child's faulthandler says is for the report"


PHASES = """
def reach(place):
    if place == os.environ["PLACE"]:
        os.write(1, b"written before\\n")
        os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))

@pytest.fixture(scope="session")
def session_resource():
    reach("session setup")
    yield
    reach("session teardown")

@pytest.fixture
def resource():
    reach("setup")
    yield
    reach("teardown")

def test_before(): pass

class TestSession:
    def test_victim(self, session_resource): pass

def test_between(): pass

class TestFunction:
    def test_victim(self, resource): reach("call")

class TestMethods:
    def setup_method(self): reach("setup_method")
    def teardown_method(self): reach("teardown_method")
    def test_victim(self): pass

class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls): reach("setUpClass")
    @classmethod
    def tearDownClass(cls): reach("tearDownClass")
    def setUp(self): reach("setUp")
    def tearDown(self): reach("tearDown")
    def test_victim(self): reach("unittest")

class TestHooks:
    def test_victim(self): pass

def test_after(): pass
"""
PHASES_CONFTEST = """
import pytest

# within those of capture: else what they print is not captured
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item):
    if item.cls and item.cls.__name__ == "TestHooks":
        item.module.reach("setup hook")
    return (yield)

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item):
    result = yield
    if item.cls and item.cls.__name__ == "TestHooks":
        item.module.reach("teardown hook")
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if item.cls and item.cls.__name__ == "TestHooks":
        item.module.reach(f"makereport {call.when}")
    return (yield)
"""
IN_SETUP = ["setup failed", "teardown passed"]
IN_TEARDOWN = ["setup passed", "call passed", "teardown failed"]


@pytest.mark.parametrize(
    ("place", "victim", "expected"),
    [
        ("setup", "TestFunction", IN_SETUP),
        ("call", "TestFunction", IN_CALL),
        ("teardown", "TestFunction", IN_TEARDOWN),
        ("session setup", "TestSession", IN_SETUP),
        ("session teardown", "test_after", IN_TEARDOWN),  # the last one, as plain
        ("setup_method", "TestMethods", IN_SETUP),
        ("teardown_method", "TestMethods", IN_TEARDOWN),
        ("setUpClass", "TestUnit", IN_SETUP),
        ("tearDownClass", "TestUnit", IN_TEARDOWN),
        ("setUp", "TestUnit", IN_CALL),  # pytest runs these two in the call
        ("tearDown", "TestUnit", IN_CALL),
        ("unittest", "TestUnit", IN_CALL),
        ("setup hook", "TestHooks", IN_SETUP),
        ("teardown hook", "TestHooks", IN_TEARDOWN),
        ("makereport call", "TestHooks", IN_CALL),
    ],
)
def test_crash_fails_its_phase_and_no_other_test(pytester, place, victim, expected):
    pytester.makeconftest(PHASES_CONFTEST)
    pytester.makepyfile(test_ext=HEAD + PHASES)

    told = forked(pytester, "-rA", env={"PLACE": place, "SIGNAL": "SIGSEGV"})

    outcomes = {r["where"]: told.outcomes(r["where"]) for r in told.reports()}
    suffix = "::test_victim" if victim.startswith("Test") else ""
    nodeid = f"test_ext.py::{victim}{suffix}"
    assert outcomes.pop(nodeid) == expected
    assert set(map(tuple, outcomes.values())) == {tuple(PASSED)}
    assert len(outcomes) == 7
    (failed,) = [r for r in told.reports(victim) if r["outcome"] == "failed"]
    phase = failed["when"]
    assert re.match(rf"crashed with SIGSEGV.* in {phase}, at test_ext\.py:\d+", headline(failed))
    if "makereport" in place:  # pytest does not capture what that hook prints
        assert "written before" in told.result.stdout.str()
    else:
        assert [f"Captured stdout {phase}", "written before\n"] in failed["sections"]
    kind = "FAILED" if phase == "call" else "ERROR"
    told.result.stdout.fnmatch_lines([f"{kind} {nodeid} - crashed with SIGSEGV*"])
    count = {"failed": 1} if phase == "call" else {"errors": 1}
    told.result.assert_outcomes(passed=8 if phase == "teardown" else 7, **count)


XFAILS = """
import os, pytest

def die(): DEED

@pytest.mark.xfail
def test_bare(): die()
@pytest.mark.xfail(reason="known")
def test_reason(): die()
@pytest.mark.xfail(True, reason="known")
def test_true(): die()
@pytest.mark.xfail("True", reason="known")
def test_string(): die()
@pytest.mark.xfail(False, reason="not here")
def test_false(): die()
@pytest.mark.xfail(strict=True, reason="known")
def test_strict(): die()
@pytest.mark.xfail(raises=ValueError, reason="known")
def test_raises(): die()
@pytest.mark.xfail(raises=(ValueError, KeyError), strict=True)
def test_raises_several(): die()
@pytest.mark.xfail(run=False, reason="dangerous")
def test_not_run(): die()
@pytest.mark.skipif(True, reason="dangerous")
def test_skipped(): die()

@pytest.fixture
def broken(): die()
@pytest.mark.xfail(reason="known")
def test_setup(broken): pass

@pytest.fixture
def untidy():
    yield
    die()
@pytest.mark.xfail(reason="known")
def test_teardown(untidy): assert 0

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.xfail(reason="param")), 2])
def test_param(n): die()
"""


@pytest.mark.parametrize("args", [[], ["--runxfail"], ["-o", "xfail_strict=true"]])
@pytest.mark.parametrize("deed", ["os.abort()", "os._exit(0)"])
def test_xfail_means_what_it_means_for_a_failure(pytester, args, deed):
    pytester.makepyfile(test_ext=XFAILS.replace("DEED", "assert 0"))
    failed = plain(pytester, *args)
    pytester.makepyfile(test_ext=XFAILS.replace("DEED", deed))

    crashed = forked(pytester, *args)

    assert crashed.verdicts() == failed.verdicts()
    assert [(r["where"], r["when"], r["wasxfail"]) for r in crashed.reports()] == [
        (r["where"], r["when"], r["wasxfail"]) for r in failed.reports()
    ]
    assert crashed.status == failed.status


def test_xfail_that_the_test_put_on_itself_holds_for_its_crash(pytester):
    pytester.makepyfile(
        test_ext="""
        import os, pytest

        def test_victim(request):
            request.applymarker(pytest.mark.xfail(reason="added"))
            os.abort()

        @pytest.fixture
        def marking(request):
            request.node.add_marker(pytest.mark.xfail(reason="by a fixture"))

        def test_marked_by_a_fixture(marking): os.abort()
        """
    )

    told = forked(pytester)

    expected = ["setup passed", "call xfailed", "teardown passed"]
    assert told.verdicts() == {
        "test_victim": expected,
        "test_marked_by_a_fixture": expected,
    }


def test_crash_while_collecting_still_ends_pytest_itself(pytester):
    """Only tests have children: what dies before them is as dead as in a plain run."""
    pytester.makepyfile("import os; os._exit(5)\ndef test_one(): pass")

    assert plain(pytester).status == forked(pytester).status == 5


def test_many_crashes_in_a_row_leave_nothing_open(pytester):
    """Descriptors do not rise with each crash: a limit of 64 is plenty."""
    pytester.makeconftest(
        """
        import os, resource

        def pytest_configure(config):
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        def pytest_sessionfinish(session):
            import noting
            noting.note("open", len(os.listdir("/dev/fd")))
        """
    )
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.parametrize("n", range(80))
        def test_victim(n): os._exit(1)
        """
    )

    told = forked(pytester, "--tb=no", "-q")

    told.result.assert_outcomes(failed=80)
    ((_, count),) = told.noted("open")
    assert int(count) < 30


def test_doctest_and_custom_items_crash_as_tests_do(pytester):
    pytester.makeconftest(
        """
        import os, pytest

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".spec":
                return SpecFile.from_parent(parent, path=file_path)

        class SpecFile(pytest.File):
            def collect(self):
                yield SpecItem.from_parent(self, name="dies")
                yield SpecItem.from_parent(self, name="lives")

        class SpecItem(pytest.Item):
            def runtest(self):
                if self.name == "dies":
                    os.abort()
            def reportinfo(self): return self.path, None, f"spec: {self.name}"
        """
    )
    pytester.makefile(".spec", a="")
    pytester.makepyfile(
        documented="""
        def function():
            '''
            >>> import os
            >>> os.abort()
            '''
        """
    )

    told = forked(pytester, "--doctest-modules")

    assert told.verdicts() == {
        "dies": IN_CALL,
        "lives": PASSED,
        "documented.function": IN_CALL,
    }
