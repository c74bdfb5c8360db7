"""What a broader set-up made that would not survive a fork.

Memory is copied at a fork; descriptors are shared, threads are lost, child processes belong to the
server alone. So the process is looked at before and after each set-up, see proc(5). Known limits:
what a set-up does to something that was there before is not seen (a query on an open connection);
processes, and threads of native code, are seen on Linux alone.
"""

from __future__ import annotations

import contextlib
import stat
import sys
import threading
from typing import NamedTuple

from pytest_procrastinate.process.unpatched import os

FORK_SAFE_LIBRARIES = {
    "openblas": "stops its threads before a fork and starts new ones after it (pthread_atfork)",
    "libmkl": "starts its threads anew in a child (pthread_atfork)",
    "libiomp": "LLVM's and Intel's OpenMP start their threads anew in a child (pthread_atfork)",
    "libomp": "as libiomp",
}
"""Libraries whose threads may exist at a fork, with the reason. GNU's libgomp is not one of them:
a child that uses it after its parent did hangs."""


class Snapshot(NamedTuple):
    """What a process has open and running at one moment."""

    files: frozenset[tuple[int, str]]
    children: frozenset[int]
    python_threads: frozenset[int | None]
    native_threads: int
    cuda: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        """Look at this process."""
        python_threads = frozenset(thread.native_id for thread in threading.enumerate())
        return cls(
            files=frozenset(_open_files()),
            children=frozenset(_children()),
            python_threads=python_threads,
            native_threads=_count("/proc/self/task") - len(python_threads),
            cuda=frozenset(_cuda_contexts()),
        )

    def danger_since(self, before: Snapshot) -> str | None:
        """Return what came to be since ``before`` that would not survive a fork; None: nothing."""
        for _, what in sorted(self.files - before.files):
            return f"it opened {what}"
        if self.children - before.children:
            return "it started a process"
        if self.python_threads - before.python_threads:
            names = {thread.native_id: thread.name for thread in threading.enumerate()}
            new = sorted(
                names.get(each, "?") for each in self.python_threads - before.python_threads
            )
            return f"it started a thread, {new[0]!r}"
        if self.native_threads > before.native_threads and not _has_fork_safe_library():
            return "it started a thread in native code"
        for name in sorted(self.cuda - before.cuda):
            return f"it made a CUDA context ({name})"
        return None


def _open_files() -> list[tuple[int, str]]:
    """Return the open descriptors that processes should not share, with what they are."""
    found = []
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"  # macOS, the BSDs
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError, ValueError):
                descriptor = int(name)
                mode = os.fstat(descriptor).st_mode
                target = _target_of(descriptor)
                if stat.S_ISSOCK(mode):
                    found.append((descriptor, "a socket"))
                elif stat.S_ISFIFO(mode):
                    found.append((descriptor, "a pipe"))
                elif stat.S_ISREG(mode):
                    found.append((descriptor, f"the file {target}"))
                elif target.startswith("anon_inode:"):
                    found.append((descriptor, f"an {target[len('anon_inode:') :].strip('[]')}"))
    return found


def _target_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # no procfs
        return f"of descriptor {descriptor}"


def _children() -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with (
                contextlib.suppress(OSError),
                open(f"/proc/self/task/{task}/children", "rb") as file,
            ):
                found += map(int, file.read().split())
    return found


def _count(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def _has_fork_safe_library() -> bool:
    try:
        with open("/proc/self/maps", "rb") as file:
            maps = file.read()
    except OSError:
        return False
    return any(name.encode() in maps for name in FORK_SAFE_LIBRARIES)


def _cuda_contexts() -> list[str]:
    """Return the imported libraries that hold a CUDA context: it is of no use after a fork."""
    found = []
    torch = sys.modules.get("torch")
    with contextlib.suppress(Exception):
        if torch is not None and torch.cuda.is_initialized():
            found.append("torch")
    driver = sys.modules.get("numba.cuda.cudadrv.driver")
    with contextlib.suppress(Exception):
        if driver is not None and driver.driver.is_initialized:
            found.append("numba")
    # Asking cupy would make a context; the device files that one needs tell as well.
    if "cupy" in sys.modules and any(_is_nvidia(name) for name in os.listdir("/proc/self/fd")):
        found.append("cupy")
    return found


def _is_nvidia(descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("/dev/nvidia")
    except OSError:
        return False
