"""Huge pages for what a process has in memory: a fork then copies one entry in place of 512.

What a fork costs grows with the memory of the process that forks, by the entries that it copies. Linux
from 6.1 on moves memory into huge pages when asked; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
from collections.abc import Iterator

HUGE_BYTES = 2 << 20  # on x86-64, and on arm64 with pages of 4 KiB
FULL = 0.75  # of a mapping: huge pages take the memory of what has never been touched, too
_MADV_COLLAPSE = 25  # linux/mman.h


@dataclasses.dataclass
class _Mapping:
    """A mapping of this process; sizes in bytes."""

    start: int
    end: int
    is_private_memory: bool
    resident: int = 0
    huge: int = 0

    @property
    def inner(self) -> tuple[int, int]:
        """The part that huge pages can hold: where it begins, how long it is."""
        start = -(-self.start // HUGE_BYTES) * HUGE_BYTES
        return start, max(0, self.end // HUGE_BYTES * HUGE_BYTES - start)

    @property
    def pays(self) -> bool:
        """Whether it is memory, in use nearly everywhere, and not in huge pages already."""
        size = self.end - self.start
        return self.is_private_memory and self.resident >= FULL * size and self.huge < size / 2


def collapse_memory(at_least_bytes: int) -> int:
    """Move this process's memory into huge pages, if there is enough of it to move.

    Takes some 2 ms for each MiB. What the memory holds, and where, stays as it is. Call it where no
    child shares the memory: a copy is made of what is shared.

    :returns: How many bytes were moved; 0 where the kernel has no such pages, or not enough memory.
    """
    if _resident_bytes() < at_least_bytes:
        return 0
    found = [mapping.inner for mapping in _mappings() if mapping.pays]
    if sum(size for _, size in found) < at_least_bytes:
        return 0
    moved, advise = 0, ctypes.CDLL(None).madvise
    for start, size in found:
        address, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
        if size and advise(address, length, _MADV_COLLAPSE) == 0:
            moved += size
    return moved


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:  # no procfs
        return 0


def _mappings() -> Iterator[_Mapping]:
    """Give the mappings of this process as /proc/self/smaps tells them; see proc(5)."""
    mapping: _Mapping | None = None
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
            for row in file:
                name, *rest = row.split()
                if mapping is not None and name == "Rss:":
                    mapping.resident = int(rest[0]) << 10
                elif mapping is not None and name == "AnonHugePages:":
                    mapping.huge = int(rest[0]) << 10
                elif not name.endswith(":"):
                    if mapping is not None:
                        yield mapping
                    start, _, end = name.partition("-")
                    permissions, _, _, inode, *path = rest
                    is_memory = inode == "0" and (
                        not path or path[0].startswith(("[heap", "[anon"))
                    )
                    mapping = _Mapping(
                        int(start, 16), int(end, 16), permissions == "rw-p" and is_memory
                    )
    except OSError:  # no procfs
        return
    if mapping is not None:
        yield mapping
