"""Which process this is, without asking the kernel each time."""

from __future__ import annotations

import mmap
import sys

from pytest_procrastinate.process.unpatched import os

_MADV_WIPEONFORK = 18  # linux/mman.h, from Linux 4.14 on


class OwnPid:
    """Returns this process's id, as :func:`os.getpid`, and asks for it once.

    In whatever is forked, by Python or by C, the kernel wipes the note that it is known. Where it does
    not, each call asks.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._known: mmap.mmap | None = None
        if sys.platform == "linux":
            try:
                known = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                known.madvise(_MADV_WIPEONFORK)
                self._known = known
            except OSError:  # no memory, or an older kernel
                pass

    def __call__(self) -> int:
        known = self._known
        if known is None:
            return os.getpid()
        if not known[0]:
            self._pid = os.getpid()
            known[0] = 1
        return self._pid


own_pid = OwnPid()
