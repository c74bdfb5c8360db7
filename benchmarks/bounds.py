#!/usr/bin/env python3
"""What a forked test costs, of what can be counted: fails where it is more than it has been.

    python benchmarks/bounds.py

Two suites of trivial tests are run forked, and the difference is divided by the tests that the second
has more: start-up does not count. Page faults are those of all processes, and of the pytest process
alone; bytes are all that it reads from children and fork servers; system calls are counted with
strace, where that is installed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile

import cost
import peers

FEW, MANY = 150, 450  # tests; from some thirty on a fork server has made shared what it can
# On Python 3.12 and later; before, children copy what later ones share.
FAULTS = 1000 if sys.version_info >= (3, 12) else 2000
BOUNDS = {"faults": FAULTS, "own_faults": 40, "bytes": 1100, "calls": 110}
COUNT_BYTES = """
from pytest_procrastinate.process.frames import Decoder
feed, count = Decoder.feed, 0

def counting(self, data):
    global count
    count += len(data)
    return feed(self, data)

Decoder.feed = counting

def pytest_unconfigure(config):
    open("bytes", "w").write(str(count))
"""


def main() -> int:
    counts = [count(tests) for tests in (FEW, MANY)]
    worse = 0
    for name, bound in BOUNDS.items():
        if name not in counts[0]:
            print(f"{name}: not counted, there is no strace")
            continue
        each = (counts[1][name] - counts[0][name]) / (MANY - FEW)
        worse += each > bound
        print(f"{name}: {each:.0f} per test, at most {bound}{'  TOO MANY' if each > bound else ''}")
    return worse


def count(tests: int) -> dict[str, float]:
    """Return what so many forked tests cost."""
    with tempfile.TemporaryDirectory() as folder:
        cost.write_suite(folder, tests, "")
        with open(f"{folder}/conftest.py", "w") as conftest:
            conftest.write(COUNT_BYTES)
        figures = cost.run(folder, ["--forked"])
        with open(f"{folder}/bytes") as file:
            found = {name: figures[name] for name in ("faults", "own_faults")}
            found["bytes"] = int(file.read())
        if shutil.which("strace"):
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--forked"]
            found["calls"] = peers.count_calls(command, folder)
    return found


if __name__ == "__main__":
    sys.exit(main())
