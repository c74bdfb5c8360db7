"""What a test tells of itself arrives once, in the pytest process, unchanged."""

from __future__ import annotations

import pytest
from comparing import assert_same, assert_same_lines, compare, compare_junitxml, forked, plain

OUTCOMES = """
import logging, os, pytest, sys, unittest, warnings

def test_pass(): pass

def test_fail():
    value = {"key": [1, 2, 3]}
    assert value == {"key": [1, 2, 4]}

def test_raise():
    def inner(): raise OSError(2, "no such thing", "name")
    try:
        inner()
    except OSError as e:
        raise RuntimeError("outer") from e

def test_exception_group():
    try:
        from builtins import ExceptionGroup
    except ImportError:
        pytest.skip("Python 3.10")
    raise ExceptionGroup("both", [ValueError("one"), TypeError("two")])

def test_recursion():
    def again(): again()
    again()

def test_pytest_fail_without_trace(): pytest.fail("a reason", pytrace=False)
def test_system_exit(): sys.exit(3)
def test_base_exception(): raise GeneratorExit("odd")

def test_unicode():
    print("snowman \\u2603 \\U0001f600")
    assert "\\u2603" == "\\u2604"

def test_surrogate_in_message(): assert not "\\ud800\\udbff", "\\ud800"
def test_nul_in_message(): assert 0, "a\\0b\\x1b[31m"
def test_bytes_in_output():
    os.write(1, b"\\xff\\xfe not utf-8\\n")
    assert 0

def test_sections():
    print("to stdout"); print("to stderr", file=sys.stderr)
    logging.getLogger("mine").warning("to the log %s", 1)
    assert 0

@pytest.fixture
def broken():
    print("about to break")
    raise ValueError("in set-up")

def test_error(broken): pass

@pytest.fixture
def untidy():
    yield
    print("about to break")
    raise ValueError("in tear-down")

def test_teardown_error(untidy): pass
def test_both(untidy): assert 0
def test_no_such_fixture(no_such_fixture): pass

@pytest.mark.skip
def test_skip_mark(): pass
@pytest.mark.skip(reason="because")
def test_skip_reason(): pass
@pytest.mark.skipif("sys.platform != 'no such'", reason="condition in a string")
def test_skip_if(): pass
@pytest.mark.skipif(False, reason="never")
def test_skip_if_false(): pass
@pytest.mark.skipif("no_such_name", reason="broken condition")
def test_skip_if_broken(): pass
def test_skip_inside(): pytest.skip("inside")
def test_importorskip(): pytest.importorskip("no_such_module_at_all")
@pytest.fixture
def skipping(): pytest.skip("in the fixture")
def test_skip_in_fixture(skipping): pass

@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.xfail(reason="a reason")
def test_xfail_reason(): assert 0
@pytest.mark.xfail(raises=ValueError)
def test_xfail_raises(): raise ValueError
@pytest.mark.xfail(raises=ValueError)
def test_xfail_raises_other(): raise TypeError
@pytest.mark.xfail(False, reason="condition is false")
def test_xfail_false(): assert 0
@pytest.mark.xfail(True, reason="condition is true")
def test_xfail_true(): assert 0
@pytest.mark.xfail(run=False, reason="dangerous")
def test_xfail_not_run(): assert 0
@pytest.mark.xfail(reason="it passes")
def test_xpass(): pass
@pytest.mark.xfail(strict=True, reason="it passes")
def test_xpass_strict(): pass
def test_xfail_inside(): pytest.xfail("inside")
@pytest.mark.xfail(reason="in set-up")
def test_xfail_in_setup(broken): pass

@pytest.mark.parametrize("value", ["a b", "\\u00e9", "[x]", "a::b", "", None, 1.5, "\\n"])
def test_ids(value): pass

class TestClass:
    def setup_method(self): print("set up")
    def test_method(self): assert 0
    @pytest.mark.parametrize("n", [1, 2])
    def test_param(self, n): assert n == 1

class TestUnit(unittest.TestCase):
    def test_ok(self): self.addCleanup(print, "clean")
    def test_fail(self): self.assertEqual([1, 2], [1, 3])
    def test_error(self): raise KeyError("k")
    def test_skip(self): self.skipTest("not here")
    @unittest.skip("by decorator")
    def test_skip_decorated(self): pass
    @unittest.expectedFailure
    def test_expected(self): self.fail("expected")
    @unittest.expectedFailure
    def test_unexpected(self): pass

class TestUnitClassSetup(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise ValueError("class set-up")
    def test_one(self): pass

def documented():
    '''
    >>> 1 + 1
    3
    '''
"""


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["-rA", "--doctest-modules", "-o", "junit_logging=all"], id="all"),
        pytest.param(["-vv", "--tb=short", "-l", "--runxfail"], id="runxfail"),
        pytest.param(["-q", "--tb=native", "-rsxX"], id="native"),
        pytest.param(["--tb=line", "-o", "xfail_strict=true", "--no-summary"], id="line"),
    ],
)
def test_every_outcome_is_told_as_in_a_plain_run(pytester, args):
    """To hooks, in the terminal and in junitxml."""
    pytester.makepyfile(test_outcomes=OUTCOMES)

    one, other = compare_junitxml(pytester, *args)

    assert_same(one, other)
    assert len(one.reports()) > 100
    assert one.status == other.status == 1


def test_junitxml_holds_what_its_own_fixtures_recorded(pytester):
    pytester.makepyfile(
        """
        import pytest

        def test_attribute(record_xml_attribute):
            record_xml_attribute("assertions", "REQ-1")
            record_xml_attribute("classname", "renamed")

        def test_suite(record_testsuite_property):
            record_testsuite_property("ARCH", "PPC")
        """
    )

    one, other = compare_junitxml(pytester, "-o", "junit_family=xunit1")

    assert_same(one, other)


COUNTING_CONFTEST = """
import noting, os, pytest

def called(name, *words):
    noting.note("hook", name, *words, "" if os.getpid() == main else "in a child")

def pytest_configure(config):
    global main
    main = os.getpid()

def pytest_runtest_logstart(nodeid, location): called("logstart", nodeid, location)
def pytest_runtest_logfinish(nodeid, location): called("logfinish", nodeid, location)
def pytest_runtest_logreport(report):
    called("logreport", report.nodeid, report.when, report.outcome)
def pytest_report_teststatus(report): return None
def pytest_warning_recorded(warning_message, when, nodeid, location):
    called("warning", nodeid, when, warning_message.message, location)

class Registered:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report):
        called("wrapper", report.nodeid, report.when)
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_warning_recorded(self, warning_message):
        called("registered warning", warning_message.message)

def pytest_collection_finish(session):
    # the hook is historic: what was warned of before is told now
    session.config.pluginmanager.register(Registered())
"""


def test_telling_hooks_of_a_conftest_are_called_as_often_as_plain(pytester):
    pytester.makeconftest(COUNTING_CONFTEST)
    pytester.mkpydir("sub")
    (pytester.path / "sub" / "conftest.py").write_text(
        "import noting, os\n"
        "main = os.getpid()\n"
        "def pytest_runtest_logreport(report):\n"
        "    noting.note('hook', 'sub', report.nodeid, report.when, os.getpid() == main)\n"
        "def pytest_runtest_logstart(nodeid):\n"
        "    noting.note('hook', 'sub start', nodeid, os.getpid() == main)\n"
    )
    (pytester.path / "sub" / "test_sub.py").write_text(
        "def test_sub(): pass\ndef test_fail(): assert 0\n"
    )
    pytester.makepyfile(
        """
        import pytest, warnings

        warnings.warn("while collecting")

        def test_pass(): pass
        def test_fail(): assert 0
        def test_warn():
            warnings.warn("first")
            warnings.warn("second", DeprecationWarning)
        @pytest.mark.skip
        def test_skip(): pass
        """
    )

    one, other = compare(pytester)

    assert_same_lines(*[["\t".join(note[1:]) for note in t.noted("hook")] for t in (one, other)])
    assert len(one.noted("hook")) > 30


def test_exception_interact_is_called_once_for_each_failure(pytester):
    pytester.makeconftest(
        """
        import noting

        def pytest_exception_interact(node, call, report):
            noting.note(
                "interact", node.nodeid, call.when, call.excinfo.typename, report.when,
                report.longreprtext.splitlines()[-1],
            )
        """
    )
    pytester.makepyfile(
        """
        import pytest

        def test_pass(): pass
        def test_fail(): raise OSError("it failed")
        @pytest.fixture
        def broken(): raise KeyError("broken")
        def test_error(broken): pass
        def test_skip(): pytest.skip()
        @pytest.mark.xfail
        def test_xfail(): assert 0
        """
    )

    one, other = compare(pytester)

    assert_same_lines(*[[str(note[1:]) for note in t.noted("interact")] for t in (one, other)])
    assert len(one.noted("interact")) == 2


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_is_added_to_a_failure_after_it_was_told_is_in_the_summary(pytester, jobs):
    """By ``pytest_exception_interact``, which comes after ``pytest_runtest_logreport``."""
    pytester.makeconftest(
        """
        def pytest_exception_interact(node, call, report):
            report.sections.append(("Screenshot", f"of {node.name} in {call.when}"))
            if node.name == "test_other_text":
                report.longrepr = "another text"
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def shared():
            yield
            print("shared ends")
        @pytest.fixture
        def broken(): raise KeyError("broken")
        @pytest.fixture
        def untidy():
            yield
            raise OSError("untidy")
        def test_pass(shared): pass
        def test_fail(shared): raise OSError("it failed")
        def test_other_text(shared): raise OSError("it failed")
        def test_error(broken): pass
        def test_untidy(shared, untidy): pass
        """
    )

    told = plain(pytester), forked(pytester, f"--forked-jobs={jobs}")

    outputs = [each.result.outlines for each in told]
    screenshots = [[line for line in lines if line.startswith("of test_")] for lines in outputs]
    assert_same_lines(*screenshots)
    assert len(screenshots[0]) == 4
    assert [lines.count("another text") for lines in outputs] == [1, 1]


def test_report_attributes_of_a_conftest_arrive(pytester):
    """What a makereport wrapper adds is there for who listens (pytest-html does this)."""
    pytester.makeconftest(
        """
        import enum, noting, pathlib, pytest

        class Colour(enum.Enum): RED = 1

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.extra_text = f"text of {item.name}"
            report.extra_list = [1, {"a": 2}]
            report.extra_path = pathlib.Path("somewhere")
            report.extra_enum = Colour.RED
            report.sections.append(("Mine", "a section"))
            if report.when == "call" and item.name == "test_renamed":
                report.nodeid = report.nodeid + "@0"
            return report

        def pytest_runtest_logreport(report):
            noting.note(
                "extra", report.when, report.extra_text, report.extra_list,
                report.extra_path, report.extra_enum,
            )
        """
    )
    pytester.makepyfile("def test_one(): pass\ndef test_renamed(): assert 0")

    one, other = compare(pytester)

    assert_same_lines(*[[str(note[1:]) for note in t.noted("extra")] for t in (one, other)])


def test_what_a_hook_writes_into_a_report_is_not_in_the_next(pytester):
    pytester.makeconftest(
        """
        import noting

        def pytest_runtest_logreport(report):
            noting.note("found", report.when, sorted(report.keywords), report.sections)
            report.keywords["written"] = 1
            report.sections.append(("Written", "by a hook"))
        """
    )
    pytester.makepyfile("def test_one(): pass")

    one, other = compare(pytester, "-s")

    assert_same_lines(*[[str(note[1:]) for note in t.noted("found")] for t in (one, other)])


def test_a_warning_beside_a_module_that_loads_what_is_asked_of_it_is_told(pytester):
    """Such a module (of six, of apipkg) is not asked for anything: its loading may fail."""
    pytester.makepyfile(
        """
        import sys, types, warnings

        class Lazy(types.ModuleType):
            def __getattribute__(self, name): raise RuntimeError(f"asked for {name}")

        sys.modules["lazy"] = Lazy("lazy")

        def test_warns(): warnings.warn("heard")
        def test_after(): pass
        """
    )

    compare(pytester)
