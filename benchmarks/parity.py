"""Run public suites plainly and forked, and say what differs.

    python benchmarks/parity.py                    all of them; writes docs/parity.md
    python benchmarks/parity.py yarl lxml          some, by name; writes nothing
    python benchmarks/parity.py --pytest 'pytest==8.0.*' --forked '--forked --forked-jobs=4' toolz

Each suite is run twice plainly, without this plugin: what differs between these two is flaky. Then
once for each ``--forked``. Compared are the exit status and what reached the pytest process, in
order: each test's start, reports (outcome, sections, user properties, text) and end, warnings, failed
collection, counts. A test that differs is run twice more, plainly and on its own: what then tells
what it told forked, or not twice the same, leans on what an earlier test has left behind.

Environments are kept in ``--environments`` and used again. Needs the network once. The exit status
is 1 where a difference is not explained, or a suite could not be run.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comparing import Run, differences_by_test, run, told_of
from environments import ROOT, environment, site_packages, source, versions
from suites import SUITES, Suite
from tables import write_table

TABLE = ROOT / "docs" / "parity.md"
PYTESTS = ("pytest", "pytest==8.4.*")
FORKED = ("--forked", "--forked --forked-jobs=2")
RUN_SECONDS = 300  # it only ends a hang
NUMBERS = ((r"\b\d{4,}\b", "N"),)  # process ids, ports
ALONE_AT_MOST = 40  # tests that are run once more


@dataclasses.dataclass
class Found:
    """What a forked run of a suite differs in from a plain one.

    :ivar leaning: Tests, by nodeid.
    :ivar apart: Tests of which :attr:`.Suite.apart` says that they cannot agree.
    :ivar differences: Lines: of other tests, and of the run if there are any.
    """

    forked: Run
    leaning: list[str]
    apart: list[str]
    differences: list[str]


class Trial:
    """A suite with one version of pytest.

    :ivar plain: The first plain run.
    :ivar flaky: Tests that the second told differently.
    """

    def __init__(self, suite: Suite, pytest: str, folder: Path) -> None:
        name = "-".join([suite.name, *pytest.removesuffix(".*").split("==")])
        self.suite = suite
        self.python = environment(folder / name, (pytest, *suite.packages))
        if suite.source:
            self._folder = source(folder / "sources" / suite.name, suite.packages[0], suite.without)
        else:
            self._folder = site_packages(self.python)
        self.plain = self._run_plainly(*suite.tests)
        again = self._run_plainly(*suite.tests)
        self.flaky = dict.fromkeys(n for n, _ in differences_by_test(self.plain, again) if n)

    @property
    def tests(self) -> int:
        """How many tests the plain run began."""
        return len({row["nodeid"] for row in self.plain.rows if row["kind"] == "start"})

    def compare(self, *options: str) -> Found:
        """Run the suite with more options, and return what differs from the plain run."""
        forked = self._run(*options, *self.suite.tests)
        found = [
            (nodeid, line)
            for nodeid, line in differences_by_test(self.plain, forked)
            if nodeid not in self.flaky
        ]
        differ = [n for n in dict.fromkeys(n for n, _ in found) if "::" in n]
        apart = [n for n in differ if reason(self.suite.apart, n)]
        leaning = [n for n in differ[:ALONE_AT_MOST] if n not in apart and self._leans(n, forked)]
        rest = [(nodeid, line) for nodeid, line in found if nodeid not in (*leaning, *apart)]
        if (leaning or apart or self.flaky) and not any(nodeid for nodeid, _ in rest):
            rest = []  # counts and exit status follow from the tests
        return Found(forked, leaning, apart, [line for _, line in rest])

    def _leans(self, nodeid: str, forked: Run) -> bool:
        """Whether a test tells on its own, plainly, what it told forked, or other things each time."""
        told = told_of(forked, nodeid)
        name = forked.nodeids.get(nodeid, nodeid)
        alone, again = (told_of(self._run_plainly(name), nodeid) for _ in range(2))
        return bool(alone) and (alone == told or alone != again)

    def _run_plainly(self, *tests: str) -> Run:
        return self._run("-p", "no:pytest_procrastinate", *tests)

    def _run(self, *options: str) -> Run:
        with tempfile.TemporaryDirectory() as cache:
            return run(
                self.python,
                self._folder,
                [
                    *("-q", "--rootdir=.", "-o", f"cache_dir={cache}"),
                    *self.suite.options,
                    *(f"--deselect={nodeid}" for nodeid in self.suite.flaky),
                    *options,
                ],
                seconds=RUN_SECONDS,
                more=NUMBERS,
            )


def reason(known: Mapping[str, str], nodeid: str) -> str | None:
    """Return why a test differs, by the patterns of what is known."""
    return next((why for name, why in known.items() if fnmatch.fnmatchcase(nodeid, name)), None)


class Table:
    """What is printed of each trial, and what is kept in the docs."""

    def __init__(self, modes: Sequence[str], lines_at_most: int) -> None:
        self.failed = False
        """Whether anything differed, or could not be run."""
        self._modes = modes
        self._lines_at_most = lines_at_most
        self._rows: list[str] = []
        self._notes: dict[str, None] = {}

    def fail(self, suite: Suite, text: str) -> None:
        """Note that a suite could not be run."""
        self.failed = True
        self._row(suite.packages[0], f"**not run**: {text}")
        print(f"{suite.name}: not run: {text}", flush=True)

    def add(self, trial: Trial, found: Sequence[Found]) -> None:
        """Note what became of a trial, a ``found`` for each mode."""
        suite, plain = trial.suite, trial.plain
        what = versions(trial.python, (suite.name, "pytest"))
        print(f"{what}: {trial.tests} tests, {len(trial.flaky)} flaky; {plain.last_line}")
        for nodeid in trial.flaky:
            print(f"    flaky: {nodeid}")
        cells = []
        for mode, each in zip(self._modes, found, strict=True):
            self.failed = self.failed or bool(each.differences)
            seconds = f"{plain.seconds:.1f} s, forked {each.forked.seconds:.1f} s"
            explained = {
                **{
                    n: f"leans: {reason(suite.leans, n) or 'not known on what'}"
                    for n in each.leaning
                },
                **{n: f"apart: {reason(suite.apart, n)}" for n in each.apart},
            }
            count = f"{len(each.differences)} differences, {len(explained)} explained"
            print(f"  {mode}: {count}; {seconds}")
            for nodeid, why in explained.items():
                print(f"    {nodeid}: {why}")
                self._notes[f"- {suite.name}: `{nodeid}` {why}"] = None
            for line in each.differences[: self._lines_at_most]:
                print(f"    {line}")
            cells += [str(len(each.differences)), str(len(explained))]
        sys.stdout.flush()
        tested, pytest = what.split(", ")
        left_out = len(suite.flaky) + len(trial.flaky)
        counts = ", ".join(f"{count} {name}" for name, count in plain.counts.items())
        self._row(tested, pytest.split()[-1], str(trial.tests), counts, str(left_out), *cells)

    def lines(self) -> list[str]:
        """Return the table, and below it why tests lean."""
        titles = [
            f"`{mode}`: {what}" for mode in self._modes for what in ("differences", "explained")
        ]
        head = ["suite", "pytest", "tests", "told, plainly", "flaky", *titles]
        rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *self._rows]
        return [*rows, "", "## What is explained", "", *(self._notes or ["Nothing."])]

    def _row(self, *cells: str) -> None:
        self._rows.append(f"| {' | '.join(cells)} |")


def try_suite(
    suite: Suite, pytest: str, modes: Sequence[str], folder: Path
) -> tuple[Trial | str, list[Found]]:
    """Return a suite's trial, with what was found in each mode; or why it could not be run."""
    try:
        trial = Trial(suite, pytest, folder)
    except subprocess.CalledProcessError as error:
        return f"with {pytest}: {error.cmd[-1]} cannot be installed", []
    if not trial.tests:
        return f"with {pytest}: {trial.plain.last_line}", []
    return trial, [trial.compare(*shlex.split(mode)) for mode in modes]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--pytest", action="append", help="what pip installs; may be repeated")
    parser.add_argument("--forked", action="append", help="options of a forked run; likewise")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-parity")
    parser.add_argument("--suites", type=int, default=1, help="how many to run at once")
    parser.add_argument("--lines", type=int, default=10, help="of difference to print")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    modes = arguments.forked or FORKED
    chosen = [s for s in SUITES if not arguments.names or s.name in arguments.names]
    pytests = arguments.pytest or PYTESTS

    def try_it(suite: Suite) -> list[tuple[Trial | str, list[Found]]]:
        return [try_suite(suite, each, modes, arguments.environments) for each in pytests]

    table = Table(modes, arguments.lines)
    with ThreadPoolExecutor(arguments.suites) as pool:
        for suite, results in zip(chosen, pool.map(try_it, chosen), strict=True):
            for trial, found in results:
                if isinstance(trial, str):
                    table.fail(suite, trial)
                else:
                    table.add(trial, found)
    if not arguments.names:
        write_table(TABLE, shlex.join(["python", *sys.argv]), table.lines())
    return table.failed


if __name__ == "__main__":
    sys.exit(main())
