"""No thread writes a log record while this process forks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pytest_procrastinate.process.unpatched import time

WAIT_SECONDS = 1.0  # for those who write: one of them may hang, and then the fork is as it was


@contextlib.contextmanager
def log_handlers_at_rest() -> Iterator[None]:
    """Hold the locks of logging's handlers for a while. Where no other thread is, nobody holds one.

    A thread that writes a record holds the lock of the file's buffer, too, and Python makes only
    logging's own locks anew in a child: it would hang with the first record that it writes.
    """
    held = []
    deadline = time.monotonic() + WAIT_SECONDS
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    for handler in {each for logger in loggers for each in getattr(logger, "handlers", ())}:
        # A thread may wait for one while it holds another: no lock is waited for without end.
        left = max(0.0, deadline - time.monotonic())
        if handler.lock is not None and handler.lock.acquire(timeout=left):
            held.append(handler.lock)
    try:
        yield
    finally:
        for lock in held:
            with contextlib.suppress(RuntimeError):  # a child's have been made anew, and are free
                lock.release()
