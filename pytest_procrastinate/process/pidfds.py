"""Processes held by a descriptor, so that a signal meets nobody who was given the same number since.

Linux 5.3 and later; see pidfd_open(2).
"""

from __future__ import annotations

import ctypes
import select
import signal

from pytest_procrastinate.process.unpatched import os

# The same on every architecture, as all that is newer than Linux 5.0.
_NR_PIDFD_SEND_SIGNAL, _NR_PIDFD_OPEN = 424, 434


def open_pidfd(pid: int) -> int:
    """Return a descriptor of a process.

    :raises ProcessLookupError: There is none of that number.
    :raises OSError: No descriptor was left (EMFILE, ENFILE).
    """
    # Missing where Python was built with the headers of an old kernel.
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _system_call(_NR_PIDFD_OPEN, pid, 0)


def send_signal(pidfd: int, signum: int) -> None:
    """Send a signal.

    :raises ProcessLookupError: The process has ended, and been reaped.
    :raises PermissionError: It is somebody else's.
    """
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(pidfd, signum)
    else:
        _system_call(_NR_PIDFD_SEND_SIGNAL, pidfd, signum, None, 0)


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended, be it reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _system_call(*arguments: int | None) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(*arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
