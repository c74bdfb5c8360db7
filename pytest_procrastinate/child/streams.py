"""Output streams of a process that is about to fork, or to end."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator

from pytest_procrastinate.process.unpatched import os


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


@contextlib.contextmanager
def silenced(flush_c: Callable[[], None]) -> Iterator[None]:
    """Have nothing seen that is written meanwhile."""
    flush_output(flush_c)
    found = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
        flush_output(flush_c)
    finally:
        for descriptor, was in zip((1, 2), found, strict=True):
            os.dup2(was, descriptor)
            os.close(was)
        os.close(nowhere)
