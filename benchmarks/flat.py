#!/usr/bin/env python3
"""Whether the cost of a forked test stays the same as suites and processes grow.

    python benchmarks/flat.py [--tests 500,5000,50000] [--megabytes 0,200,1000,2000] [--pictures FOLDER]

Prints, for each number of trivial tests and for each amount of memory that the tests' module fills,
the CPU time per test of pytest and of all its descendants: plain, a bare fork of a process with the
same tests collected (``os.fork()``, ``os._exit(0)``, ``os.waitpid()``), and forked. "over" is (forked -
plain) / bare. "kept" is how much more memory the pytest process has in the end than a plain one,
per test. With ``--pictures``, and where matplotlib is installed, it draws them.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import tempfile

import cost

SMALL_TESTS = 500  # while memory grows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", default="500,5000,50000", type=numbers)
    parser.add_argument("--megabytes", default="0,200,1000,2000", type=numbers)
    parser.add_argument("--runs", type=int, default=3, help="of up to 5,000 tests; one of more")
    parser.add_argument("--options", default="--forked")
    parser.add_argument("--pictures", help="a folder to draw into")
    args = parser.parse_args()
    head = "{:>10} {:>9} {:>9} {:>10} {:>6} {:>12}"
    row = "{:>10,} {:>6.2f} ms {:>6.2f} ms {:>7.2f} ms {:>6.2f} {:>6.0f} bytes"
    curves = {}
    for what, sizes in (("tests", args.tests), ("megabytes", args.megabytes)):
        print(head.format(what, "plain", "bare", "forked", "over", "kept"))
        curves[what] = []
        for size in sizes:
            tests, ballast = (size, 0) if what == "tests" else (SMALL_TESTS, size)
            figures = measure(tests, ballast, args.runs if tests <= 5000 else 1, args.options)
            print(row.format(size, *figures), flush=True)
            curves[what].append((size, *figures))
    if args.pictures:
        draw(curves, pathlib.Path(args.pictures))
    return 0


def numbers(text: str) -> list[int]:
    """Return the numbers of an option."""
    return [int(word) for word in text.split(",")]


def measure(
    tests: int, ballast: int, runs: int, options: str
) -> tuple[float, float, float, float, float]:
    """Return, per test: milliseconds of CPU plain, bare and forked, the overhead, bytes kept."""
    bare, plain, forked = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        cost.write_suite(folder, tests, "numpy", ballast)
        for _ in range(runs):
            bare.append(cost.run(folder, cost.PLAIN, bare=100)["bare"])
            plain.append(cost.run(folder, cost.PLAIN))
            forked.append(cost.run(folder, options.split()))
    used = {
        name: statistics.median(each["cpu"] for each in runs) * 1e3
        for name, runs in (("bare", bare), ("plain", plain), ("forked", forked))
    }
    kept = (
        statistics.median(each["own_peak_bytes"] for each in forked)
        - statistics.median(each["own_peak_bytes"] for each in plain)
    ) / tests
    over = (used["forked"] - used["plain"]) / tests / used["bare"]
    return used["plain"] / tests, used["bare"], used["forked"] / tests, over, kept


def draw(curves: dict[str, list[tuple[float, ...]]], folder: pathlib.Path) -> None:
    """Draw a picture of each table."""
    try:
        from matplotlib import pyplot
    except ImportError:
        sys.exit("pictures: matplotlib is not installed here")
    folder.mkdir(parents=True, exist_ok=True)
    for what, rows in curves.items():
        sizes, plain, bare, forked, *_ = zip(*rows, strict=True)
        figure, axes = pyplot.subplots(figsize=(6, 4))
        for name, values in (("plain", plain), ("bare fork", bare), ("forked", forked)):
            axes.plot(sizes, values, marker="o", label=name)
        axes.set_xscale("log" if what == "tests" else "linear")
        axes.set_xlabel(what)
        axes.set_ylabel("CPU per test (ms)")
        axes.set_ylim(bottom=0)
        axes.legend()
        figure.tight_layout()
        figure.savefig(folder / f"{what}.png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
