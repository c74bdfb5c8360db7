#!/usr/bin/env python3
"""How long public suites with heavy imports take: here, and with pytest-xdist and pytest-forked.

    python benchmarks/heavy.py [--runs 3] [--environments FOLDER] [SUITE ...]

Each suite is what its package ships, some hundred tests. Whole commands are timed, in turn, with one
pytest, the newest with which pytest-forked works: ``--forked --forked-jobs=auto`` of this plugin, ``-n auto
--forked`` of the other two, and plain pytest. Prints medians of the seconds with their spread, and what
each run told: a command that tells something else than the plain one is named.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from environments import ROOT, environment, site_packages

PYTEST = "pytest==8.4.*"
SUITES = {
    "pandas": "pandas/tests/tslibs",
    "scipy": "scipy/spatial/tests/test_distance.py",
    "sympy": "sympy/sets/tests",
}
PACKAGES = (*SUITES, "hypothesis", PYTEST)
THEIRS = (*PACKAGES, "pytest-forked", "pytest-xdist")
COMMANDS = {
    "plain": ("theirs", ("-p", "no:xdist", "-p", "no:pytest_forked")),
    "ours": ("ours", ("--forked", "--forked-jobs=auto")),
    "xdist, pytest-forked": ("theirs", ("-n", "auto", "--forked")),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-heavy")
    parser.add_argument("suites", nargs="*", help=", ".join(SUITES))
    args = parser.parse_args()
    pythons = {
        "ours": environment(args.environments / "ours", PACKAGES),
        "theirs": environment(args.environments / "theirs", THEIRS, with_us=False),
    }
    print(f"{'':8}{'':22}{'seconds':>8}  {'(spread)':15}told")
    for suite in args.suites or SUITES:
        seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
        told: dict[str, str] = {}
        for _ in range(args.runs):
            for name, (python, options) in COMMANDS.items():
                taken, told[name] = run(pythons[python], suite, options)
                seconds[name].append(taken)
        for name, taken_each in seconds.items():
            spread = f"({min(taken_each):.1f}-{max(taken_each):.1f})"
            remark = "" if told[name] == told["plain"] else "  NOT WHAT THE PLAIN RUN TELLS"
            median = statistics.median(taken_each)
            print(f"{suite:8}{name:22}{median:8.1f}  {spread:15}{told[name]}{remark}", flush=True)
    return 0


def run(python: Path, suite: str, options: tuple[str, ...]) -> tuple[float, str]:
    """Run a suite once; return the seconds it took, and the counts of pytest's last line."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, SUITES[suite]],
        cwd=site_packages(python),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    seconds = time.perf_counter() - start
    rows = [row for row in done.stdout.splitlines() if re.search(r" in [\d.]+s", row)]
    return seconds, rows[-1].partition(" in ")[0] if rows else f"exit status {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
