"""Compare plain and forked runs of many random suites: ``--seeds 0:200 --python PATH``."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import sys
import time

from .generate import generate
from .model import Suite
from .render import render
from .running import TIMEOUT_SECONDS, Differences, differences, options_of
from .shrink import shrink

JOBS = 2
SHRINK_SECONDS = 240
HANG_SECONDS = 8.0  # while shrinking what hangs
HELPERS = ("noting.py", "recorder.py", "custom_items.py", "pytest.ini")
DIFF_LINES = 60
CHANGED_LINES = 4
LINE_LENGTH = 150


def compare(
    seed: int, *, mixed: bool = False, at_once: int = 1, python: str = sys.executable
) -> Differences:
    """Return what differs between the runs of a seed's suite."""
    return differences(generate(seed, mixed=mixed), python, at_once=at_once)


def smallest(suite: Suite, found: Differences, python: str, at_once: int = 1) -> Suite:
    """Return the smallest suite whose first difference is of the same kind."""
    what = next(iter(found))
    timeout = HANG_SECONDS if "hangs" in found else TIMEOUT_SECONDS
    end = time.monotonic() + SHRINK_SECONDS

    def still_differs(smaller: Suite) -> bool:
        if time.monotonic() > end:
            return False
        try:
            return what in differences(smaller, python, at_once=at_once, timeout_seconds=timeout)
        except ValueError:
            return False

    return shrink(dataclasses.replace(suite), still_differs)


def told(suite: Suite, found: Differences) -> str:
    """Describe a suite and what differs."""
    lines = [f"$ pytest {' '.join(options_of(suite, forked=True))}"]
    for name, text in render(suite).items():
        if name not in HELPERS:
            lines += [f"# {name}", text.rstrip(), ""]
    for what, diff in found.items():
        lines += [f"--- {what}", *diff[:DIFF_LINES], ""]
    return "\n".join(lines)


def changed(diff: list[str]) -> list[str]:
    """Return the first lines that a diff removes or adds."""
    lines = [line for line in diff if line[0] in "+-n" and line[:3] not in ("+++", "---")]
    return [line[:LINE_LENGTH] for line in lines[:CHANGED_LINES]]


def command(seed: int, *, mixed: bool) -> str:
    """Return the command that writes a seed's suite into a folder."""
    return f"python -m tests.random_suites.show {seed}{' --mixed' if mixed else ''}"


def main(arguments: list[str] | None = None) -> int:
    """Compare many; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:25", help="first:end, or one seed")
    parser.add_argument("--python", default=sys.executable, help="that has pytest and the plugin")
    parser.add_argument("--mixed", action="store_true", help="forked and plain items in a suite")
    parser.add_argument("--at-once", type=int, default=1, help="this many forked tests run at once")
    parser.add_argument("--shrink", action="store_true", help="show the smallest suite")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--stop-after", type=int, default=1_000_000, help="this many differ")
    chosen = parser.parse_args(arguments)
    first, _, end = chosen.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    bad: list[int] = []

    def compare_one(seed: int) -> tuple[int, Differences | ValueError]:
        if len(bad) >= chosen.stop_after:
            return seed, {}
        try:
            return seed, compare(
                seed, mixed=chosen.mixed, at_once=chosen.at_once, python=chosen.python
            )
        except ValueError as error:
            return seed, error

    with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
        for seed, found in pool.map(compare_one, seeds):
            if isinstance(found, ValueError):
                print(f"seed {seed}: no suite: {found}", flush=True)
            elif found:
                bad.append(seed)
                print(f"seed {seed} differs in {', '.join(found)}", flush=True)
                print(f"    {command(seed, mixed=chosen.mixed)}", flush=True)
                for what, lines in found.items():
                    print("\n".join(f"    {what}: {line}" for line in changed(lines)), flush=True)
                if chosen.shrink:
                    suite = generate(seed, mixed=chosen.mixed)
                    suite = smallest(suite, found, chosen.python, chosen.at_once)
                    found = differences(suite, chosen.python, at_once=chosen.at_once)
                    print(told(suite, found), flush=True)
    print(f"{len(seeds)} suites, {len(bad)} differ: {bad}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
