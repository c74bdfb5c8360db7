"""In a worker of pytest-xdist: a crash is one failure, shared fixtures are set up once in each."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("xdist")
SUITE = Path(__file__).parent.parent / "ecosystem" / "suites" / "xdist"


def copy(pytester, monkeypatch, *names):
    monkeypatch.setenv("SCRATCH", str(pytester.path))
    for name in names:
        (pytester.path / name).write_text((SUITE / name).read_text())


def test_a_crash_is_one_failure_and_no_child_holds_the_descriptors_of_execnet(
    pytester, monkeypatch
):
    copy(pytester, monkeypatch, "conftest.py", "crash.py")

    result = pytester.runpytest_subprocess("--forked", "-n2", "crash.py", timeout=120)

    result.assert_outcomes(failed=2, passed=5)
    result.stdout.no_fnmatch_line("*worker*crashed*")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["load", "loadscope", "loadfile", "loadgroup", "worksteal"])
def test_each_worker_sets_up_what_is_shared_once(pytester, monkeypatch, mode):
    copy(pytester, monkeypatch, "test_it.py")

    result = pytester.runpytest_subprocess("--forked", "-n2", f"--dist={mode}", timeout=120)

    result.assert_outcomes(failed=1, passed=10)
