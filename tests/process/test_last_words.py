from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, faulthandler, os, sys, threading
from pytest_procrastinate.process.last_words import LastWords

def speak():
    os.write(1, b"last words of %d" % os.getpid())
    while sys.argv[2:] == ["deaf"]:
        pass

words = LastWords(speak)
if not words.prepare():
    sys.exit("unknown platform")
faulthandler.enable()
words.make_room()
{die}
os.write(1, b"survived")
"""

WAYS = {
    "null pointer": ("ctypes.string_at(0)", signal.SIGSEGV),
    "kill": ("os.kill(os.getpid(), 11)", signal.SIGSEGV),
    "abort": ("os.abort()", signal.SIGABRT),
    "double free": (
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; "
        "libc.free.argtypes = [ctypes.c_void_p]; block = libc.malloc(9999); libc.malloc(99); "
        "libc.free(block); libc.free(block)",
        signal.SIGABRT,
    ),
    "thread": (
        "thread = threading.Thread(target=ctypes.string_at, args=(0,)); thread.start(); "
        "thread.join()",
        signal.SIGSEGV,
    ),
}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def die(how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(die=how)
    command = [sys.executable, "-c", program, "-", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("how", "signum"), WAYS.values(), ids=WAYS)
def test_python_runs_once_more_before_a_fatal_signal_ends_the_process(how, signum):
    told = die(how)

    assert told.returncode == -signum
    assert told.stdout.startswith("last words of ")
    assert "Fatal Python error" in told.stderr


def test_last_words_that_do_not_end_are_cut_off_by_the_same_signal():
    told = die("ctypes.string_at(0)", "deaf")

    assert told.returncode == -signal.SIGSEGV
    assert told.stdout.startswith("last words of ")


def test_a_process_that_leaves_in_order_says_nothing():
    told = die("sys.exit(3)")

    assert (told.returncode, told.stdout) == (3, "")
