"""Processes that a shared fixture has started, as a test's child sees them.

They are children of the fork server: in a test's child ``waitpid`` fails with ECHILD, and
:class:`subprocess.Popen` takes that for the end of the process (status 0), ``terminate`` then does
nothing. Here a pidfd, or signal 0, is asked instead: both work for anybody's process.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing.process
import select
import subprocess
from collections.abc import Collection
from typing import Any

from pytest_procrastinate.process.unpatched import os, time

LOOK_SECONDS = 0.01  # between looks at a process whose end nothing announces
UNKNOWN_STATUS = 0  # what Popen says itself of a process whose status somebody else has taken


def tell_the_truth_about(pids: Collection[int]) -> None:
    """Have ``poll``, ``wait``, ``is_alive`` and signals work for these processes, in a child.

    ``Popen._internal_poll`` and ``Popen._try_wait`` are private, and the same from 3.10 to 3.14.
    How such a process ended only its parent can know: it is told as status 0.
    """
    inherited = frozenset(pids)
    own_poll, own_try_wait = subprocess.Popen._internal_poll, subprocess.Popen._try_wait  # type: ignore[attr-defined]
    own_is_alive, own_join = (
        multiprocessing.process.BaseProcess.is_alive,
        multiprocessing.process.BaseProcess.join,
    )

    def internal_poll(popen: Any, *args: Any, **kwargs: Any) -> Any:
        if popen.pid not in inherited:
            return own_poll(popen, *args, **kwargs)
        if popen.returncode is None and not is_running(popen.pid):
            popen.returncode = UNKNOWN_STATUS
        return popen.returncode

    def try_wait(popen: Any, wait_flags: int) -> tuple[int, int]:
        if popen.pid not in inherited:
            pair: tuple[int, int] = own_try_wait(popen, wait_flags)
            return pair
        if wait_flags & os.WNOHANG:
            return (0, 0) if is_running(popen.pid) else (popen.pid, UNKNOWN_STATUS)
        wait_for_end(popen.pid)
        return popen.pid, UNKNOWN_STATUS

    def is_alive(process: Any) -> bool:
        if process.pid not in inherited:
            return own_is_alive(process)
        return is_running(process.pid)

    def join(process: Any, timeout: float | None = None) -> None:
        if process.pid not in inherited:
            own_join(process, timeout)
        else:
            wait_for_end(process.pid, timeout)

    subprocess.Popen._internal_poll = internal_poll  # type: ignore[attr-defined]
    subprocess.Popen._try_wait = try_wait  # type: ignore[attr-defined]
    setattr(multiprocessing.process.BaseProcess, "is_alive", is_alive)  # noqa: B010
    setattr(multiprocessing.process.BaseProcess, "join", join)  # noqa: B010


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie (proc(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        pass
    if os.path.isdir("/proc/self"):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def wait_for_end(pid: int, timeout: float | None = None) -> None:
    """Wait until a process has ended, at most ``timeout`` seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):  # no descriptor is left, or this system has no pidfds
        _look_until_gone(pid, timeout)
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
    finally:
        with contextlib.suppress(OSError):
            os.close(pidfd)


def _look_until_gone(pid: int, timeout: float | None) -> None:
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
