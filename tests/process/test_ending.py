"""Endings: each is one value, says what it is, and survives a message."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_procrastinate.process.ending import Ending, Usage, name_signal

USAGE = Usage(
    user_seconds=0.25,
    system_seconds=0.5,
    peak_memory_bytes=50 << 20,
    minor_faults=700,
    major_faults=1,
)


def ended_by(action) -> Ending:
    """Fork a child that does ``action``, and reap it."""
    pid = os.fork()
    if pid == 0:
        try:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            action()
        finally:
            os._exit(99)
    return Ending.from_wait(*os.wait4(pid, 0))


def by_signal(number: int, *, core_dumped: bool = False) -> Ending:
    return Ending(1, None, number, core_dumped, USAGE)


@pytest.mark.parametrize("status", [0, 3, 255])
def test_an_exit_status_is_told(status):
    ending = ended_by(lambda: os._exit(status))

    assert (ending.exit_status, ending.signal, ending.signal_name) == (status, None, None)
    assert ending.describe() == f"exited with status {status}"


def test_a_signal_is_told_by_name():
    ending = ended_by(lambda: os.kill(os.getpid(), signal.SIGSEGV))

    assert (ending.exit_status, ending.signal) == (None, signal.SIGSEGV)
    assert ending.signal_name == "SIGSEGV"
    assert ending.describe() == "crashed with SIGSEGV (segmentation fault)"


def test_the_usage_is_that_of_the_child():
    def burn() -> None:
        kept = bytearray(64 << 20)
        kept[::4096] = b"x" * len(kept[::4096])
        os._exit(0)

    usage = ended_by(burn).usage

    assert usage is not None
    assert usage.peak_memory_bytes > 64 << 20
    assert usage.minor_faults > 1000
    assert usage.user_seconds + usage.system_seconds > 0


def test_a_stop_is_not_an_ending():
    stopped = 0x7F | signal.SIGSTOP << 8

    with pytest.raises(ValueError, match="process 5 has not ended"):
        Ending.from_wait(5, stopped, None)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (by_signal(signal.SIGABRT), "crashed with SIGABRT (aborted)"),
        (
            by_signal(signal.SIGBUS, core_dumped=True),
            "crashed with SIGBUS (bus error, core dumped)",
        ),
        (by_signal(signal.SIGKILL), "was killed by SIGKILL"),
        (by_signal(signal.SIGTERM), "was killed by SIGTERM"),
        (by_signal(signal.SIGQUIT, core_dumped=True), "was killed by SIGQUIT (quit, core dumped)"),
        (by_signal(signal.SIGXCPU), "was killed by SIGXCPU (CPU time limit exceeded)"),
        (by_signal(signal.SIGIO), "was killed by SIGIO (I/O possible)"),
        (by_signal(signal.SIGRTMIN), "was killed by SIGRTMIN"),
        (by_signal(signal.SIGRTMIN + 3), "was killed by SIGRTMIN+3"),
        (by_signal(signal.SIGRTMAX), "was killed by SIGRTMAX"),
        (by_signal(126), "was killed by signal 126"),
        (Ending.lost(1), "was lost: nobody could tell how it ended"),
        (
            by_signal(signal.SIGKILL).with_cause("timeout"),
            "ran into its timeout (was killed by SIGKILL)",
        ),
        (
            Ending(1, 1, None, False, None).with_cause("memory limit"),
            "went over its memory limit (exited with status 1)",
        ),
        (
            Ending.lost(1).with_cause("interrupt"),
            "was interrupted (ended in a way that nobody could tell)",
        ),
    ],
)
@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="needs real-time signals")
def test_an_ending_is_described(ending, words):
    assert ending.describe() == words


@given(st.integers(1, 127))
def test_every_signal_has_a_name(number):
    assert name_signal(number)
    assert by_signal(number).describe().startswith(("crashed with", "was killed by"))


@pytest.mark.parametrize(
    "ending",
    [
        by_signal(signal.SIGSEGV, core_dumped=True),
        Ending(7, 0, None, False, None),
        Ending(7, 3, None, False, USAGE, "timeout"),
        Ending.lost(7),
    ],
)
def test_an_ending_survives_a_message(ending):
    assert Ending.from_message(ending.as_message()) == ending


def test_a_cause_changes_nothing_else():
    ending = by_signal(signal.SIGKILL)

    told = ending.with_cause("cpu limit")

    assert (ending.cause, told.cause) == ("", "cpu limit")
    assert told.with_cause("") == ending


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        (),
        (1, 0, None, False, None),
        (1, 0, None, False, None, "", ""),
        (-1, 0, None, False, None, ""),
        (True, 0, None, False, None, ""),
        (1, 256, None, False, None, ""),
        (1, "0", None, False, None, ""),
        (1, 0, 9, False, None, ""),
        (1, None, 128, False, None, ""),
        (1, 0, None, 0, None, ""),
        (1, 0, None, False, None, "bored"),
        (1, 0, None, False, (1.0, 1.0, 1, 1), ""),
        (1, 0, None, False, (1.0, 1.0, "1", 1, 1), ""),
    ],
)
def test_garbage_is_not_an_ending(message):
    with pytest.raises(ValueError, match="not an ending"):
        Ending.from_message(message)
