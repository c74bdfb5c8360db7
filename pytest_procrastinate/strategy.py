"""How many children may run at once: the strategy, knowing no pid, no pipe and no pytest.

After Ruby procrastinate's ``SpawnStrategy``.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Protocol


class Strategy(Protocol):
    """Says whether one more child is right."""

    def should_spawn(self, running: int) -> bool:
        """Return whether to start a child while ``running`` of them are there."""


class Simple:
    """Starts every child at once."""

    def should_spawn(self, running: int) -> bool:
        """Return True."""
        return True


class Throttled:
    """Starts children up to a limit.

    :raises ValueError: The limit is below 1: nothing would ever run.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a limit of {limit} children runs nothing; give 1 or more")
        self.limit = limit

    def should_spawn(self, running: int) -> bool:
        """Return whether fewer than the limit are running."""
        return running < self.limit


class Default(Throttled):
    """As many children as there are CPUs that this process may use."""

    def __init__(self) -> None:
        super().__init__(available_cpus())


def available_cpus(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this process may keep busy, at least 1.

    The affinity mask where there is one, and not more than a container's quota
    of CPU time, rounded up. A quota that cannot be read is none.

    :param proc: Where procfs is mounted.
    :param cgroups: Where cgroup version 2, or the folders of version 1, are mounted.
    """
    cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    quota = _cgroup_quota(proc, cgroups)
    if quota is not None:
        cpus = min(cpus, math.ceil(quota))
    return max(cpus, 1)


def _cgroup_quota(proc: Path, cgroups: Path) -> float | None:
    """Return the smallest CPU quota on the way to the root, in CPUs; None without one."""
    try:
        memberships = (proc / "self" / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for membership in memberships:
        _, controllers, path = [*membership.split(":", 2), "", ""][:3]
        if not controllers:
            root, read = cgroups, _read_quota_v2
        elif "cpu" in controllers.split(","):
            root, read = cgroups / controllers, _read_quota_v1
        else:
            continue
        # In a container the path is often one of the host, and only the root is
        # mounted: the folders in between are then missing, and read as no quota.
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            quota = read(place)
            if quota is not None:
                quotas.append(quota)
            if place == root:
                break
    return min(quotas, default=None)


def _read_quota_v2(folder: Path) -> float | None:
    return _quota(_words(folder / "cpu.max"))


def _read_quota_v1(folder: Path) -> float | None:
    quota = _words(folder / "cpu.cfs_quota_us")
    return _quota(quota + _words(folder / "cpu.cfs_period_us"))


def _quota(words: list[str]) -> float | None:
    """Return microseconds of CPU time by microseconds of period; None for "max" and -1."""
    try:
        quota, period = int(words[0]), int(words[1])
    except (IndexError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").split()
    except OSError:
        return []
