"""Ctrl-C, SIGTERM, SIGHUP, Ctrl-Z, SIGUSR1 and a pytest that is killed: real signals, a real terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang

SUITE = """
import os, pytest, signal, subprocess, time

def tell(name):
    open(name + ".new", "w").write(f"{os.getpid()} {os.getppid()}")
    os.rename(name + ".new", name)

@pytest.fixture
def resource():
    yield
    tell("torn down")

def test_first(): pass

def test_long(resource):
    HOW
    tell("running")
    while True:
        try:
            time.sleep(60)
        except EXCEPT:
            pass

def test_never(): tell("never")
"""


class Run:
    """A pytest process in a session of its own, that runs the suite."""

    def __init__(self, folder: Path, *options: str, how: str, deaf: str) -> None:
        self.folder = folder
        source = SUITE.replace("HOW", how).replace("EXCEPT", deaf)
        (folder / "test_it.py").write_text(source)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--forked", "-p", "no:cacheprovider", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=os.setpgrp,  # its group is not an orphaned one: that could not be stopped
        )
        wait_for((folder / "running").exists)
        self.child, self.server = map(int, (folder / "running").read_text().split())

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def end(self) -> str:
        return self.process.communicate(timeout=TIMEOUT_SECONDS)[0]


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start_run(*options: str, how: str = "pass", deaf: str = "ZeroDivisionError") -> Run:
        runs.append(Run(tmp_path, *options, how=how, deaf=deaf))
        return runs[-1]

    yield start_run
    for run in runs:
        run.process.kill()
        run.process.communicate()
        for pid in (run.child, run.server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = TIMEOUT_SECONDS) -> None:
    """Poll: what is waited for happens in a process that is not ours to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_tears_the_test_down_and_tells_what_is_known(start, signum):
    run = start("-v")

    run.send(signum)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert (run.folder / "torn down").exists()
    assert not (run.folder / "never").exists()
    assert "test_it.py::test_first PASSED" in out
    assert "KeyboardInterrupt" in out
    assert "1 passed in" in out
    assert is_gone(run.child)
    assert is_gone(run.server)


def test_a_test_that_is_deaf_to_ctrl_c_is_killed_after_the_grace_time(start):
    run = start("--forked-grace=0.3", deaf="BaseException")

    run.send(signal.SIGINT)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 passed in" in out
    assert is_gone(run.child)


def test_ctrl_c_twice_kills_at_once(start):
    run = start("--forked-grace=1h", deaf="BaseException", how="signal.signal(signal.SIGTERM, 1)")

    run.send(signal.SIGINT)
    time.sleep(0.2)  # two signals that are pending are one
    run.send(signal.SIGINT)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 passed in" in out
    assert "test_it.py:15: KeyboardInterrupt" in out  # test_long
    assert is_gone(run.child)
    assert is_gone(run.server)


@pytest.mark.parametrize("session", ["", ", start_new_session=True"])
def test_nothing_outlives_a_pytest_that_is_killed(start, session):
    run = start(
        how=f"""process = subprocess.Popen(["sleep", "60"]{session})
    open("started", "w").write(str(process.pid))"""
    )
    started = int((run.folder / "started").read_text())

    run.send(signal.SIGKILL)

    wait_for(lambda: is_gone(run.child) and is_gone(run.server) and is_gone(started), 10)


def test_a_server_that_sets_up_a_fixture_tears_down_and_ends_with_a_killed_pytest(start, tmp_path):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import os, pytest, time

            @pytest.fixture(scope="session")
            def outer():
                yield
                open("torn down", "w").close()

            @pytest.fixture(scope="session", autouse=True)
            def shared(outer):
                open("running.new", "w").write(f"{os.getpid()} {os.getpid()}")
                os.rename("running.new", "running")
                time.sleep(60)
            """
        )
    )
    run = start()
    run.send(signal.SIGKILL)

    wait_for(lambda: is_gone(run.server), 20)
    assert (tmp_path / "torn down").exists()


def test_ctrl_c_reaches_a_shared_fixture_that_is_set_up(start, tmp_path):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import os, pytest, time

            @pytest.fixture(scope="session", autouse=True)
            def shared():
                open("running.new", "w").write(f"{os.getpid()} {os.getpid()}")
                os.rename("running.new", "running")
                time.sleep(60)
            """
        )
    )
    run = start("--forked-grace=5")

    run.send(signal.SIGINT)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in out
    assert is_gone(run.server)


def test_sigusr1_tells_what_runs_and_where(start):
    run = start()

    run.send(signal.SIGUSR1)
    time.sleep(1)
    run.send(signal.SIGINT)
    out = run.end()

    assert "forked: test_it.py::test_long has been running for" in out
    assert f"in call (process {run.child})" in out
    assert "in test_long" in out


def test_ctrl_z_stops_the_children_as_well_and_fg_goes_on_with_the_clocks(start):
    run = start("--forked-timeout=3", "--forked-grace=5")

    run.send(signal.SIGTSTP)
    wait_for(lambda: state_of(run.process.pid) == "T")
    wait_for(lambda: state_of(run.child) == "T" and state_of(run.server) == "T")
    time.sleep(3)
    run.send(signal.SIGCONT)
    wait_for(lambda: state_of(run.child) == "S")
    time.sleep(0.5)
    assert not is_gone(run.child)
    run.send(signal.SIGINT)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert "TestTimeout" not in out


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_takes_its_time_as_the_run_ends_is_killed_by_an_interrupt(start, tmp_path, signum):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            f"""
            import os, pytest, time

            @pytest.fixture(scope="session", autouse=True)
            def shared():
                yield
                open("tears down", "w").close()
                os.kill(os.getppid(), {signum})
                time.sleep(60)
            """
        )
    )
    run = start()
    run.send(signum)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "tears down").exists()
    assert "1 passed in" in out
    assert is_gone(run.server)


def test_a_leftover_does_not_outlive_an_interrupt_of_the_wait_for_its_end(start, tmp_path):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import os, pytest, signal

            pytest_pid = os.getpid()

            def interrupt(signum, frame):
                signal.signal(signum, signal.SIG_IGN)
                os.kill(pytest_pid, signal.SIGINT)

            @pytest.fixture(scope="session", autouse=True)
            def shared():
                if os.fork() == 0:
                    os.setsid()
                    signal.signal(signal.SIGTERM, interrupt)
                    signal.signal(signal.SIGHUP, signal.SIG_DFL)
                    open("leftover", "w").write(str(os.getpid()))
                    os.closerange(0, 1000)
                    while True:
                        signal.pause()
                yield
            """
        )
    )
    run = start("--forked-fixtures=shared")
    run.send(signal.SIGINT)
    run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    wait_for((tmp_path / "leftover").exists)
    assert is_gone(int((tmp_path / "leftover").read_text()))


@pytest.mark.parametrize(
    ("moment", "passes"),
    [
        ("run.begin_child = after_ctrl_c(run.begin_child)", False),
        ("pytest_forked_child_started = lambda item: ctrl_c()", False),
        ("pytest_forked_child_ending = lambda item: ctrl_c()", True),
    ],
)
def test_ctrl_c_beside_the_test_is_no_death_of_its_child(start, tmp_path, moment, passes):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import os, signal
            from pytest_procrastinate.child import run

            def ctrl_c():
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                open("running.new", "w").write(f"{os.getpid()} {os.getppid()}")
                os.rename("running.new", "running")
                while signal.SIGINT not in signal.sigpending():
                    pass
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

            def after_ctrl_c(function):
                return lambda *args: (ctrl_c(), function(*args))
            """
        )
        + moment
    )
    run = start("--forked-grace=1h", "-k", "test_long", how="return" if passes else "pass")
    run.send(signal.SIGINT)
    out = run.end()

    assert run.process.returncode == pytest.ExitCode.INTERRUPTED
    assert ("1 passed" in out) == passes
    assert "error" not in out
    assert "Traceback" not in out
