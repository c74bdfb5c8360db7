"""Memory is moved into huge pages where that pays, and stays what it was."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_procrastinate.process.huge_pages import HUGE_BYTES, collapse_memory

MOVES = """
import mmap, sys
from pytest_procrastinate.process.huge_pages import collapse_memory

ballast = [bytes([n % 251]) * 967 for n in range(80_000)]
sparse = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for place in range(0, 1 << 30, 1 << 21):
    sparse[place] = 1
before = int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE
moved = collapse_memory(1 << 25)
after = int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE
assert all(each == bytes([n % 251]) * 967 for n, each in enumerate(ballast))
print(moved, after - before)
"""


def has_huge_pages() -> bool:
    release = re.match(r"(\d+)\.(\d+)", Path("/proc/sys/kernel/osrelease").read_text())
    return (
        release is not None
        and (int(release[1]), int(release[2])) >= (6, 1)
        and Path("/sys/kernel/mm/transparent_hugepage").exists()
    )


@pytest.mark.skipif(sys.platform != "linux" or not has_huge_pages(), reason="needs Linux 6.1")
def test_memory_that_is_in_use_is_moved_and_stays_what_it_was():
    told = subprocess.run([sys.executable, "-c", MOVES], capture_output=True, text=True, check=True)

    moved, more = map(int, told.stdout.split())
    assert moved >= 60 << 20
    assert more < 100 << 20, "what has hardly been touched takes no more memory"


def test_little_memory_is_left_alone():
    assert collapse_memory(1 << 50) == 0
    assert HUGE_BYTES == 2 << 20
