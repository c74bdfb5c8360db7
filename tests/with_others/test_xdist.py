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


@pytest.mark.parametrize(
    ("leaks", "told"),
    [
        ("kill", ["forked: ended 4 processes left by 4 tests *"]),
        ("warn", [f"forked: test_it.py::test_leak?{i}? left process * (sleep 60)" for i in "0123"]),
    ],
)
def test_the_summary_tells_what_tests_in_workers_left_and_did_not_share(pytester, leaks, told):
    pytester.makepyfile(
        test_it="""
        import pytest, subprocess

        @pytest.fixture(scope="session")
        def opened():
            with open(__file__) as file:
                yield file

        @pytest.mark.parametrize("i", range(4))
        def test_leak(opened, i):
            subprocess.Popen(["sleep", "60"])
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", f"--forked-leaks={leaks}", "-n2", timeout=120
    )

    result.assert_outcomes(passed=4)
    header = "(in place of pytest-forked)"
    lines = [
        line
        for line in sorted(result.outlines)
        if line.startswith("forked: ") and not line.endswith(header)
    ]
    (shared,) = [line for line in lines if "sets up 'opened' afresh: " in line]
    lines.remove(shared)
    assert len(lines) == len(told)
    result.stdout.fnmatch_lines_random(told)
