"""Run this suite forked and say whether each test got its truthful result.

The tests crash on purpose, so pytest's own exit status says nothing here. Exits with
0 where the results are those below, and with 1, naming the others, where not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).parent
FORKED = ["--forked", "--forked-timeout=3"]
SECONDS_AT_MOST = 100

# What the bug of each test does to its process; a signal is told by its name.
TRUTH = {
    "test_arithmetic.test_divide[6-3-2]": "passed",
    "test_arithmetic.test_divide[7-2-3]": "passed",
    "test_arithmetic.test_divide[0-5-0]": "passed",
    "test_arithmetic.test_only_numbers_are_divided": "passed",
    "test_arithmetic.test_quotient_written_to_a_file": "passed",
    "test_crashes.test_null_pointer": "failure: SIGSEGV",
    "test_crashes.test_division_by_zero": "failure: SIGFPE",
    "test_crashes.test_abort": "failure: SIGABRT",
    "test_crashes.test_double_free": "failure: SIGABRT",
    "test_crashes.test_stack_overflow": "failure: SIGSEGV",
    "test_crashes.test_crash_after_the_test": "error: SIGABRT",
    "test_crashes.test_endless_loop": "failure: ran into its timeout",
    "test_crashes.test_after_the_crashes": "passed",
    "test_exits.test_exit_from_c": "failure: status 3",
    "test_exits.test_exit_from_c_with_status_zero": "failure: status 0",
    "test_exits.test_exit_from_python": "failure: status 0",
    "test_lengths.test_metres": "passed",
    "test_lengths.test_kilometres": "passed",
    "test_lengths.test_metres_again": "passed",
}


def run_forked() -> dict[str, str]:
    """Run pytest, its output on ours, and return what its JUnit report tells."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *FORKED, f"--junitxml={report}"]
        subprocess.run(command, cwd=HERE, timeout=SECONDS_AT_MOST, check=False)
        return read_report(report) if report.exists() else {}


def read_report(report: Path) -> dict[str, str]:
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        told = [
            f"{part.tag}: {part.get('message')} {part.text}"
            for part in case
            if part.tag in ("failure", "error", "skipped")
        ]
        results[name] = told[0] if told else "passed"
    return results


def is_true(told: str, truth: str) -> bool:
    outcome, _, words = truth.partition(": ")
    return told.partition(": ")[0] == outcome and words in told


def main() -> int:
    results = run_forked()
    lies = [
        f"{name}: {results.get(name, 'nothing was told')!r}, but in truth {truth!r}"
        for name, truth in TRUTH.items()
        if not is_true(results.get(name, ""), truth)
    ]
    lies += [f"{name}: unknown" for name in results.keys() - TRUTH.keys()]
    if lies:
        print("\nexample suite: not the truth:", *lies, sep="\n  ")
        return 1
    print(f"\nexample suite: all {len(TRUTH)} tests got their truthful result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
