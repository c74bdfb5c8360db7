"""Beside pytest's own plugins: each switched off, and those that a fork could upset."""

from __future__ import annotations

import sys

import pytest
from comparing import (
    NOTING,
    PLUGIN,
    TIMEOUT_SECONDS,
    assert_same,
    assert_same_lines,
    compare,
    forked,
    mask,
    plain,
)

SUITE = """
import os, pytest, unittest, warnings

def test_pass(): print("out")
def test_fail(): print("out"); assert 0
def test_warn(): warnings.warn("careful")
@pytest.mark.skipif("True", reason="a reason")
def test_skip(): pass
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.fixture
def broken(): raise ValueError
def test_error(broken): pass
class TestClass:
    def setup_method(self): self.ready = True
    def test_method(self): assert self.ready
class TestUnit(unittest.TestCase):
    def test_unit(self): self.fail("unit")
    def test_skip(self): self.skipTest("unit")
def documented():
    '''
    >>> 1 + 1
    3
    '''
"""
SWITCHED_OFF = [
    *("capture", "debugging", "doctest", "faulthandler", "logging", "skipping", "subtests"),
    *("terminal", "tmpdir", "unittest", "warnings"),
    "assertion cacheprovider junitxml legacypath monkeypatch pastebin recwarn",
    "setuponly setupplan stepwise threadexception unraisableexception",
]


@pytest.mark.parametrize("names", SWITCHED_OFF)
def test_run_without_a_builtin_plugin_is_that_of_a_plain_run(pytester, names):
    """Where pytest itself cannot do without it, the two runs fail alike."""
    pytester.makepyfile(test_all=SUITE)
    args = [arg for name in names.split() for arg in ("-p", f"no:{name}")]
    if names != "doctest":
        args.append("--doctest-modules")

    one = plain(pytester, *args)
    other = forked(pytester, *args)

    if one.reports():
        assert_same(one, other)
    assert one.status == other.status


def test_crash_is_told_without_any_of_them(pytester):
    pytester.makepyfile(
        """
        import os

        def test_victim():
            os.write(1, b"said before\\n")
            os.abort()

        def test_after(): pass
        """
    )
    names = ("capture", "logging", "faulthandler", "warnings", "tmpdir", "cacheprovider")
    switched_off = [arg for name in names for arg in ("-p", f"no:{name}")]

    told = forked(pytester, *switched_off)

    told.result.assert_outcomes(failed=1, passed=1)
    told.result.stdout.fnmatch_lines_random(["*said before*", "*crashed with SIGABRT*in call*"])


@pytest.mark.parametrize("ini", ["faulthandler_timeout=100", "faulthandler_timeout=0.05"])
def test_faulthandler_timeout_does_not_hang_a_failing_test(pytester, ini):
    """Its watchdog thread must not be armed while we fork."""
    pytester.makepyfile(
        """
        import os, pytest

        def test_pass(): pass
        def test_fail(): assert 0
        @pytest.fixture
        def broken(): raise ValueError
        def test_error(broken): pass
        def test_again(): pass
        """
    )

    if ini.endswith("100"):
        compare(pytester, "-o", ini)
    else:
        forked(pytester, "-o", ini).result.assert_outcomes(passed=2, failed=1, errors=1)


def test_faulthandler_timeout_shows_the_stacks_of_a_slow_test(pytester):
    pytester.makepyfile(
        """
        import threading
        def test_slow(): threading.Event().wait(2.5)
        """
    )

    told = forked(pytester, "-o", "faulthandler_timeout=1")

    told.result.assert_outcomes(passed=1)
    told.result.stderr.fnmatch_lines(["Timeout (*)!", "*in test_slow"])


PATHS = """
import os, noting, pytest

@pytest.mark.parametrize("n", range(6))
def test_path(n, tmp_path):
    noting.note("path", tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")

def test_same_name(tmp_path): noting.note("path", tmp_path)

class TestOther:
    def test_same_name(self, tmp_path): noting.note("path", tmp_path)

def test_factory(tmp_path_factory):
    for _ in range(2): noting.note("path", tmp_path_factory.mktemp("made"))

def test_factory_again(tmp_path_factory):
    noting.note("path", tmp_path_factory.mktemp("made"))

def test_fails(tmp_path):
    noting.note("path", tmp_path)
    (tmp_path / "evidence").write_text("kept")
    assert 0

def test_dies(tmp_path):
    noting.note("path", tmp_path)
    (tmp_path / "evidence").write_text("kept")
    if os.environ.get("DIE"): os._exit(1)
    assert 0
"""


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_symlink())


@pytest.mark.parametrize(
    ("policy", "own_base"), [("all", True), ("all", False), ("failed", False), ("none", False)]
)
def test_tmp_path_is_named_numbered_and_kept_as_in_a_plain_run(pytester, policy, own_base):
    pytester.makepyfile(test_paths=PATHS)
    found = []
    for label, mode in (("plain", ()), ("forked", (*PLUGIN, "--forked"))):
        root = pytester.mkdir(f"root-{label}")
        notes = pytester.path / f"notes-{label}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DEBUG_TEMPROOT", str(root))
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            patch.setenv("NOTES", str(notes))
            (pytester.path / "noting.py").write_text(NOTING)
            # not runpytest_subprocess: it brings a --basetemp of its own
            pytester.run(
                *(sys.executable, "-m", "pytest", *mode),
                *("-o", f"tmp_path_retention_policy={policy}"),
                *([f"--basetemp={root / 'base'}"] if own_base else []),
                timeout=TIMEOUT_SECONDS,
            )
        paths = [line.split("\t")[2] for line in notes.read_text().splitlines()]
        found.append(
            [*(mask(path).replace(f"root-{label}", "root") for path in paths), "left:", *tree(root)]
        )

    assert found[0].index("left:") == 13
    if policy == "failed":
        # since 9.2 a process counts its folders: the number of one that was removed
        # is taken again in the next child
        found = [lines[13:] for lines in found]
    assert_same_lines(*found)


def test_folder_of_a_crashed_test_is_kept_like_that_of_a_failed_one(pytester):
    pytester.makepyfile(test_paths=PATHS)
    args = ("-o", "tmp_path_retention_policy=failed", "-k", "fails or dies")

    one = plain(pytester, *args)
    other = forked(pytester, *args, env={"DIE": "1"})

    for told in (one, other):
        for _, path in told.noted("path"):
            assert (pytester.path / path / "evidence").exists()


def test_numbered_base_folders_of_earlier_runs_are_not_deleted(pytester):
    """pytest keeps three: a base folder for each child would throw out all others."""
    root = pytester.mkdir("root")
    pytester.makepyfile("def test_one(tmp_path): pass\ndef test_two(tmp_path): pass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(root))
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for _ in range(2):
            command = (sys.executable, "-m", "pytest", *PLUGIN, "--forked")
            pytester.run(*command, timeout=TIMEOUT_SECONDS).assert_outcomes(passed=2)

    (user,) = root.iterdir()
    assert sorted(path.name for path in user.iterdir() if not path.is_symlink()) == [
        "pytest-0",
        "pytest-1",
    ]


def test_cache_fixture_and_monkeypatch_and_recwarn_work_in_a_child(pytester):
    pytester.makepyfile(
        test_fixtures="""
        import os, pytest, warnings

        def test_writes(cache): cache.set("mine/value", 3)
        def test_reads(cache): assert cache.get("mine/value", None) == 3
        def test_patch(monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            monkeypatch.setenv("X", "1")
        def test_unpatched(): assert "X" not in os.environ
        def test_recwarn(recwarn):
            warnings.warn("heard")
            assert len(recwarn) == 1
        def test_pytestconfig(pytestconfig, request):
            assert pytestconfig is request.config
            assert request.session.testscollected == 7
        def test_nested(pytester):
            pytester.makepyfile("def test_inner(): pass")
            pytester.runpytest_inprocess("-p", "no:pytest_procrastinate").assert_outcomes(passed=1)
        """,
    )

    one, _ = compare(pytester, "-p", "pytester", "test_fixtures.py")

    assert one.status == 0


def test_without_pytests_plugin_for_warnings_those_of_scopes_are_not_told_either(pytester):
    pytester.makepyfile(
        """
        import pytest, warnings

        @pytest.fixture(scope="module")
        def shared():
            warnings.warn("it begins")
            yield
            warnings.warn("it ends")
        def test_it(shared): pass
        """
    )

    compare(pytester, "-p", "no:warnings", "-rA")


@pytest.mark.parametrize("args", [[], ["-v"], ["-s"], ["--setup-show"]], ids=" ".join)
def test_what_fixtures_write_by_the_terminal_reporter_is_in_lines_and_in_order(pytester, args):
    pytester.makepyfile(
        """
        import pytest

        def steps(request):
            reporter = request.config.pluginmanager.get_plugin("terminalreporter")
            capture = request.config.pluginmanager.get_plugin("capturemanager")
            def write(text):
                with capture.global_and_fixture_disabled():
                    reporter.write_line(f"{request.fixturename}: {text}")
                    print("this is printed")
                    reporter.write_sep("-", "and this written")
            write("up")
            yield
            if request.scope == "function":
                write("down")

        @pytest.fixture(scope="module")
        def shared(request): yield from steps(request)
        @pytest.fixture
        def own(request, shared): yield from steps(request)

        def test_first(own): pass
        def test_second(own): assert 0
        def test_third(shared): pass
        """
    )

    compare(pytester, *args)


def test_subtests_of_unittest_are_told_without_pytests_plugin_for_subtests(pytester):
    """It would make reports of them out of what the child sent, and out of nobody else's."""
    pytester.makepyfile(
        """
        import unittest

        class TestUnit(unittest.TestCase):
            def test_it(self):
                for number in range(3):
                    with self.subTest(number=number):
                        self.assertNotEqual(number, 1)
        """
    )

    one = plain(pytester, "-p", "no:subtests")
    other = forked(pytester, "-p", "no:subtests")

    assert one.status == other.status == pytest.ExitCode.TESTS_FAILED
    assert other.result.parseoutcomes() == one.result.parseoutcomes()
    other.result.stdout.fnmatch_lines(["*AssertionError: 1 == 1"])
