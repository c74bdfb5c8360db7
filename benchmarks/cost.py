#!/usr/bin/env python3
"""What a forked test costs, in units of a bare fork of the same process.

    python benchmarks/cost.py [--tests 500] [--runs 5] [--import numpy] [CONTENDER ...]

Runs plain pytest and each contender over the same trivial tests, alternating, in this Python's
environment, and prints medians with their spread, per test:

    wall    (contender - plain) / bare: "over"
    CPU     of pytest and of all its descendants, without plain's, in units of bare
    faults  minor page faults, likewise, as a number

A bare fork is ``os.fork()``, ``os._exit(0)`` in the child, ``os.waitpid()``, timed in a pytest process
that has collected the same tests. Caveats: two cores must be free (the line "cores" says whether they
were: two pipelined bare forks should take at most 0.8 of the time of two in a row); wall ratios swing
by 30 % on a busy machine, CPU and faults by less than 8 %.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap

CONTENDERS = {
    "forked": ["--forked"],
    "jobs-2": ["--forked", "--forked-jobs=2"],
    "scope-module": ["--forked", "--forked-scope=module"],
    "fresh": ["--forked", "--forked-fixtures=fresh"],
}
PLAIN = ["-p", "no:pytest_procrastinate"]

MEASURE = textwrap.dedent(
    """
    import json, os, resource, sys, time

    import pytest

    class Bare:
        def pytest_collection_finish(self, session):
            self.faults = 0
            if not os.environ["BARE"]:
                return
            start, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = time.process_time()
            count = int(os.environ["BARE"])
            for _ in range(count):
                fork()
            self.wall = (time.perf_counter() - start) / count
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            children = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
            self.cpu = (time.process_time() - cpu + children) / count
            self.faults = (after.ru_minflt - usage.ru_minflt) / count
            start = time.perf_counter()
            for _ in range(count // 2):
                first, second = os.fork(), None
                if first == 0:
                    os._exit(0)
                second = os.fork()
                if second == 0:
                    os._exit(0)
                os.waitpid(first, 0), os.waitpid(second, 0)
            self.pipelined = (time.perf_counter() - start) / (count // 2 * 2) / self.wall

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    bare = Bare()
    start = time.perf_counter()
    status = pytest.main(sys.argv[1:], plugins=[bare])
    wall = time.perf_counter() - start
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    told = {
        "status": int(status), "wall": wall,
        "cpu": sum(u.ru_utime + u.ru_stime for u in (own, children)),
        "faults": own.ru_minflt + children.ru_minflt, "own_faults": own.ru_minflt,
        "own_peak_bytes": own.ru_maxrss * 1024,
        "bare": vars(bare),
    }
    open(os.environ["TOLD"], "w").write(json.dumps(told))
    """
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--import", dest="module", default="numpy", help="what the tests import; '' for nothing"
    )
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("contenders", nargs="*", default=list(CONTENDERS))
    args = parser.parse_args()
    unknown = set(args.contenders) - set(CONTENDERS)
    if unknown:
        parser.error(
            f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        write_suite(folder, args.tests, args.module)
        figures: dict[str, list[dict[str, float]]] = {
            name: [] for name in ("bare", "plain", *args.contenders)
        }
        for _ in range(args.runs):
            told = run(folder, PLAIN, bare=200)
            figures["bare"].append(told["bare"])
            figures["plain"].append(run(folder, PLAIN))
            for name in args.contenders:
                figures[name].append(run(folder, CONTENDERS[name]))
    show(dict(figures), args.tests)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1))
    return 0


def write_suite(folder: str, tests: int, module: str, ballast_megabytes: int = 0) -> None:
    """Write trivial tests, in one file that imports a module and fills memory with small objects."""
    head = f"import {module}\n" if module else ""
    head += f"ballast = [bytes(967) for _ in range({ballast_megabytes * 1000})]\n"
    pathlib.Path(folder, "test_trivial.py").write_text(
        f"{head}import pytest\n@pytest.mark.parametrize('i', range({tests}))\ndef test(i): pass\n"
    )


def run(folder: str, options: list[str], bare: int = 0, python: str = sys.executable) -> dict:
    """Run pytest once; return what it used, and what bare forks of the same process use."""
    told = pathlib.Path(folder, "told.json")
    environment = dict(os.environ, BARE=str(bare or ""), TOLD=str(told), PYTEST_ADDOPTS="")
    command = [
        python,
        "-c",
        MEASURE,
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        folder,
        folder,
        *options,
    ]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=3600
    )
    figures = json.loads(told.read_text())
    if figures["status"]:
        sys.exit(
            f"{options}: exit status {figures['status']}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return figures


def show(figures: dict[str, list[dict]], tests: int) -> None:
    bare = figures.pop("bare")
    wall, cpu, faults, pipelined = (
        statistics.median(run[key] for run in bare)
        for key in ("wall", "cpu", "faults", "pipelined")
    )
    python, machine = platform.python_version(), platform.machine()
    print(f"Python {python}, pytest {version('pytest')}, {os.cpu_count()} cores, {machine}")
    print(
        f"bare fork: {wall * 1e3:.2f} ms wall, {cpu * 1e3:.2f} ms CPU, {faults:.0f} faults in the child"
    )
    print(
        f"cores: pipelined bare forks take {pipelined:.2f} of that (at most 0.80: two cores are free)"
    )
    plain = figures.pop("plain")
    base = {
        key: statistics.median(run[key] for run in plain)
        for key in ("wall", "cpu", "faults", "own_faults")
    }
    print(f"plain: {base['wall']:.2f} s for {tests} tests")
    print(
        f"{'':14}{'over':>7}  {'(spread)':13}{'CPU':>6}{'faults':>8}{'in pytest':>11}{'seconds':>9}"
    )
    for name, runs in figures.items():
        over = [(run["wall"] - base["wall"]) / tests / wall for run in runs]
        used = statistics.median((run["cpu"] - base["cpu"]) / tests / cpu for run in runs)
        all_faults = statistics.median((run["faults"] - base["faults"]) / tests for run in runs)
        own = statistics.median((run["own_faults"] - base["own_faults"]) / tests for run in runs)
        seconds = statistics.median(run["wall"] for run in runs)
        spread = f"({min(over):.2f}-{max(over):.2f})"
        first = f"{name:14}{statistics.median(over):7.2f}  {spread:13}"
        print(f"{first}{used:6.2f}{all_faults:8.0f}{own:11.0f}{seconds:9.2f}")


def version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


if __name__ == "__main__":
    sys.exit(main())
