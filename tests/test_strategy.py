"""Strategies: how many children are right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_procrastinate.strategy import Default, Simple, Throttled, available_cpus


@pytest.mark.parametrize("running", [0, 1, 1000])
def test_simple_always_spawns(running):
    assert Simple().should_spawn(running)


def test_throttled_spawns_up_to_its_limit():
    strategy = Throttled(2)

    assert [strategy.should_spawn(running) for running in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_runs_nothing_is_refused(limit):
    with pytest.raises(ValueError, match=f"a limit of {limit} children runs nothing"):
        Throttled(limit)


def test_default_is_throttled_to_the_cpus_that_may_be_used():
    strategy = Default()

    assert strategy.limit == available_cpus()
    assert strategy.should_spawn(strategy.limit - 1)
    assert not strategy.should_spawn(strategy.limit)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_an_affinity_mask_counts(tmp_path):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cpus(tmp_path, tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)


def make_tree(tmp_path: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Make a procfs that says ``membership``, and a cgroup file system with ``files``."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(membership)
    for name, text in files.items():
        file = cgroups / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return proc, cgroups


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "10000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/host/path\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/../outside\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            "3:cpu:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("0::/a\n", {"a/cpu.max": "nonsense\n"}, 8),
        ("nonsense\n\n0\n", {}, 8),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path, monkeypatch, membership, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    assert available_cpus(*make_tree(tmp_path, membership, files)) == expected


def test_without_proc_or_cgroups_there_is_no_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(3)), raising=False)

    assert available_cpus(tmp_path / "missing", tmp_path / "missing") == 3
