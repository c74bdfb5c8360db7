"""Limits: set in real children, which breach them; the ending is told for what it is."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable

import pytest
from watching import Child, raise_signal

from pytest_procrastinate.process import limits
from pytest_procrastinate.process.ending import Ending, Usage
from pytest_procrastinate.process.limits import (
    CPU_GRACE_SECONDS,
    Limits,
    count_oom_kills,
    data_bytes,
    resident_bytes,
)

MIB = 1 << 20
INFINITY = resource.RLIM_INFINITY

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's procfs")


def ended_by(action: Callable[[], object]) -> Ending:
    """Return how a forked child ended that did ``action``; with status 0 if that was true."""

    def act() -> None:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(0 if action() else 1)

    child = Child(act)
    child.go()
    return Ending.from_wait(*os.wait4(child.pid, 0))


def passes(action: Callable[[], object]) -> bool:
    return ended_by(action).exit_status == 0


def burn() -> None:
    while True:
        pass


def fill(size: int) -> bytearray:
    """Allocate memory and touch each page, so that it is resident."""
    memory = bytearray(size)
    memory[::4096] = b"x" * len(memory[::4096])
    return memory


@linux_only
def test_memory_over_the_limit_is_a_memory_error_and_less_is_none():
    def allocate() -> bool:
        Limits(memory_limit_bytes=64 * MIB).set_here()
        fill(32 * MIB)
        try:
            # Far over it: memory that the parent had allocated and freed may be used as well.
            bytearray(1 << 30)
        except MemoryError:
            return True
        return False

    assert passes(allocate)


@linux_only
def test_memory_that_the_parent_had_is_not_counted():
    kept = fill(128 * MIB)

    def allocate() -> int:
        Limits(memory_limit_bytes=32 * MIB).set_here()
        return len(fill(16 * MIB))

    assert passes(allocate)
    assert len(kept) == 128 * MIB


@linux_only
def test_reserved_and_shared_memory_is_not_counted():
    import mmap

    def reserve() -> bool:
        Limits(memory_limit_bytes=32 * MIB).set_here()
        reserved = mmap.mmap(-1, 1 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
        shared = mmap.mmap(-1, 256 * MIB)
        return len(reserved) == 1 << 40 and len(shared) == 256 * MIB

    assert passes(reserve)


@linux_only
def test_a_crash_with_full_memory_is_told_as_the_memory_limit():
    limit = Limits(memory_limit_bytes=256 * MIB)
    resident = resident_bytes()

    def crash_when_full() -> None:
        limit.set_here()
        kept = []
        try:
            while True:
                kept.append(fill(8 * MIB))
        except MemoryError:
            raise_signal(signal.SIGSEGV)

    ending = limit.explain(ended_by(crash_when_full), resident_bytes_at_fork=resident)

    assert ending.cause == "memory limit"
    assert ending.describe() == (
        "went over its memory limit (crashed with SIGSEGV (segmentation fault))"
    )


@linux_only
def test_a_crash_with_memory_left_is_only_a_crash():
    limit = Limits(memory_limit_bytes=256 * MIB)
    resident = resident_bytes()

    def crash() -> None:
        limit.set_here()
        raise_signal(signal.SIGSEGV)

    ending = limit.explain(ended_by(crash), resident_bytes_at_fork=resident)

    assert (ending.cause, ending.signal) == ("", signal.SIGSEGV)


def test_cpu_time_over_the_limit_is_told():
    limit = Limits(cpu_limit_seconds=1)

    def loop() -> None:
        limit.set_here()
        burn()

    ending = limit.explain(ended_by(loop))

    assert (ending.cause, ending.signal) == ("cpu limit", signal.SIGXCPU)
    assert ending.describe() == (
        "went over its cpu limit (was killed by SIGXCPU (CPU time limit exceeded))"
    )


@pytest.mark.slow
def test_a_child_that_ignores_the_signal_is_killed_and_that_is_told(monkeypatch):
    monkeypatch.setattr(limits, "CPU_GRACE_SECONDS", 1)
    limit = Limits(cpu_limit_seconds=0.5)

    def loop() -> None:
        limit.set_here()
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        burn()

    ending = limit.explain(ended_by(loop))

    assert (ending.cause, ending.signal) == ("cpu limit", signal.SIGKILL)


def test_cpu_time_counts_from_when_the_limit_is_set(monkeypatch):
    def look() -> bool:
        monkeypatch.setattr(limits.time, "process_time", lambda: 99.7)
        Limits(cpu_limit_seconds=10).set_here()
        return resource.getrlimit(resource.RLIMIT_CPU) == (110, 110 + CPU_GRACE_SECONDS)

    assert passes(look)


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ((INFINITY, INFINITY), (100, 100 + CPU_GRACE_SECONDS)),
        ((INFINITY, 60), (60, 60)),
        ((50, 60), (50, 60)),
        ((50, INFINITY), (50, 100 + CPU_GRACE_SECONDS)),
        ((500, 102), (100, 102)),
    ],
)
def test_an_inherited_limit_is_never_raised(monkeypatch, inherited, expected):
    def look() -> bool:
        monkeypatch.setattr(limits.time, "process_time", lambda: 0.0)
        soft, hard = inherited
        lowest = soft if hard == INFINITY else hard if soft == INFINITY else min(inherited)
        resource.setrlimit(resource.RLIMIT_CPU, (lowest, hard))
        Limits(cpu_limit_seconds=100).set_here()
        return resource.getrlimit(resource.RLIMIT_CPU) == expected

    assert passes(look)


@linux_only
def test_a_test_may_still_lift_its_memory_limit():
    def look() -> bool:
        before = resource.getrlimit(resource.RLIMIT_DATA)
        Limits(memory_limit_bytes=32 * MIB).set_here()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        return data_bytes() < soft < data_bytes() + 64 * MIB and hard == before[1]

    assert passes(look)


def test_without_limits_nothing_is_set():
    before = [resource.getrlimit(which) for which in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)]
    Limits().set_here()

    after = [resource.getrlimit(which) for which in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)]
    assert after == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_limit_bytes": 0},
        {"memory_limit_bytes": -1},
        {"cpu_limit_seconds": 0},
        {"cpu_limit_seconds": float("inf")},
        {"cpu_limit_seconds": float("nan")},
    ],
)
def test_a_limit_that_lets_nothing_run_is_refused(wrong):
    with pytest.raises(ValueError, match="lets nothing run"):
        Limits(**wrong)


def killed(signum: int, cpu_seconds: float = 0.0, peak: int = 0) -> Ending:
    return Ending(1, None, signum, False, Usage(cpu_seconds, 0.0, peak, 0, 0))


@pytest.mark.parametrize(
    ("ending", "grown", "cause"),
    [
        (killed(signal.SIGKILL), 0, ""),
        (killed(signal.SIGKILL), 1, "out of memory"),
        (killed(signal.SIGTERM), 1, ""),
        (killed(signal.SIGKILL, cpu_seconds=10 + CPU_GRACE_SECONDS), 0, "cpu limit"),
        (killed(signal.SIGKILL, cpu_seconds=0.97 * (10 + CPU_GRACE_SECONDS)), 0, "cpu limit"),
        (killed(signal.SIGKILL, cpu_seconds=9), 0, ""),
        (killed(signal.SIGTERM, cpu_seconds=30), 0, ""),
        (killed(signal.SIGABRT, peak=150 * MIB), 0, "memory limit"),
        (killed(signal.SIGABRT, peak=130 * MIB), 0, ""),
        (killed(signal.SIGTERM, peak=200 * MIB), 0, ""),
        (killed(signal.SIGKILL).with_cause("timeout"), 1, "timeout"),
        (Ending(1, 1, None, False, killed(9, peak=200 * MIB).usage), 0, ""),
        (Ending(1, None, signal.SIGKILL, False, None), 0, ""),
        (Ending.lost(1), 1, "lost"),
    ],
)
def test_an_ending_is_explained_only_by_what_is_known(ending, grown, cause):
    limit = Limits(memory_limit_bytes=100 * MIB, cpu_limit_seconds=10)

    told = limit.explain(ending, resident_bytes_at_fork=60 * MIB, oom_kills=grown)

    assert told == ending.with_cause(cause)


def test_a_signal_for_a_limit_that_was_not_ours_is_not_explained():
    assert Limits().explain(killed(signal.SIGXCPU)).cause == ""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 0),
        ({"proc/vmstat": "nr_free_pages 1\noom_kill 3\n"}, 3),
        ({"proc/vmstat": "oom_kill\n"}, 0),
        (
            {
                "proc/vmstat": "oom_kill 3\n",
                "proc/self/cgroup": "0::/a\n",
                "cgroup/a/memory.events": "oom 9\noom_kill 2\n",
            },
            2,
        ),
        (
            {
                "proc/vmstat": "oom_kill 3\n",
                "proc/self/cgroup": "4:memory:/a\n0::/\n",
                "cgroup/memory/a/memory.oom_control": "under_oom 0\noom_kill 1\n",
            },
            1,
        ),
        ({"proc/vmstat": "oom_kill 3\n", "proc/self/cgroup": "nonsense\n0::/gone\n"}, 3),
    ],
)
def test_the_kernels_kills_are_counted_as_near_as_they_can_be(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert count_oom_kills(tmp_path / "proc", tmp_path / "cgroup") == expected


@linux_only
def test_what_this_process_uses_can_be_read():
    kept = fill(64 * MIB)

    assert data_bytes() > 64 * MIB
    assert resident_bytes() > 64 * MIB
    assert count_oom_kills() >= 0
    assert len(kept) == 64 * MIB
