"""Run a suite plainly and with ``--forked``, and say what differs: reports, counts, output, files."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

MASKS = [
    (r"\b0x[0-9A-Fa-f]+", "0xADDRESS"),
    (r"\b(pytest-of-\w+/pytest|pytest|runpytest)-\d+", "pytest-N"),
    (r"/tmp/[\w.-]*", "/tmp/FOLDER"),
    (r"\b\d+(\.\d+)?(e-?\d+)? ?(s|ms|us|µs|ns|seconds|sec|min)\b", "N s"),
    (r"\b\d{1,2}:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b\d+(\.\d{2,}(e-?\d+)?|(\.\d+)?e-\d+)", "N"),
    (r"\bpid[ =:]*\d+", "pid N"),
    (r"\[gw\d+\]", "[gwN]"),  # which of xdist's workers runs a test is chance
    (r"([=_!-])\1{2,}", r"\1\1\1"),
]


@dataclasses.dataclass
class Run:
    """What one run told.

    :ivar rows: Those of the recorder, masked.
    :ivar nodeids: Those as they were told, by what they are in the rows.
    """

    status: int
    rows: list[dict[str, Any]]
    output: str
    seconds: float = 0.0
    nodeids: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many reports of each kind pytest's summary has."""
        for row in reversed(self.rows):
            if row["kind"] == "summary":
                return {str(name): int(count) for name, count in row["counts"].items()}
        return {}

    @property
    def last_line(self) -> str:
        """The last line of output."""
        return (self.output.strip().splitlines() or [""])[-1].strip("= ")


def mask(text: str, more: Iterable[tuple[str, str]] = ()) -> str:
    """Return a text with what differs from run to run replaced."""
    return str(_masked(text, [*more, *MASKS]))


def run(
    python: Path | str,
    folder: Path,
    options: Sequence[str],
    *,
    seconds: float = 300,
    environment: Mapping[str, str] | None = None,
    more: Iterable[tuple[str, str]] = (),
) -> Run:
    """Run pytest in a folder with the recorder loaded; its rows come back masked."""
    command = [str(python), "-m", "pytest", "-p", "recorder", *options]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        record, printed, scratch = (Path(place) / name for name in ("rows", "output", "tmp"))
        record.touch()
        scratch.mkdir()
        shutil.copy(HERE / "recorder.py", place)  # alone: a suite may have a module of any name
        ours = {
            **os.environ,
            "RECORD": str(record),
            "PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")]).strip(":"),
            "PYTHONHASHSEED": "0",
            "COLUMNS": "120",
            "TMPDIR": str(scratch),  # another pytest would remove folders of this one
            **(environment or {}),
        }
        for name in ("CI", "PYTEST_XDIST_WORKER"):  # who compares may be a worker itself
            ours.pop(name, None)
        start = time.monotonic()
        with printed.open("w") as output:
            status = _run_group(command, folder, ours, output, seconds)
        took = time.monotonic() - start
        text = printed.read_text(encoding="utf-8", errors="replace")
        lines = record.read_text(errors="backslashreplace").splitlines()
    told = [json.loads(line) for line in lines]
    rows = [_masked(row, [*more, *MASKS]) for row in told]
    nodeids = {
        row["nodeid"]: each["nodeid"]
        for row, each in zip(rows, told, strict=True)
        if "nodeid" in row
    }
    return Run(status, rows, text, took, nodeids)


def _masked(value: Any, masks: Sequence[tuple[str, str]]) -> Any:
    """Return the same with its texts masked."""
    if isinstance(value, str):
        for pattern, name in masks:
            value = re.sub(pattern, name, value)
    elif isinstance(value, list):
        return [_masked(each, masks) for each in value]
    elif isinstance(value, dict):
        return {key: _masked(each, masks) for key, each in value.items()}
    return value


def _run_group(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Any,
    seconds: float,
) -> int:
    """Run a command; return its exit status, 124 as timeout(1). What it left in its group is killed."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def differences(plain: Run, forked: Run) -> list[str]:
    """Return one line per difference: exit status, summary, then report by report, then the order."""
    return [line for _, line in differences_by_test(plain, forked)]


def differences_by_test(plain: Run, forked: Run) -> list[tuple[str, str]]:
    """Return nodeid, as it is in the rows, and a line for each difference; "" for those of the run."""
    found = []
    if plain.status != forked.status:
        found.append(("", f"exit status: plain {plain.status}, forked {forked.status}"))
    one, other = _by_place(plain), _by_place(forked)
    for place in [*one, *(place for place in other if place not in one)]:
        nodeid, name = place[0], " ".join(filter(None, place))
        for before, after in _pairs(one.get(place, []), other.get(place, [])):
            if before is None or after is None:
                found.append((nodeid, f"{name}: only {'forked' if before is None else 'plain'}"))
                continue
            for key in before:
                if before[key] != after.get(key):
                    difference = _first_difference(before[key], after.get(key))
                    found.append((nodeid, f"{name}: {key}: {difference}"))
    if not found:
        for before, after in zip(_order(plain), _order(forked), strict=True):
            if before != after:
                found.append(("", f"order: plain tells {before}, forked {after}"))
                break
    return found


def told_of(run: Run, nodeid: str) -> list[dict[str, Any]]:
    """Return the rows of one test."""
    return [row for row in run.rows if row.get("nodeid") == nodeid]


def compare_texts(name: str, plain: str, forked: str, more: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of a masked diff of two texts."""
    before, after = (mask(text, more).splitlines() for text in (plain, forked))
    diff = difflib.unified_diff(before, after, "plain", "forked", lineterm="", n=0)
    return [f"{name}: {line}" for line in diff if not line.startswith(("---", "+++", "@@"))]


def _by_place(run: Run) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Return the rows by what must agree before one asks how they differ."""
    places: dict[tuple[str, ...], list[dict[str, Any]]] = collections.defaultdict(list)
    for row in run.rows:
        warning = row["text"] if row["kind"] == "warning" else ""
        place = row.get("nodeid") or "", row.get("when") or "", row["kind"], warning
        places[place].append(row)
    return places


def _order(run: Run) -> list[tuple[str, ...]]:
    return [
        (row["kind"], row.get("nodeid") or "", row.get("when") or "")
        for row in run.rows
        if row["kind"] != "warning"
    ]


def _pairs(one: list[Any], other: list[Any]) -> list[tuple[Any, Any]]:
    length = max(len(one), len(other))
    return [
        (one[i] if i < len(one) else None, other[i] if i < len(other) else None)
        for i in range(length)
    ]


def _first_difference(before: Any, after: Any) -> str:
    one, other = (
        json.dumps(value) if not isinstance(value, str) else value for value in (before, after)
    )
    for left, right in zip(one.splitlines() or [""], other.splitlines() or [""], strict=False):
        if left != right:
            return f"plain {left[:150]!r}, forked {right[:150]!r}"
    return f"plain has {len(one)} characters, forked {len(other)}"


if __name__ == "__main__":
    sys.exit("run ecosystem.py or parity.py")
