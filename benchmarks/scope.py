#!/usr/bin/env python3
"""What ``--forked-scope=module`` costs a whole run, and how little it could cost.

    python benchmarks/scope.py [--tests 500] [--modules 1] [--runs 15]

Whole commands over trivial tests, in turn: plain pytest; all of its tests in one child of a bare
``os.fork()``, whose end is waited for and of which nothing is told; ``--forked-scope=module``; and the
same with children that tell nothing of their tests but that they have ended. Prints medians: wall
time, and its ratio to the plain run right before. Two cores must be free.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PLUGINS = {
    "bare_fork": """
import os, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    pid = os.fork()
    if pid == 0:
        for item, nextitem in zip(session.items, [*session.items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        os._exit(0)
    os.waitpid(pid, 0)
    return True
""",
    "nothing_told": """
from pytest_procrastinate.child.telling import Teller

Teller._receiver = lambda self, name: lambda arguments: None
""",
}
FORKED = ["--forked", "--forked-scope=module"]
CONTENDERS = {
    "plain": ["-p", "no:pytest_procrastinate"],
    "bare fork": ["-p", "no:pytest_procrastinate", "-p", "bare_fork"],
    "scope=module": FORKED,
    "nothing told": [*FORKED, "-p", "nothing_told"],
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--modules", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        write_suite(pathlib.Path(folder), args.tests, args.modules)
        for _ in range(args.runs):
            for name, options in CONTENDERS.items():
                seconds[name].append(run(folder, options))
    for name, each in seconds.items():
        ratio = statistics.median(
            one / plain for one, plain in zip(each, seconds["plain"], strict=True)
        )
        print(f"{name:14}{statistics.median(each) * 1000:6.0f} ms{ratio:7.2f}")
    return 0


def write_suite(folder: pathlib.Path, tests: int, modules: int) -> None:
    """Write the tests, in modules of the same size, and the plugins of some contenders."""
    for name, source in PLUGINS.items():
        (folder / f"{name}.py").write_text(source)
    for number in range(modules):
        (folder / f"test_{number}.py").write_text(
            f"import pytest\n@pytest.mark.parametrize('i', range({tests // modules}))\n"
            "def test(i): pass\n"
        )


def run(folder: str, options: list[str]) -> float:
    """Run pytest once; return its seconds, from its start to its exit."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    start = time.perf_counter()
    status = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": folder}, stdout=subprocess.DEVNULL
    ).returncode
    # Where nothing is told, no test has run for all that pytest knows.
    if status not in (0, 5):
        raise SystemExit(f"pytest {' '.join(options)} left with status {status}")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
