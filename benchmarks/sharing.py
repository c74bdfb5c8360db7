#!/usr/bin/env python3
"""What shared fixtures cost a forked test, and what they save.

    python benchmarks/sharing.py [--tests 500] [--runs 5] [--set-up 0.02]

The same trivial tests in ten modules, forked: without fixtures, with a fixture of the session and one of
each module that do nothing, and with such that each take some time (``--set-up``, in seconds), set up
once and (``fresh``) in every child. Prints medians per test: wall and CPU time beyond a plain run of
the same suite, in units of a bare fork, and minor page faults.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import tempfile

import cost

MODULES = 10
CONFTEST = """
import pytest, time

@pytest.fixture(scope="session")
def of_session():
    time.sleep({seconds})
    return []

@pytest.fixture(scope="module")
def of_module(of_session):
    time.sleep({seconds})
    return []
"""
CONTENDERS = {
    "none": ("", 0.0, ["--forked"]),
    "shared": ("of_module", 0.0, ["--forked"]),
    "slow, shared": ("of_module", None, ["--forked"]),
    "slow, fresh": ("of_module", None, ["--forked", "--forked-fixtures=fresh"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--set-up", type=float, default=0.02)
    args = parser.parse_args()
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(args.runs):
        for name, (fixture, seconds, options) in CONTENDERS.items():
            with tempfile.TemporaryDirectory() as folder:
                write_suite(
                    folder, args.tests, fixture, args.set_up if seconds is None else seconds
                )
                bare = cost.run(folder, cost.PLAIN, bare=100)["bare"]
                plain, forked = cost.run(folder, cost.PLAIN), cost.run(folder, options)
            more = {
                key: (forked[key] - plain[key]) / args.tests for key in ("wall", "cpu", "faults")
            }
            figures[name].append(
                (more["wall"] / bare["wall"], more["cpu"] / bare["cpu"], more["faults"])
            )
    print(f"{'':14}{'over':>8}{'CPU':>8}{'faults':>8}")
    for name, rows in figures.items():
        wall, cpu, faults = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:14}{wall:8.2f}{cpu:8.2f}{faults:8.0f}")
    return 0


def write_suite(folder: str, tests: int, fixture: str, seconds: float) -> None:
    """Write the tests of ten modules."""
    pathlib.Path(folder, "conftest.py").write_text(CONFTEST.format(seconds=seconds))
    argument = f", {fixture}" if fixture else ""
    for number in range(MODULES):
        pathlib.Path(folder, f"test_{number}.py").write_text(
            f"import pytest\n@pytest.mark.parametrize('i', range({tests // MODULES}))\n"
            f"def test(i{argument}): pass\n"
        )


if __name__ == "__main__":
    sys.exit(main())
