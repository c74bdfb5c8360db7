"""Descriptors and output streams of a process that is about to fork."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from collections.abc import Callable

HIGH_DESCRIPTOR = 500  # above what a test closes or reuses by number, see fcntl(2) F_DUPFD


def high_duplicate(descriptor: int, *, close: bool = False) -> int:
    """Return a duplicate with a high number, not inherited by other programs."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:  # RLIMIT_NOFILE is lower than that
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    if close:
        os.close(descriptor)
    return high


def c_flusher() -> Callable[[], None]:
    """Return a function that flushes C's stdio: what lies there would be written twice."""
    try:
        fflush = ctypes.CDLL(None).fflush
    except (OSError, AttributeError):
        return lambda: None
    return lambda: fflush(None)


def flush_output(flush_c: Callable[[], None]) -> None:
    """Flush Python's and C's output streams, those of them that still work."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass
    flush_c()
