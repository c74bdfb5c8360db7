"""What a forked test prints and logs is captured, shown and kept as in a plain run."""

from __future__ import annotations

import re

import pytest
from comparing import assert_same_lines, compare, forked, line_of, mask, plain

SUITE = """
import logging, os, pytest, subprocess, sys

log = logging.getLogger("mine")

def speak(where):
    print(f"print in {where}")
    print(f"err in {where}", file=sys.stderr)
    log.debug("debug in %s", where)
    log.warning("warning in %s", where)

@pytest.fixture
def loud():
    speak("set-up")
    yield
    speak("tear-down")

def test_pass(loud): speak("a passing test")

def test_fail(loud):
    speak("a failing test")
    assert 0

def test_native(loud):
    sys.stdout.flush(); sys.stderr.flush()
    os.write(1, b"native out\\n")
    os.write(2, b"native err\\n")
    subprocess.run(["echo", "a grandchild"])
    assert 0

def test_no_newline():
    print("no newline at the end", end="")
    assert 0

def test_not_utf8():
    print("snowman \\u2603")
    assert 0

@pytest.fixture
def broken():
    speak("a broken set-up")
    raise ValueError

def test_error(broken): pass

@pytest.fixture
def untidy():
    yield
    speak("a broken tear-down")
    raise ValueError

def test_teardown_error(untidy): speak("before it")

def test_capsys(capsys):
    speak("capsys")
    out, err = capsys.readouterr()
    assert (out, err) == ("print in capsys\\n", "err in capsys\\n")
    print("left in capsys")

def test_capsys_disabled(capsys):
    with capsys.disabled():
        print("not captured")
    print("captured again")
    assert 0

def test_capfd(capfd):
    os.write(1, b"native in capfd\\n")
    print("print in capfd")
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["native in capfd", "print in capfd"]
    os.write(2, b"left in capfd\\n")

def test_capfdbinary(capfdbinary):
    os.write(1, b"\\xff\\0")
    assert capfdbinary.readouterr().out == b"\\xff\\0"
    os.write(1, b"left\\n")
    assert 0

def test_capsysbinary(capsysbinary):
    sys.stdout.buffer.write(b"\\xff\\0")
    assert capsysbinary.readouterr().out == b"\\xff\\0"

def test_caplog(caplog, loud):
    caplog.set_level(logging.DEBUG)
    speak("caplog")
    assert [r.getMessage() for r in caplog.records] == ["debug in caplog", "warning in caplog"]
    assert len(caplog.get_records("setup")) >= 1
    assert 0

def test_caplog_level_is_put_back(caplog):
    log.debug("not logged")
    assert caplog.text == ""

def test_stdin_is_closed():
    try:
        text = sys.stdin.read()
    except OSError:
        text = ""
    assert text == ""

def test_root_logger():
    logging.getLogger().setLevel(logging.INFO)
    logging.info("to the root")
    assert 0
"""


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--capture=fd", "-rA", "--log-level=DEBUG"], id="fd"),
        pytest.param(["--capture=sys", "-rA", "-k", "not native"], id="sys"),
        pytest.param(["--capture=tee-sys", "-k", "not native"], id="tee-sys"),
        pytest.param(["-s", "--log-format=%(message)s"], id="no"),
        pytest.param(["-rP", "--show-capture=no"], id="show nothing"),
        pytest.param(["--show-capture=stderr", "-q"], id="show stderr"),
        pytest.param(["-o", "log_cli=true", "--log-cli-level=DEBUG"], id="log_cli"),
        pytest.param(["-o", "log_cli=true", "-s", "-v"], id="log_cli, no capture"),
        pytest.param(["-p", "no:logging", "-k", "not caplog"], id="no logging plugin"),
        pytest.param(
            ["--log-disable=mine", "--show-capture=log", "-rxP", "-k", "not caplog"],
            id="log disabled",
        ),
        pytest.param(["-vv", "--setup-show"], id="setup-show"),
    ],
)
def test_output_is_captured_and_shown_as_in_a_plain_run(pytester, args):
    pytester.makepyfile(test_loud=SUITE)

    one, _ = compare(pytester, *args)

    assert len(one.reports()) > 25


def test_native_output_in_sys_mode_reaches_the_terminal(pytester):
    """sys mode does not capture it: its place among the rest is not ours to choose."""
    pytester.makepyfile(test_loud=SUITE)

    one, other = (mode(pytester, "--capture=sys", "-k", "native") for mode in (plain, forked))

    assert one.rows == other.rows
    for told in (one, other):
        assert told.result.stdout.str().count("native out\n") == 1
        assert told.result.stdout.str().count("a grandchild\n") == 1
        assert told.result.stderr.str().count("native err") == 1


appending = pytest.mark.skipif(
    pytest.version_tuple < (8, 1), reason="--log-file-mode came with pytest 8.1"
)


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        pytest.param([], False, id="written anew"),
        pytest.param(["--log-file-mode=a"], True, id="appended to", marks=appending),
    ],
)
def test_log_file_is_that_of_a_plain_run(pytester, args, kept):
    pytester.makepyfile(test_loud=SUITE)

    texts = []
    for run in (plain, forked):
        path = pytester.path / f"{run.__name__}.log"
        path.write_text("was there before\n")
        run(pytester, f"--log-file={path}", "--log-file-level=DEBUG", *args)
        texts.append(mask(path.read_text()).splitlines())

    assert_same_lines(*texts)
    assert len(texts[0]) > 15
    assert ("was there before" in texts[1]) == kept


def test_log_file_that_a_conftest_chooses_for_each_test(pytester):
    pytester.makeconftest(
        """
        import os, pytest

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_setup(item):
            plugin = item.config.pluginmanager.getplugin("logging-plugin")
            plugin.set_log_path(os.path.join(os.environ["LOGS"], item.name + ".log"))
            return (yield)
        """
    )
    pytester.makepyfile(
        """
        import logging
        def test_one(): logging.warning("one")
        def test_two(): logging.warning("two")
        """
    )

    found = []
    for run in (plain, forked):
        logs = pytester.mkdir(run.__name__)
        run(pytester, env={"LOGS": str(logs)})
        found.append([f"{path.name} {mask(path.read_text())}" for path in sorted(logs.iterdir())])

    assert_same_lines(*found)
    assert len(found[0]) == 2


DYING = """
import logging, os, pytest, signal, sys

signals = pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])

def die(name): os.kill(os.getpid(), getattr(signal, name))

def said(word): return f"{word} before"  # no line of the source holds it

@signals
def test_victim(name):
    print(said("print"))
    print(said("err"), file=sys.stderr)
    logging.warning(said("log"))  # here
    print(said("no newline"), end="")
    die(name)

@signals
def test_native(name):
    os.write(1, said("native").encode())
    os.system(f"echo {said('grandchild')}")
    die(name)

def test_after(): print("after")
"""


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_nothing_printed_before_a_crash_is_lost(pytester, capture):
    pytester.makepyfile(test_ext=DYING)

    told = forked(pytester, f"--capture={capture}")

    told.result.assert_outcomes(failed=4, passed=1)
    everything = told.result.stdout.str() + told.result.stderr.str()
    for words in (
        "print before",
        "err before",
        "log before",
        "no newline before",
        "native before",
        "grandchild before",
    ):
        assert everything.count(words) >= 2
    line = line_of(pytester, "test_ext.py", "# here")
    for report in told.reports("test_victim"):
        if report["when"] == "call":
            sections = dict(report["sections"])
            logged = sections.pop("Captured log call")
            assert re.fullmatch(rf"WARNING  root:test_ext\.py:{line} log before", logged)
            if capture != "no":
                assert sections == {
                    "Captured stdout call": "print before\nno newline before",
                    "Captured stderr call": "err before\n",
                }
    assert told.reports("test_after")[0]["sections"] == []


def test_what_a_capture_fixture_held_at_a_crash_is_not_lost(pytester):
    """A failing test shows it: the fixture gives it back as it is torn down."""
    names = ("capsys", "capfd", "capsysbinary", "capfdbinary")
    tests = "".join(
        f"""
def test_victim_{name}({name}):
    print("read before")
    {name}.readouterr()
    print("print in", {name!r})
    print("err in", {name!r}, file=sys.stderr)
    os.abort()
"""
        for name in names
    )
    pytester.makepyfile("import os, sys\n" + tests)

    told = forked(pytester)

    for name in names:
        told.result.stdout.fnmatch_lines_random([f"print in {name}", f"err in {name}"])


def test_output_of_a_crashed_test_follows_show_capture(pytester):
    pytester.makepyfile(test_ext=DYING)
    names = ("-k", "victim and SEGV")

    nothing = forked(pytester, "--show-capture=no", *names)
    errors = forked(pytester, "--show-capture=stderr", *names)

    for told, expected in ((nothing, []), (errors, ["stderr"])):
        shown = re.findall(r"--- Captured (\w+) call ---", "\n".join(told.output))
        assert shown == expected


def test_log_cli_and_log_file_keep_what_was_logged_before_a_crash(pytester):
    pytester.makepyfile(test_ext=DYING)

    told = forked(
        pytester,
        *("-o", "log_cli=true", "--log-file=own.log", "-k", "victim and KILL"),
    )

    assert (pytester.path / "own.log").read_text().count("log before") == 1
    live = told.result.stdout.str().partition("= FAILURES =")[0]
    assert live.count("log before") == 1


def test_a_log_record_is_formatted_as_often_as_plainly_and_a_bad_one_may_be_ignored(pytester):
    pytester.makepyfile(
        """
        import logging, pytest

        class Lazy:
            times = 0
            def __str__(self):
                self.times += 1
                if self.times == 1:
                    logging.warning("from within")
                return f"lazy {self.times}"

        def test_formats():
            lazy = Lazy()
            logging.warning("it is %s", lazy)
            assert lazy.times == 0

        @pytest.mark.parametrize("shown", [True, False])
        def test_bad_record(monkeypatch, shown):
            monkeypatch.setattr(logging, "raiseExceptions", shown)
            logging.warning("of %d", "no number")
        """
    )

    told, _ = compare(pytester)

    assert told.outcomes("bad_record[True]")[1] == "call failed"
    assert told.outcomes("bad_record[False]")[1] == "call passed"


def test_what_a_test_writes_after_it_has_been_told_is_not_shown_with_another(pytester):
    pytester.makeconftest(
        """
        import os

        def pytest_forked_child_ending(item):
            if item.name == "test_victim":
                os.write(item.kept, b"late words")
        """
    )
    pytester.makepyfile(
        """
        import os, pytest

        def test_victim(request): request.node.kept = os.dup(1)

        @pytest.mark.parametrize("n", range(4))
        def test_after(n):
            print("own words")
            assert 0
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=1, failed=4)
    assert told.result.stdout.str().count("own words\n") == 4
    assert "late words" not in told.result.stdout.str()
