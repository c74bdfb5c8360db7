#!/usr/bin/env python3
"""What the same trivial tests cost with this plugin and with others, whole commands side by side.

    python benchmarks/peers.py [--tests 500] [--runs 5] [--import numpy] [CONTENDER ...]

Each contender is installed, once, into an environment of its own below ``--environments``. They run
in turn, A B C A B C …, and medians with their spread are printed:

    seconds   the whole command, start-up and collection included
    over      (contender - plain pytest) / bare, per test; of a runner of its own, without pytest,
              the whole command counts
    CPU       of the command and of all its descendants, likewise, in units of bare
    faults    minor page faults per test, plain's taken off
    calls     system calls per test, likewise, counted in one more run, where there is strace

A bare fork is ``os.fork()``, ``os._exit(0)`` in the child and ``os.waitpid()``, timed in a pytest process
that has collected the same tests. Caveats: it takes two free cores (the line "cores" says whether they
were), wall ratios swing by 30 % on a busy machine, and trivial tests flatter who shares a process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cost
import environments

HERE = pathlib.Path(__file__).parent
TIMEOUT_SECONDS = 600
PYTEST = ("{bin}/python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
TIDERACE = (
    *("env", "TIDERACE_PYTHON={bin}/python", "{bin}/tiderace", "run", "-q", "--no-optimistic"),
)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A runner of tests.

    :ivar packages: What pip installs for it.
    :ivar command: Run in the folder of the tests; ``{bin}`` is its environment's.
    :ivar isolates: Each test has a process of its own.
    """

    packages: tuple[str, ...]
    command: tuple[str, ...]
    isolates: bool = True


CONTENDERS = {
    "plain": Contender(("pytest",), PYTEST, isolates=False),
    "ours": Contender((str(HERE.parent),), (*PYTEST, "--forked")),
    "ours, 2 jobs": Contender((str(HERE.parent),), (*PYTEST, "--forked", "--forked-jobs=2")),
    # Neither runs with pytest 9.
    "pytest-forked": Contender(("pytest-forked", "pytest==8.4.*"), (*PYTEST, "--forked")),
    "pytest-isolate": Contender(("pytest-isolate", "pytest==8.4.*"), (*PYTEST, "--isolate")),
    "xdist -n2 --forked": Contender(
        ("pytest-xdist", "pytest-forked", "pytest==8.4.*"), (*PYTEST, "-n2", "--forked")
    ),
    "tiderace -n1": Contender(("tiderace", "pytest"), (*TIDERACE, "-n", "1", ".")),
    "tiderace -n2": Contender(("tiderace", "pytest"), (*TIDERACE, "-n", "2", ".")),
    "xdist -n2": Contender(("pytest-xdist",), (*PYTEST, "-n2"), isolates=False),
    "zygote, 2 workers": Contender(("pytest-zygote",), (*PYTEST, "--workers=2"), isolates=False),
}


@dataclasses.dataclass
class Figures:
    """What one run used."""

    seconds: float
    cpu: float
    faults: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--import", dest="module", default="numpy", help="what the tests import")
    parser.add_argument("--environments", default=str(HERE.parent / ".venv-peers"))
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("contenders", nargs="*", help=", ".join(CONTENDERS))
    args = parser.parse_args()
    if unknown := set(args.contenders) - set(CONTENDERS):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    names = [
        "plain",
        *(n for n in CONTENDERS if n in (args.contenders or CONTENDERS) and n != "plain"),
    ]
    missing: dict[str, str] = {}
    commands = {}
    for name in names:
        try:
            commands[name] = install(CONTENDERS[name], pathlib.Path(args.environments), args.module)
        except subprocess.CalledProcessError as error:
            missing[name] = f"cannot be installed: {last_line(error.stderr)}"
    with tempfile.TemporaryDirectory() as folder:
        cost.write_suite(folder, args.tests, args.module)
        bare, figures, calls = measure(commands, folder, args.runs, missing)
    show(bare, figures, calls, args.tests)
    show_versions(commands)
    for name, reason in missing.items():
        print(f"{name}: not measured; {reason}")
    if args.json:
        told = {name: [vars(run) for run in runs] for name, runs in figures.items()}
        pathlib.Path(args.json).write_text(
            json.dumps({"bare": bare, "figures": told, "calls": calls}, indent=1)
        )
    return 0


def install(contender: Contender, kept: pathlib.Path, module: str) -> list[str]:
    """Have the contender in its environment; return its command.

    :raises subprocess.CalledProcessError: pip could not install it.
    """
    packages = [*contender.packages, *([module] if module else [])]
    words = [pathlib.Path(package).name for package in packages]
    folder = kept / re.sub(r"[^\w.-]+", "-", "-".join(words))
    python = folder / "bin" / "python"
    ours = str(HERE.parent) in packages
    if ours or not (folder / "installed").exists():
        quiet = {"check": True, "capture_output": True, "text": True}
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], **quiet)
        if ours:  # the version says nothing of what has changed
            subprocess.run(
                [python, "-m", "pip", "uninstall", "-qy", "pytest-procrastinate"], **quiet
            )
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], **quiet)
        (folder / "installed").touch()
    return [word.format(bin=folder / "bin") for word in contender.command]


def measure(
    commands: dict[str, list[str]], folder: str, runs: int, missing: dict[str, str]
) -> tuple[list[dict], dict[str, list[Figures]], dict[str, int]]:
    """Run all in turn; return the bare forks, the figures of each and their system calls."""
    bare: list[dict] = []
    figures: dict[str, list[Figures]] = {}
    calls: dict[str, int] = {}
    for name, command in commands.items():  # once for the bytecode, and to see that it works
        try:
            run(command, folder)
        except (subprocess.SubprocessError, OSError) as error:
            missing[name] = str(error)
        else:
            figures[name] = []
    for _ in range(runs):
        bare.append(cost.run(folder, [], bare=200, python=commands["plain"][0])["bare"])
        for name, kept in figures.items():
            kept.append(run(commands[name], folder))
    if shutil.which("strace"):
        for name in figures:
            calls[name] = count_calls(commands[name], folder)
    return bare, figures, calls


def run(command: list[str], folder: str) -> Figures:
    """Run a command once.

    :raises subprocess.SubprocessError: It failed, or took too long.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        text = last_line(done.stdout + done.stderr)
        raise subprocess.SubprocessError(f"exit status {done.returncode}: {text}")
    return Figures(
        seconds,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        after.ru_minflt - before.ru_minflt,
    )


def count_calls(command: list[str], folder: str) -> int:
    """Return the system calls of a command and of all its descendants."""
    with tempfile.NamedTemporaryFile("r") as table:
        run(["strace", "-f", "-c", "-o", table.name, *command], folder)
        return int(table.read().split("\n")[-2].split()[3])


def show_versions(commands: dict[str, list[str]]) -> None:
    """Print which pytest each contender has: some run with an older one only."""
    names: dict[str, list[str]] = {}
    for name, command in commands.items():
        python = next(word for word in command if word.endswith("python")).rpartition("=")[2]
        names.setdefault(environments.versions(pathlib.Path(python), ["pytest"]), []).append(name)
    for version, having in names.items():
        print(f"{version}: {', '.join(having)}")


def last_line(text: str) -> str:
    """Return the last line of a text that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def show(
    bare: list[dict], figures: dict[str, list[Figures]], calls: dict[str, int], tests: int
) -> None:
    """Print the table."""
    wall, cpu, pipelined = (
        statistics.median(each[key] for each in bare) for key in ("wall", "cpu", "pipelined")
    )
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    print(f"bare fork: {wall * 1e3:.2f} ms wall, {cpu * 1e3:.2f} ms CPU")
    print(
        f"cores: pipelined bare forks take {pipelined:.2f} of that (at most 0.80: two cores are free)"
    )
    print(f"{tests} tests, medians of {len(bare)} runs (smallest-largest)")
    row = "{:20} {:>8} {:13} {:>7} {:13} {:>6} {:>7} {:>6}"
    print(row.format("", "seconds", "", "over", "", "CPU", "faults", "calls"))
    for isolates in (True, False):
        if not isolates:
            print("without a process for each test:")
        for name, runs in figures.items():
            if CONTENDERS[name].isolates is not isolates:
                continue
            base = figures["plain"] if "pytest" in CONTENDERS[name].command else []
            plain = {
                key: statistics.median(getattr(each, key) for each in base) if base else 0.0
                for key in ("seconds", "cpu", "faults")
            }
            seconds = [each.seconds for each in runs]
            over = [(each.seconds - plain["seconds"]) / tests / wall for each in runs]
            used = statistics.median((each.cpu - plain["cpu"]) / tests / cpu for each in runs)
            faults = statistics.median((each.faults - plain["faults"]) / tests for each in runs)
            own_calls = calls.get(name, 0) - (calls.get("plain", 0) if base else 0)
            print(
                row.format(
                    name,
                    f"{statistics.median(seconds):.2f}",
                    f"({min(seconds):.2f}-{max(seconds):.2f})",
                    f"{statistics.median(over):.2f}",
                    f"({min(over):.2f}-{max(over):.2f})",
                    f"{used:.2f}",
                    f"{faults:.0f}",
                    f"{own_calls / tests:.0f}" if calls else "-",
                )
            )


if __name__ == "__main__":
    sys.exit(main())
