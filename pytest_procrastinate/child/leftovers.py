"""What a test leaves in its own process: threads, and descriptors where somebody asks."""

from __future__ import annotations

import contextlib
import threading

from pytest_procrastinate.process.unpatched import os

SETTLE_SECONDS = 0.2  # for threads that are on their way out


class OwnThings:
    """What was there when the test began, to be compared with what is there when it is over.

    :param descriptors: Whether to look at descriptors as well.
    """

    def __init__(self, *, descriptors: bool) -> None:
        self._descriptors = _open_descriptors() if descriptors else None

    def left(self) -> tuple[list[str], list[str]]:
        """Return threads that would keep a process alive, and descriptors that were not closed."""
        threads = []
        if threading.active_count() > 1:
            for thread in threading.enumerate():
                if thread is threading.main_thread() or thread.daemon:
                    continue
                if thread is not threading.current_thread():
                    with contextlib.suppress(RuntimeError):
                        thread.join(SETTLE_SECONDS)
                    if thread.is_alive():
                        threads.append(f"thread {thread.name!r}")
        descriptors = []
        if self._descriptors is not None:
            for number, target in _open_descriptors().items():
                # What the standard ones lead to is pytest's affair: it captures them, or not.
                if number > 2 and self._descriptors.get(number) != target:
                    descriptors.append(f"descriptor {number} ({target})")
        return threads, descriptors


def _open_descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the one that listdir has open
                found[int(name)] = os.fsdecode(os.readlink(f"/proc/self/fd/{name}"))
    return found
