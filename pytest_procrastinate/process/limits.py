"""Limits of memory and CPU time: set in a child, and a breach recognised in its ending.

On top of what the child has at its fork, and of what was inherited: a limit is
never raised. The soft limits are set, so that a test may still set its own.

Memory is limited by RLIMIT_DATA, which counts private writable memory. RLIMIT_AS
counts every reservation, too: CUDA and sanitizers reserve terabytes of address
space that they never touch, and fail at once under it. RLIMIT_RSS does nothing
on Linux (setrlimit(2)).
"""

from __future__ import annotations

import math
import resource
import signal
from pathlib import Path

from pytest_procrastinate.process.ending import Ending, name_signal
from pytest_procrastinate.process.unpatched import os, time

CPU_GRACE_SECONDS = 5
"""Between SIGXCPU, which can be caught, and the hard limit's SIGKILL; CPU time."""
CPU_SHARE = 0.9
"""Of the hard limit: who has used so much, and was killed by SIGKILL, was killed for it."""

# A child whose memory had grown by this share of its limit when it crashed is
# taken to have crashed for it: C code rarely survives a malloc that fails. The
# growth is seen too small by the pages of libraries, which a fork does not map:
# below some 100 MiB a breach may be told as the plain crash that it also is.
_FULL_SHARE = 0.8

_CRASHES_OF_FULL_MEMORY = frozenset({"SIGABRT", "SIGBUS", "SIGILL", "SIGSEGV", "SIGTRAP"})


class Limits:
    """What a child may use, beyond what it has at its fork; None: as much as its parent may.

    ``cpu_limit_seconds`` counts in whole seconds, as the kernel does, rounded up.

    :raises ValueError: A limit is not above 0.
    """

    def __init__(
        self, memory_limit_bytes: int | None = None, cpu_limit_seconds: float | None = None
    ) -> None:
        for limit in (memory_limit_bytes, cpu_limit_seconds):
            if limit is not None and not 0 < limit < math.inf:
                raise ValueError(f"a limit of {limit} lets nothing run")
        self.memory_limit_bytes = memory_limit_bytes
        self.cpu_limit_seconds = cpu_limit_seconds

    def set_here(self) -> None:
        """Set the limits in this process, which is a fresh child. They count from now.

        A Python allocation over the memory limit raises MemoryError: a failure
        like any other. What the parent had allocated and freed may be used on
        top. Over the CPU limit comes SIGXCPU, every second, and at last SIGKILL.

        :raises OSError: The memory in use cannot be read: not Linux, or no procfs.
        """
        if self.memory_limit_bytes is not None:
            _lower(resource.RLIMIT_DATA, data_bytes() + self.memory_limit_bytes)
        if self.cpu_limit_seconds is not None:
            soft = math.ceil(time.process_time() + self.cpu_limit_seconds)
            _lower(resource.RLIMIT_CPU, soft, soft + CPU_GRACE_SECONDS)

    def explain(
        self,
        ending: Ending,
        *,
        resident_bytes_at_fork: int = 0,
        oom_kills: int = 0,
    ) -> Ending:
        """Return the ending with its cause, if that is a breach that can be recognised.

        In the process that hears of the ending. An ending that has a cause, or
        that we brought about ourselves, is not to be explained.

        :param resident_bytes_at_fork: :func:`resident_bytes` of the parent, then.
        :param oom_kills: By how much :func:`count_oom_kills` has grown since.
        """
        if ending.cause != "":
            return ending
        if self._is_over_cpu_limit(ending):
            return ending.with_cause("cpu limit")
        if ending.signal == signal.SIGKILL and oom_kills > 0:
            return ending.with_cause("out of memory")
        if self._is_over_memory_limit(ending, resident_bytes_at_fork):
            return ending.with_cause("memory limit")
        return ending

    def _is_over_cpu_limit(self, ending: Ending) -> bool:
        if self.cpu_limit_seconds is None:
            return False
        if ending.signal == signal.SIGXCPU:
            return True
        if ending.signal != signal.SIGKILL or ending.usage is None:
            return False
        hard = self.cpu_limit_seconds + CPU_GRACE_SECONDS
        inherited = resource.getrlimit(resource.RLIMIT_CPU)[1]
        if inherited != resource.RLIM_INFINITY:
            hard = min(hard, inherited)
        used = ending.usage.user_seconds + ending.usage.system_seconds
        # The kernel counts ticks for the limit, and tells what it has measured: 1.95 s at 2 s.
        return used >= CPU_SHARE * hard

    def _is_over_memory_limit(self, ending: Ending, resident_bytes_at_fork: int) -> bool:
        if self.memory_limit_bytes is None or ending.signal is None or ending.usage is None:
            return False
        grown = ending.usage.peak_memory_bytes - resident_bytes_at_fork
        full = grown >= _FULL_SHARE * self.memory_limit_bytes
        return full and name_signal(ending.signal) in _CRASHES_OF_FULL_MEMORY


class MemoryLimit:
    """The memory limit that this process has now: lifted while it tells that it went over it."""

    def __init__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_DATA)

    def lift(self) -> None:
        """Let this process allocate as much as the hard limit allows."""
        self._change(self._limits[1], self._limits[1])

    def set_again(self) -> None:
        """Set the limit that was found."""
        self._change(*self._limits)

    def _change(self, soft: int, hard: int) -> None:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        except (OSError, ValueError):  # the test has lowered the hard limit itself
            pass


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, nowhere above the inherited one."""
    inherited_soft, inherited_hard = resource.getrlimit(which)
    hard = _lowest(inherited_hard, inherited_hard if hard is None else hard)
    soft = _lowest(soft, inherited_soft, hard)
    resource.setrlimit(which, (soft, hard))


def _lowest(*limits: int) -> int:
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(finite, default=resource.RLIM_INFINITY)


def data_bytes() -> int:
    """Return what this process has of the memory that RLIMIT_DATA counts (VmData of proc(5)).

    :raises OSError: It cannot be read.
    """
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmData")


def resident_bytes() -> int:
    """Return how much memory of this process is resident; 0 where that cannot be read."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def count_oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes the kernel has killed so far for want of memory.

    In this process's cgroup, or on the whole machine where that cannot be read;
    0 where nothing is counted (before Linux 4.13). A SIGKILL that nobody here
    has sent, and a count that has grown, are what is known without privileges.
    """
    files = [*_oom_files_of_cgroup(proc, cgroups), proc / "vmstat"]
    for file in files:
        try:
            for line in file.read_text("utf-8", "replace").splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        except (OSError, IndexError, ValueError):
            pass
    return 0


def _oom_files_of_cgroup(proc: Path, cgroups: Path) -> list[Path]:
    """Return where this process's cgroup counts kills: version 1 where memory is in it."""
    files: list[Path] = []
    try:
        memberships = (proc / "self" / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return files
    for membership in memberships:
        _, controllers, path = [*membership.split(":", 2), "", ""][:3]
        if controllers == "memory":
            files.insert(0, cgroups / "memory" / path.lstrip("/") / "memory.oom_control")
        elif not controllers:
            files.append(cgroups / path.lstrip("/") / "memory.events")
    return files
