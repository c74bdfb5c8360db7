"""Run a suite plainly and with ``--forked``, and say what differs: reports, counts, output, files."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
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
    (r"([=_!-])\1{2,}", r"\1\1\1"),
]


@dataclasses.dataclass
class Run:
    """What one run told."""

    status: int
    rows: list[dict[str, Any]]
    output: str
    seconds: float = 0.0

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
    for pattern, name in [*more, *MASKS]:
        text = re.sub(pattern, name, text)
    return text


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
    handle, record = tempfile.mkstemp(suffix=".jsonl")
    os.close(handle)
    command = [str(python), "-m", "pytest", "-p", "recorder", *options]
    ours = {
        **os.environ,
        "RECORD": record,
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).strip(":"),
        "COLUMNS": "120",
        **(environment or {}),
    }
    ours.pop("CI", None)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            status = subprocess.run(
                command,
                cwd=folder,
                env=ours,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            status = 124  # as timeout(1)
        output.seek(0)
        text = output.read()
    rows = [json.loads(mask(line, more)) for line in Path(record).read_text().splitlines()]
    os.unlink(record)
    return Run(status, rows, text)


def differences(plain: Run, forked: Run, *, reports_only: bool = False) -> list[str]:
    """Return one line per difference: exit status, summary, then report by report.

    :param reports_only: Compare outcomes alone, not sections, properties and texts of failures.
    """
    found = []
    if plain.status != forked.status:
        found.append(f"exit status: plain {plain.status}, forked {forked.status}")
    if plain.counts != forked.counts:
        found.append(f"summary: plain {plain.counts}, forked {forked.counts}")
    one, other = _by_place(plain), _by_place(forked)
    for place in [*one, *(place for place in other if place not in one)]:
        for before, after in _pairs(one.get(place, []), other.get(place, [])):
            if before is None or after is None:
                found.append(f"{place}: only {'forked' if before is None else 'plain'}")
                continue
            keys = ("outcome", "xfail") if reports_only else [*before]
            for key in keys:
                if before.get(key) != after.get(key):
                    found.append(f"{place}: {key}: {_first_difference(before[key], after[key])}")
    if not found and not reports_only and [*one] != [*other]:
        found.append("order: what was told is the same, in another order")
    return found


def compare_texts(name: str, plain: str, forked: str, more: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of a masked diff of two texts."""
    before, after = (mask(text, more).splitlines() for text in (plain, forked))
    diff = difflib.unified_diff(before, after, "plain", "forked", lineterm="", n=0)
    return [f"{name}: {line}" for line in diff if not line.startswith(("---", "+++", "@@"))]


def _by_place(run: Run) -> dict[str, list[dict[str, Any]]]:
    places: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in run.rows:
        if row["kind"] in ("report", "warning"):
            places[f"{row['nodeid']} {row['when']} {row['kind']}"].append(row)
    return places


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
