"""What a test leaves in its own process: threads, and descriptors where somebody asks."""

from __future__ import annotations

import contextlib
import threading

from pytest_procrastinate.process.unpatched import os, time

SETTLE_SECONDS = 0.2  # for threads that are on their way out, from when the last one has ended


class OwnThings:
    """What was there when the test began, to be compared with what is there when it is over.

    :param descriptors: Whether to look at descriptors as well.
    """

    def __init__(self, *, descriptors: bool) -> None:
        self._descriptors = _open_descriptors() if descriptors else None

    def left(self) -> tuple[list[str], list[str]]:
        """Return threads that would keep a process alive, and descriptors that were not closed."""
        threads = [f"thread {thread.name!r}" for thread in _threads_that_stay()]
        descriptors = []
        if self._descriptors is not None:
            for number, target in _open_descriptors().items():
                # What the standard ones lead to is pytest's affair: it captures them, or not.
                if number > 2 and self._descriptors.get(number) != target:
                    descriptors.append(f"descriptor {number} ({target})")
        return threads, descriptors


def _threads_that_stay() -> list[threading.Thread]:
    """Return threads that are no daemons and do not end; all may take their time at once."""
    if threading.active_count() == 1:
        return []
    here = threading.main_thread(), threading.current_thread()
    others = [each for each in threading.enumerate() if each not in here and not each.daemon]
    patience_ends = time.monotonic() + SETTLE_SECONDS
    staying = []
    for thread in others:
        with contextlib.suppress(RuntimeError):
            thread.join(max(0.0, patience_ends - time.monotonic()))
        if thread.is_alive():
            staying.append(thread)
        else:
            patience_ends = time.monotonic() + SETTLE_SECONDS
    return staying


def _open_descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the one that listdir has open
                found[int(name)] = os.fsdecode(os.readlink(f"/proc/self/fd/{name}"))
    return found
