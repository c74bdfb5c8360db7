"""The live line, as a person sees it: on a real pty, by a screen that interprets what is written."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest
from terminals import Terminal, pytest_command

AT_ONCE = """
import os
from pytest_procrastinate.parent import live_line

live_line.AFTER_SECONDS = float(os.environ.get("AFTER", "0"))
live_line.REDRAW_SECONDS = 0.05
"""

SUITE = """
import pytest

@pytest.mark.parametrize("n", range(12))
def test_quick(n): pass

def test_waits():
    open("go").read()

def test_fails():
    print("a word")
    assert 0

def test_last(): pass
"""

NAMED = "12/15, running: test_it.py::test_waits "
DRAWN = b"\x1b7"


@pytest.fixture
def suite(tmp_path):
    """A folder with a suite; ``test_waits`` goes on when somebody writes to ``go``."""
    (tmp_path / "conftest.py").write_text(AT_ONCE)
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    os.mkfifo(tmp_path / "go")
    return tmp_path


def replace(folder, source):
    (folder / "test_it.py").write_text(source)


def without_times(rows):
    rows = [re.sub(r"\d+\.\d+s", "N s", row) for row in rows]
    return [re.sub(r"([=_-])\1+", r"\1", row) for row in rows]


def plainly(folder, *options, columns=80, rows=24):
    """Return all that is shown where there is no live line."""
    size = {"columns": columns, "rows": rows}
    with Terminal(
        folder, pytest_command(*options), **size, environment={"AFTER": "99"}
    ) as terminal:
        terminal.let_go(folder / "go")
        terminal.end()
    assert DRAWN not in terminal.told
    return without_times(terminal.transcript)


@pytest.mark.parametrize(
    ("options", "columns", "rows"),
    [
        ([], 80, 24),
        (["-v"], 80, 24),
        (["-v"], 38, 8),
        (["-q"], 80, 24),
        (["--forked-jobs=2", "--color=no"], 80, 24),
        (["--forked-jobs=2", "-v", "-rA"], 70, 10),
        (["--no-header", "-vv", "-o", "console_output_style=count"], 60, 5),
    ],
)
def test_a_test_that_takes_its_time_is_named_below_and_nothing_is_left_of_it(
    suite, options, columns, rows
):
    expected = plainly(suite, *options, columns=columns, rows=rows)

    with Terminal(suite, pytest_command(*options), columns=columns, rows=rows) as terminal:
        terminal.wait_for(lambda: any(re.search(r"::test_waits \d s$", r) for r in terminal.shown))
        cursor = terminal.screen.cursor
        below = terminal.shown[cursor.y + 1]
        above = without_times(terminal.transcript[: terminal.transcript.index(below) - 1])
        terminal.let_go(suite / "go")
        status = terminal.end()

    assert re.fullmatch(r"1[1-4]/15, (2 )?running: .* \d s", below), below
    assert expected[: len(above)] == above
    assert without_times(terminal.transcript) == expected
    assert status == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("options", "environment", "drawn"),
    [
        ([], {}, True),
        (["--color=no"], {"NO_COLOR": "1"}, True),
        ([], {"TERM": "dumb"}, False),
        ([], {"TERM": ""}, False),
        ([], {"CI": "true"}, False),
        ([], {"BUILD_NUMBER": "7"}, False),
        (["-s"], {}, False),
        (["--capture=sys"], {}, False),
        (["--setup-show"], {}, False),
        (["--pdb"], {}, False),
        (["-o", "log_cli=true"], {}, False),
        (["-o", "faulthandler_timeout=60"], {}, False),
        (["-p", "no:terminal"], {}, False),
        (["-p", "another_reporter"], {}, False),
        (["-n2"], {}, False),
        (["--no-forked"], {}, False),
    ],
)
def test_it_is_absent_where_nobody_looks_on_or_others_write(suite, options, environment, drawn):
    replace(suite, "import time\ndef test_it(): time.sleep(0.3)")
    (suite / "another_reporter.py").write_text(
        """
import pytest
from _pytest.terminal import TerminalReporter

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(type("Sugar", (TerminalReporter,), {})(config), "terminalreporter")
"""
    )

    environment = {"PYTHONPATH": str(suite), **environment}
    with Terminal(suite, pytest_command(*options), environment=environment) as terminal:
        status = terminal.end()

    assert status == pytest.ExitCode.OK, terminal.transcript
    assert (DRAWN in terminal.told) is drawn


def test_quick_tests_show_nothing_of_it(suite):
    (suite / "conftest.py").unlink()
    replace(suite, SUITE.replace('open("go").read()', "pass"))

    with Terminal(suite, pytest_command("--color=no")) as terminal:
        terminal.end()

    assert b"\x1b" not in terminal.told


@pytest.mark.slow
def test_it_comes_after_two_seconds_and_counts(suite):
    (suite / "conftest.py").unlink()

    with Terminal(suite, pytest_command()) as terminal:
        terminal.wait_for_text("running: ")
        first = terminal.shown[terminal.screen.cursor.y + 1]
        terminal.wait_for_text("test_waits 4 s")
        terminal.let_go(suite / "go")
        terminal.end()

    assert re.fullmatch(rf"{NAMED}[2-4] s", first)


def test_several_jobs_are_named_the_slowest_first(suite):
    replace(
        suite,
        """
def test_quick(): pass
def test_waits(): open("go").read()
def test_too(): open("go too").read()
""",
    )

    os.mkfifo(suite / "go too")

    with Terminal(suite, pytest_command("--forked-jobs=4")) as terminal:
        both = re.compile(r"1/3, 2 running: test_it.py::test_waits \d s, test_it.py::test_too \d s")
        terminal.wait_for(lambda: any(both.match(row) for row in terminal.shown))
        terminal.let_go(suite / "go too")
        terminal.wait_for_text("2/3, running: test_it.py::test_waits ")
        terminal.let_go(suite / "go")
        terminal.end()

    assert "3 passed" in terminal.transcript[-1]


def test_what_a_conftest_prints_is_not_mixed_with_it(suite):
    with (suite / "conftest.py").open("a") as conftest:
        conftest.write(
            """
import sys

def pytest_runtest_logreport(report):
    if report.when == "call":
        print("\\nreported", report.nodeid)
        print("and on stderr", file=sys.stderr)
"""
        )
    expected = plainly(suite)

    with Terminal(suite, pytest_command()) as terminal:
        terminal.wait_for_text(NAMED)
        terminal.let_go(suite / "go")
        terminal.end()

    assert without_times(terminal.transcript) == expected


def test_slow_after_and_sigusr1_are_told_above_it(suite):
    replace(suite, 'def test_waits(): open("go").read()')
    command = pytest_command("--forked-slow-after=0.2")

    with Terminal(suite, command, columns=200) as terminal:

        def ask():
            terminal.wait_for_text("still runs after 0.2 s")
            terminal.wait_for_text("running: ")
            terminal.signal(signal.SIGUSR1)
            terminal.wait_for_text("in test_waits")
            terminal.wait_for_text("running: ")

        terminal.let_go(suite / "go", ask)
        terminal.end()

    said = [row for row in terminal.transcript if "test_waits" in row]
    assert len(said) == 3, terminal.transcript
    assert said[0] == "forked: test_it.py::test_waits still runs after 0.2 s"
    assert re.match(r"forked: test_it.py::test_waits has been running for \d.\d s", said[1])
    assert re.match(r"  .*, line \d+ in test_waits", said[2])
    assert not any("running: " in row for row in terminal.transcript)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_a_debugger_or_a_test_that_writes_itself_has_the_screen_for_itself(suite, options):
    replace(
        suite,
        """
def test_debugs():
    open("go").read()
    breakpoint()

def test_writes(capsys):
    open("go").read()
    with capsys.disabled():
        print("\\nfirst")
        open("go").read()
        print("second")
""",
    )

    with Terminal(suite, pytest_command(*options)) as terminal:
        terminal.wait_for_text("0/2, running: test_it.py::test_debugs ")
        terminal.let_go(suite / "go")
        terminal.wait_for_text("(Pdb)")
        in_debugger = terminal.transcript
        terminal.type("c\n")
        terminal.wait_for_text("1/2, running: test_it.py::test_writes ")
        terminal.let_go(suite / "go")
        terminal.wait_for_text("first")
        terminal.let_go(suite / "go")
        terminal.end()

    assert not any("running: " in row for row in [*in_debugger, *terminal.transcript])
    asked = next(row for row in in_debugger if "PDB set_trace" in row)
    before = in_debugger[in_debugger.index(asked) - 1]
    assert before == ("test_it.py::test_debugs" if options else "test_it.py")
    assert in_debugger[-1] == "(Pdb)"
    assert terminal.transcript[terminal.transcript.index("first") + 1] == "second"


def test_ctrl_c_leaves_nothing_of_it(suite):
    with Terminal(suite, pytest_command()) as terminal:
        terminal.wait_for_text(NAMED)
        terminal.type("\x03")
        status = terminal.end()

    assert status == pytest.ExitCode.INTERRUPTED
    assert not any("running: " in row for row in terminal.transcript)
    assert any("KeyboardInterrupt" in row for row in terminal.transcript)


def test_a_job_that_is_stopped_or_in_the_background_shows_nothing_of_it(suite):
    suite.joinpath("job.sh").write_text(
        """
        set -m
        "$@"
        echo "(it stopped)"; read word
        bg; read word
        fg
        """
    )

    with Terminal(suite, ["bash", "job.sh", *pytest_command()]) as terminal:
        terminal.wait_for_text(NAMED)
        terminal.type("\x1a")
        terminal.wait_for_text("(it stopped)")
        stopped, told = terminal.transcript, len(terminal.told)
        terminal.type("\n")
        terminal.let_go(suite / "go")
        terminal.wait_for_text("1 failed, 14 passed")
        in_background = terminal.told[told:]
        terminal.type("\n")
        terminal.end()

    assert not any("running: " in row for row in stopped), stopped
    assert DRAWN not in in_background


def test_it_comes_back_when_a_stopped_job_goes_on(suite):
    suite.joinpath("job.sh").write_text('set -m; "$@"; read word; fg')

    with Terminal(suite, ["bash", "job.sh", *pytest_command()]) as terminal:
        terminal.wait_for_text(NAMED)
        terminal.type("\x1a")
        terminal.wait_for(lambda: not any("running: " in row for row in terminal.shown))
        terminal.type("\n")
        terminal.wait_for_text("running: ")
        terminal.let_go(suite / "go")
        terminal.end()

    assert not any("running: " in row for row in terminal.transcript)


def test_a_narrower_window_gets_a_shorter_line(suite):
    with Terminal(suite, pytest_command("--no-header", "-q")) as terminal:
        terminal.wait_for_text(NAMED)
        terminal.resize(30, 24)
        terminal.wait_for_text("12/15, running: …st_waits ")
        terminal.let_go(suite / "go")
        terminal.end()

    assert not any("running: " in row for row in terminal.transcript)


def test_a_terminal_that_is_halted_does_not_hold_the_run(suite):
    """Ctrl-S: who writes would wait, and see to no timeout meanwhile."""
    replace(
        suite,
        """
import pytest, time

@pytest.fixture
def resource():
    yield
    open("go", "w").close()

def test_hangs(resource): time.sleep(60)
""",
    )

    with Terminal(suite, pytest_command("--forked-timeout=1s")) as terminal:
        terminal.wait_for_text("0/1, running: test_it.py::test_hangs ")
        terminal.type("\x13")
        with (suite / "go").open() as ended:
            ended.read()
        terminal.type("\x11")
        terminal.end()

    assert "1 failed" in terminal.transcript[-1]


def test_it_is_absent_where_the_output_is_no_terminal(suite):
    replace(suite, "import time\ndef test_it(): time.sleep(0.3)")
    command = f"{sys.executable} -m pytest --forked > out; cat out"

    with Terminal(suite, ["sh", "-c", command]) as terminal:
        terminal.end()

    assert b"\x1b" not in terminal.told
