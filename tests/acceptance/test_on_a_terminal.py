"""A test that needs the terminal has it: ``input()``, ``breakpoint()``, ``--pdb``; on a real pty."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time

import pytest
from terminals import Terminal, pytest_command

TIMEOUT_SECONDS = 60  # it only ends a hang

SUITE = """
import sys, termios

def test_fails():
    x = 41
    assert x == 42

def test_asks():
    assert input("name? ") == "joe"

def test_breaks():
    y = 5
    breakpoint()

def test_modes():
    modes = termios.tcgetattr(2)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(2, termios.TCSANOW, modes)

def test_after(): pass
"""


def talk(folder, options, script):
    """Run pytest on a terminal of its own; answer each prompt; return status and output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["TERM"] = "dumb"
        command = [sys.executable, "-m", "pytest", "--forked", "-p", "no:cacheprovider", *options]
        os.execv(sys.executable, command)
    told, script, deadline = b"", list(script), time.monotonic() + TIMEOUT_SECONDS
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    data = os.read(terminal, 1 << 16)
                except OSError:  # EIO: nobody has the other end open any more
                    break
                told += data
            if script and told.endswith(script[0][0]):
                os.write(terminal, script.pop(0)[1])
    finally:
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), told.decode(errors="replace")


@pytest.mark.parametrize(
    ("options", "script", "status", "told"),
    [
        (["-s", "-k", "asks or after"], [(b"name? ", b"joe\n")], 0, "2 passed"),
        (
            ["-k", "breaks or after", "--forked-timeout=1"],
            [(b"(Pdb) ", b"p y + 1\n"), (b"(Pdb) ", b"c\n")],
            0,
            "2 passed",
        ),
        (["--pdb", "-k", "fails or after"], [(b"(Pdb) ", b"p x\n"), (b"(Pdb) ", b"c\n")], 1, "41"),
        (["-s", "-k", "modes or after"], [], 0, "2 passed"),
    ],
)
def test_a_test_may_use_the_terminal(tmp_path, options, script, status, told):
    (tmp_path / "test_it.py").write_text(SUITE)

    ended, out = talk(tmp_path, options, script)

    assert ended == status, out
    assert told in out


def stop_and_go_on_in_background(terminal):
    terminal.type("\x1a")
    terminal.wait_for_text("(it stopped)")
    terminal.type("\n")


def test_a_job_in_the_background_leaves_the_terminal_to_the_shell(tmp_path):
    (tmp_path / "test_it.py").write_text(
        """
def test_waits(): open("go").read()
def test_after(): pass
"""
    )
    os.mkfifo(tmp_path / "go")
    job = 'set -m; "$@"; echo "(it stopped)"; read word; bg; read word; fg'

    with Terminal(tmp_path, ["bash", "-c", job, "bash", *pytest_command()]) as terminal:
        terminal.let_go(tmp_path / "go", lambda: stop_and_go_on_in_background(terminal))
        terminal.wait_for_text("2 passed")
        with_shell = terminal.in_foreground
        terminal.type("\n")
        terminal.end()

    assert with_shell


def test_ctrl_z_at_a_debugger_stops_pytest_and_fg_goes_on_there(tmp_path):
    (tmp_path / "test_it.py").write_text(
        """
def test_breaks():
    y = 5
    breakpoint()
def test_after(): pass
"""
    )
    job = 'set -m; "$@"; echo "(it stopped)"; read word; fg'

    with Terminal(tmp_path, ["bash", "-c", job, "bash", *pytest_command()]) as terminal:
        terminal.wait_for_text("(Pdb)")
        terminal.type("\x1a")
        terminal.wait_for_text("(it stopped)")
        terminal.type("\n")
        terminal.wait_for(lambda: not terminal.in_foreground)
        terminal.type("p y + 37\n")
        terminal.wait_for_text("42")
        terminal.type("c\n")
        terminal.wait_for_text("2 passed")
        terminal.end()


def test_the_session_timeout_ends_an_open_debugger(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test_breaks(): breakpoint()\ndef test_never(): pass\n"
    )

    ended, out = talk(tmp_path, ["--forked-session-timeout=2"], [])

    assert ended == 1, out
    assert "(Pdb)" in out
    assert "timeout of 2 s in call (--forked-session-timeout)" in out
    assert "1 failed in" in out
