"""A child that dies fails its test, in the phase it was in, and says what happened."""

from __future__ import annotations

import re

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


# Each test dies at the place it is named after; the classes have the places.
PHASES = """
def reach(place, name):
    if name == f"test_{place}":
        os.write(1, b"written before\\n")
        os.kill(os.getpid(), signal.SIGSEGV)

@pytest.fixture
def resource(request):
    reach("setup", request.node.name)
    yield
    reach("teardown", request.node.name)

@pytest.fixture(scope="module")
def broader():
    reach("module_setup", "test_module_setup")

def test_before(): pass
def test_setup(resource): pass
def test_call(resource): reach("call", "test_call")
def test_teardown(resource): pass
def test_between(resource): pass

class TestMethods:
    def setup_method(self, method): reach("setup_method", method.__name__)
    def teardown_method(self, method): reach("teardown_method", method.__name__)
    def test_setup_method(self): pass
    def test_teardown_method(self): pass
    def test_after_methods(self): pass

class TestUnit(unittest.TestCase):
    def setUp(self): reach("setUp", self._testMethodName)
    def tearDown(self): reach("tearDown", self._testMethodName)
    def test_setUp(self): pass
    def test_tearDown(self): pass
    def test_unittest(self): reach("unittest", "test_unittest")
    def test_zafter(self): pass

class TestUnitClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls): reach("setUpClass", "test_setUpClass")
    def test_setUpClass(self): pass

class TestUnitClassEnd(unittest.TestCase):
    @classmethod
    def tearDownClass(cls): reach("tearDownClass", "test_tearDownClass")
    def test_tearDownClass(self): pass

class TestClassSetup:
    @classmethod
    def setup_class(cls): reach("setup_class", "test_setup_class")
    def test_setup_class(self): pass

class TestHooks:
    def test_setup_hook(self): pass
    def test_teardown_hook(self): pass
    def test_makereport(self): pass

def test_module_setup(broader): pass
def test_after(): pass
"""
PHASES_CONFTEST = """
import pytest

# within those of capture: else what they print is not captured
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item):
    item.module.reach("setup_hook", item.name)
    return (yield)

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item):
    result = yield
    item.module.reach("teardown_hook", item.name)
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "call":
        item.module.reach("makereport", item.name)
    return (yield)
"""
IN_SETUP = ["setup failed", "teardown passed"]
IN_TEARDOWN = ["setup passed", "call passed", "teardown failed"]


def test_crash_fails_its_phase_and_no_other_test(pytester):
    pytester.makeconftest(PHASES_CONFTEST)
    pytester.makepyfile(test_ext=HEAD + PHASES)

    told = forked(pytester, "-rA")

    assert told.verdicts() == {
        "test_before": PASSED,
        "test_setup": IN_SETUP,
        "test_call": IN_CALL,
        "test_teardown": IN_TEARDOWN,
        "test_between": PASSED,
        "test_setup_method": IN_SETUP,
        "test_teardown_method": IN_TEARDOWN,
        "test_after_methods": PASSED,
        "test_setUp": IN_CALL,  # pytest runs these two in the call
        "test_tearDown": IN_CALL,
        "test_unittest": IN_CALL,
        "test_zafter": PASSED,
        "test_setUpClass": IN_SETUP,
        "test_tearDownClass": IN_TEARDOWN,
        "test_setup_class": IN_SETUP,
        "test_setup_hook": IN_SETUP,
        "test_teardown_hook": IN_TEARDOWN,
        "test_makereport": IN_CALL,
        "test_module_setup": IN_SETUP,
        "test_after": PASSED,
    }
    for report in told.reports():
        if report["outcome"] == "failed":
            phase, nodeid = report["when"], report["where"]
            words = rf"crashed with SIGSEGV.* in {phase}, at test_ext\.py:\d+"
            assert re.match(words, headline(report)), nodeid
            if "makereport" not in nodeid:  # pytest does not capture what that hook prints
                assert [f"Captured stdout {phase}", "written before\n"] in report["sections"]
            kind = "FAILED" if phase == "call" else "ERROR"
            line = f"{kind} {nodeid} - crashed with SIGSEGV*"
            told.result.stdout.fnmatch_lines_random([line])
    told.result.assert_outcomes(failed=5, errors=10, passed=9)


def test_crash_in_the_last_teardown_of_a_session_fixture_is_told_where_plain_tells_it(pytester):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.fixture(scope="session")
        def resource():
            yield
            if os.environ.get("DIE"): os.abort()
            assert 0

        def test_uses_it(resource): pass
        def test_last(): pass
        """
    )

    failed = plain(pytester)
    crashed = forked(pytester, env={"DIE": "1"})

    assert crashed.verdicts() == failed.verdicts()
    assert crashed.status == failed.status == 1
    crashed.result.stdout.fnmatch_lines(["*crashed with SIGABRT*in teardown*"])


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
