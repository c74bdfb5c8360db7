#!/usr/bin/env python3
"""A long run of tests, every tenth of which does harm, each kind in turn.

    python benchmarks/soak.py [--tests 5000] [--jobs 1]

Checks that each test is told as what it was, that no process, and no file in the temporary folder, is
left, and prints how the memory and the descriptors of the pytest process grew with the tests told. Exit
status 0 where all is well. Takes some minutes: a test that hangs takes its timeout.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

TIMEOUT_SECONDS = 1.0

HARM = {
    "segfault": ("ctypes.string_at(0)", "failed", "SIGSEGV"),
    "abort": ("os.abort()", "failed", "SIGABRT"),
    "exit with 0": ("os._exit(0)", "failed", "exited with status 0"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "SIGKILL"),
    "hang": ("time.sleep(600)", "failed", "timeout"),
    "hang with the GIL held": ("re.match('(a+)+b', 'a' * 60)", "failed", "timeout"),
    "hang, deaf to signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)), time.sleep(600)",
        "failed",
        "timeout",
    ),
    "a process left": ("subprocess.Popen(['sleep', '600'])", "passed", ""),
    "a daemon left": (
        "subprocess.Popen(['sleep', '600'], start_new_session=True, close_fds=True)",
        "passed",
        "",
    ),
    "a thread left": ("threading.Thread(target=time.sleep, args=(600,)).start()", "passed", ""),
    "descriptors left": ("[os.open('/dev/null', 0) for _ in range(100)]", "passed", ""),
    # pytest's own are among them, which it finds at the end of each phase:
    "all descriptors closed": ("os.closerange(0, 4096)", "failed failed", "Bad file descriptor"),
    "much output": ("print('x' * 1_000_000)", "passed", ""),
    "memory": ("globals().update(kept=bytearray(50_000_000))", "passed", ""),
}

SUITE = """
import ctypes, os, re, signal, subprocess, threading, time
import pytest

HARM = {harm!r}

@pytest.mark.parametrize("n", range({tests}))
def test_it(n):
    if n % 10 == 0:
        eval(HARM[n // 10 % len(HARM)])
"""

RECORDER = """
import json, os

PARENT = os.getpid()
told = {}
growth = []

def pytest_runtest_logreport(report):
    if report.outcome != "passed" or report.when == "call":
        told.setdefault(report.nodeid, []).append((report.outcome, report.longreprtext[-2000:]))
    if report.when == "teardown":
        count = len(told)
        if count % STEP == 1:
            pages = int(open("/proc/self/statm").read().split()[1])
            growth.append((count, pages * os.sysconf("SC_PAGESIZE"), len(os.listdir("/proc/self/fd"))))

def pytest_sessionfinish():
    if os.getpid() == PARENT:
        with open("told.json", "w") as file:
            json.dump({"told": told, "growth": growth}, file)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harm = [code for code, _, _ in HARM.values()]
        (folder / "test_soak.py").write_text(SUITE.format(harm=harm, tests=args.tests))
        (folder / "soak_recorder.py").write_text(
            textwrap.dedent(RECORDER).replace("STEP", str(max(1, args.tests // 10)))
        )
        (folder / "temporary").mkdir()
        token = f"soak-{os.getpid()}-{time.time_ns()}"
        began = time.monotonic()
        status = run(folder, args.jobs, token)
        seconds = time.monotonic() - began
        result = json.loads((folder / "told.json").read_text())
        wrong = check(result["told"], args.tests)
        wrong += [f"left: {each}" for each in processes_with(token)]
        wrong += [f"left: {each}" for each in (folder / "temporary").iterdir()]
    if status != 1:
        wrong.append(f"exit status {status} and not 1")
    print(f"{args.tests} tests, {args.jobs} at once, {seconds:.0f} s, {len(wrong)} wrong")
    print(f"{'told':>8}{'memory':>10}{'descriptors':>13}")
    for count, size, descriptors in result["growth"]:
        print(f"{count:8}{size / 1e6:7.1f} MB{descriptors:13}")
    print("\n".join(wrong[:20]))
    return 1 if wrong else 0


def run(folder: Path, jobs: int, token: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    command += ["-p", "soak_recorder", "--forked", f"--forked-jobs={jobs}"]
    command += [f"--forked-timeout={TIMEOUT_SECONDS}", "--forked-grace=1"]
    environment = dict(
        os.environ, SOAK=token, TMPDIR=str(folder / "temporary"), PYTHONPATH=str(folder)
    )
    with open(folder / "output", "w") as output:
        return subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        ).returncode


def check(told: dict[str, list[list[str]]], tests: int) -> list[str]:
    """Return what was told otherwise than it was."""
    wrong: collections.Counter[str] = collections.Counter()
    for n in range(tests):
        kind, (_, outcome, text) = (
            [*HARM.items()][n // 10 % len(HARM)] if n % 10 == 0 else ("none", ("", "passed", ""))
        )
        reports = told.get(f"test_soak.py::test_it[{n}]", [])
        if [report[0] for report in reports] != outcome.split() or text not in reports[0][1]:
            wrong[f"{kind}: {[(what, text[-200:]) for what, text in reports]}"] += 1
    return [f"{count} times {what}" for what, count in wrong.most_common()]


def processes_with(token: str) -> list[str]:
    """Return the command lines of processes of the run that are left."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and token.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has gone, or is not ours
            pass
    return found


if __name__ == "__main__":
    sys.exit(main())
