"""Output streams of a process that is about to fork."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


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
