"""What a hostile child does to itself, its fork server and the pytest process: one report, no more.

Each case is the body of a test between two bystanders, in a run with ``--forked-timeout``.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang
OPTIONS = ("--forked", "--forked-timeout=2", "--forked-grace=1", "-p", "no:cacheprovider", "-rA")

SUITE = """
import ctypes, mmap, gc, os, resource, signal, socket, sys, tempfile, threading, time

def test_before(): pass

def test_victim():
    os.write(1, b"last words\\n")
BODY

def test_after(): pass

def test_at_the_end(): pass
"""


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    body: str
    outcome: str
    told: str = ""
    """A part of what the summary line says."""


def case(name: str, outcome: str, told: str, body: str) -> object:
    return pytest.param(Case(name, textwrap.dedent(body).strip(), outcome, told), id=name)


CASES = [
    # --- how it ends
    case("exits with 0", "FAILED", "exited with status 0 in call", "os._exit(0)"),
    case(
        "becomes another program",
        "FAILED",
        "exited with status 0",
        "os.execv('/bin/true', ['true'])",
    ),
    case(
        "becomes a program that hangs",
        "FAILED",
        "ran into its timeout of 2 s",
        "os.execv('/bin/sleep', ['sleep', '60'])",
    ),
    case("null pointer", "FAILED", "crashed with SIGSEGV", "ctypes.string_at(1)"),
    case("alarm", "FAILED", "was killed by SIGALRM", "signal.alarm(1); time.sleep(30)"),
    # --- signals to others
    case(
        "kills its group", "FAILED", "was killed by SIGKILL in call", "os.kill(0, signal.SIGKILL)"
    ),
    case("terminates its group", "FAILED", "was killed by SIGTERM", "os.kill(0, signal.SIGTERM)"),
    *(
        case(f"sends {name} to its server", "PASSED", "", f"os.kill(os.getppid(), signal.{name})")
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGSTOP", "SIGKILL", "SIGSEGV")
    ),
    *(
        case(
            f"sends {name} to its server's group",
            "PASSED",
            "",
            f"os.killpg(os.getpgid(os.getppid()), signal.{name})",
        )
        for name in ("SIGINT", "SIGTERM", "SIGKILL")
    ),
    case(
        "kills its server and crashes",
        "FAILED",
        "crashed with SIGSEGV",
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.2); os.kill(os.getpid(), signal.SIGSEGV)",
    ),
    case(
        "kills its server and hangs",
        "FAILED",
        "timeout of 2 s in call",
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
    ),
    case(
        "stops its server and hangs",
        "FAILED",
        "timeout of 2 s in call",
        "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)",
    ),
    case("stops itself", "FAILED", "timeout of 2 s", "os.kill(os.getpid(), signal.SIGSTOP)"),
    # --- signals it does not want
    case(
        "ignores all signals",
        "PASSED",
        "",
        "for n in signal.valid_signals() - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)",
    ),
    case("ignores SIGCHLD", "PASSED", "", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"),
    case(
        "blocks all signals and hangs",
        "FAILED",
        "ran into its timeout of 2 s",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(60)",
    ),
    case(
        "is traced and is sent a signal",
        "FAILED",
        "",
        "ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGTERM)",
    ),
    # --- processes
    case("leaves the session", "PASSED", "", "os.fork() or (os.setsid(), os._exit(0))"),
    case("joins its server's group", "PASSED", "", "os.setpgid(0, os.getpgid(os.getppid()))"),
    case(
        "leaves a daemon that holds all descriptors",
        "PASSED",
        "",
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
            os._exit(0)
        """,
    ),
    case(
        "leaves thirty processes",
        "PASSED",
        "",
        """
        for _ in range(30):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        """,
    ),
    case("forks and both go on", "PASSED", "", "os.fork()"),
    # --- the channel
    case(
        "writes garbage into every descriptor",
        "FAILED",
        "its reports cannot be read",
        """
        for n in range(3, 1024):
            try:
                socket.socket(fileno=os.dup(n)).send(b"\\xff" * 5000, socket.MSG_DONTWAIT)
            except OSError:
                pass
        """,
    ),
    case(
        "writes a frame that claims 4 GB",
        "FAILED",
        "a header claims 4294967295 bytes",
        """
        for n in range(400, 1024):
            try:
                os.write(n, b"\\xff" * 8 + b"abc")
            except OSError:
                pass
        """,
    ),
    case(
        "writes for ever",
        "FAILED",
        "its reports cannot be read",
        """
        while True:
            for n in range(400, 600):
                try:
                    socket.socket(fileno=os.dup(n)).send(b"x" * 65536)
                except OSError:
                    pass
        """,
    ),
    case(
        "puts other things in place of all descriptors",
        "FAILED",
        "",
        """
        null = os.open("/dev/null", os.O_RDWR)
        for n in range(3, 1024):
            try:
                os.dup2(null, n)
            except OSError:
                pass
        os._exit(0)
        """,
    ),
    case(
        "writes over the shared page",
        "FAILED",
        "",
        """
        for each in gc.get_objects():
            if isinstance(each, mmap.mmap):
                each[:] = b"\\xff" * len(each)
        os._exit(0)
        """,
    ),
    # --- its own surroundings
    case(
        "lowers its process limit",
        "PASSED",
        "",
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))",
    ),
    case(
        "removes its working directory",
        "PASSED",
        "",
        "folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)",
    ),
    case(
        "lowers its memory limit",
        "FAILED",
        "MemoryError",
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20)); bytearray(10 << 20)",
    ),
    case(
        "leaves threads",
        "PASSED",
        "",
        "for _ in range(3): threading.Thread(target=time.sleep, args=(60,)).start()",
    ),
]


@pytest.mark.parametrize("given", CASES)
def test_a_hostile_child_ends_in_one_report_and_leaves_nothing(given, tmp_path):
    suite = SUITE.replace("BODY", textwrap.indent(given.body, "    "))
    (tmp_path / "test_it.py").write_text(suite)

    out = run(tmp_path)

    told = [line for line in out.splitlines() if "test_it.py::test_" in line and " " in line]
    told = [line for line in told if line.split()[0] in ("PASSED", "FAILED", "ERROR")]
    victims = [line for line in told if "test_victim" in line]
    assert len(victims) == 1, out
    assert victims[0].startswith(("FAILED", "ERROR") if given.outcome == "FAILED" else "PASSED"), (
        out
    )
    assert given.told in out, out
    assert sorted(line for line in told if line not in victims) == [
        "PASSED test_it.py::test_after",
        "PASSED test_it.py::test_at_the_end",
        "PASSED test_it.py::test_before",
    ]
    assert processes_in(tmp_path) == []


def run(folder: Path) -> str:
    environment = {**os.environ, "COLUMNS": "300", "HOSTILE_RUN": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "test_it.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
    )
    return done.stdout.decode(errors="replace")


def processes_in(folder: Path) -> list[str]:
    """Name the processes that the run has left, by a variable of its environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit():
                words = (process / "environ").read_bytes().split(b"\0")
                if b"HOSTILE_RUN=" + os.fsencode(folder) in words:
                    found.append(f"{process.name}: {(process / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found
