"""Run a suite plainly and forked, in processes of their own, and find what differs."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .documented import (
    JOINED,
    error_lines,
    is_hook_of_teardown,
    joined_teardown,
    shows_inner_frames,
    told_as_the_run_ends,
    without_direct_parameters,
    without_letters,
    without_namespace_of_doctests,
    writes_past_capture,
)
from .model import Suite
from .render import write

TIMEOUT_SECONDS = 30.0  # it only ends a hang
USAGE_ERROR = 4  # pytest's exit status
MASKS = [
    (r"\b0x[0-9A-Fa-f]+", "0xADDRESS"),
    (r"tmp-(plain|forked)", "tmp"),
    (r"random-suite-\w+", "random-suite"),
    (r"<pluggy\._tracing\.TagTracer[^>]*>", "TRACER"),  # cut where its address ends
    (r"\b\d+\.\d+(s\b| seconds\b)", "N s"),
    (r"\b\d{1,2}:\d\d:\d\d\b", "TIME"),
    (r"([=_!-])\1{2,}", r"\1\1\1"),  # rules are as long as what they surround is short
]


@dataclasses.dataclass(frozen=True)
class Told:
    """What one run did and told."""

    status: int
    main: int
    """The pid of the pytest process."""
    events: list[tuple[int, str, str]]
    """Pid, scope and words of each."""
    rows: list[dict[str, Any]]
    output: list[str]
    errors: list[str]
    hangs: bool


def options_of(suite: Suite, *, forked: bool) -> list[str]:
    """Return the command line that a suite is run with."""
    if not forked:
        return suite.options
    if suite.mixed and not suite.forked_by_default:
        return ["-ppytest_procrastinate", *suite.options]
    return ["-ppytest_procrastinate", "--forked", *suite.options]


def run(
    suite: Suite,
    folder: Path,
    *,
    forked: bool,
    at_once: int = 1,
    python: str = sys.executable,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Told:
    """Run a suite that is written in a folder."""
    label = "forked" if forked else "plain"
    told, events = folder / f"told-{label}", folder / f"events-{label}"
    environment = {
        **os.environ,
        "COLUMNS": "150",
        "EVENTS": str(events),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",  # with -s, what is printed and what is written stay in order
        "TOLD": str(told),
    }
    for name in ("CI", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"):
        environment.pop(name, None)
    command = [python, "-m", "pytest", "-precorder", "-pno:cacheprovider"]
    command += [f"--basetemp={folder}/tmp-{label}", *options_of(suite, forked=forked)]
    if forked and at_once > 1:
        command.append(f"--forked-jobs={at_once}")
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    hangs = False
    try:
        output, errors = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        hangs = True

    def masked(text: str) -> str:
        text = text.replace(str(folder), "FOLDER")
        for pattern, name in MASKS:
            text = re.sub(pattern, name, text)
        return text

    rows = [json.loads(masked(line)) for line in _lines(told)]
    return Told(
        status=process.returncode,
        main=next((row["pid"] for row in rows if row["kind"] == "main"), 0),
        events=[tuple(json.loads(masked(line))) for line in _lines(events)],
        rows=[row for row in rows if row["kind"] != "main"],
        output=_from_collected(masked(output.decode(errors="replace")).splitlines()),
        errors=masked(errors.decode(errors="replace")).splitlines(),
        hangs=hangs,
    )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _from_collected(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if re.match(r"(collecting \.\.\. )?collected", line):
            return lines[number:]
    return lines


Differences = dict[str, list[str]]
"""The lines of a diff, by what differs: status, events, processes, reports, output, errors."""


def differences(
    suite: Suite,
    python: str = sys.executable,
    *,
    at_once: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Differences:
    """Run a suite both ways; return what differs, nothing if all is well.

    :param at_once: How many forked tests run at once. If several, the order of events is free.
    :raises ValueError: Pytest does not accept the suite.
    """
    with tempfile.TemporaryDirectory(prefix="random-suite-") as name:
        folder = Path(name).resolve()
        write(suite, folder)
        plain = run(suite, folder, forked=False, python=python)
        if plain.status == USAGE_ERROR or "Traceback (most recent call last):" in plain.errors:
            raise ValueError(plain.errors[-1])
        forked = run(
            suite,
            folder,
            forked=True,
            at_once=at_once,
            python=python,
            timeout_seconds=timeout_seconds,
        )
    if forked.hangs:
        return {"hangs": _diff(_words(plain), _words(forked))}
    found = _mixed_differences(plain, forked) if suite.mixed else _differences(plain, forked)
    if at_once > 1 and "events" in found:
        found["events"] = _missing(plain, forked)
    if writes_past_capture(suite.options) or (at_once > 1 and "-s" in suite.options):
        found.pop("output", None)
    return {what: lines for what, lines in found.items() if lines}


def _differences(plain: Told, forked: Told) -> Differences:
    plain_rows, forked_rows, otherwise = _rows(plain, forked)
    outputs = [without_namespace_of_doctests(told.output) for told in (plain, forked)]
    here = [words for pid, _, words in forked.events if pid == forked.main]
    return {
        "status": _diff([str(plain.status)], [str(forked.status)]),
        "events": _diff(_words(plain), _words(forked)),
        "processes": [f"in the pytest process: {words}" for words in here],
        "reports": _diff(plain_rows, forked_rows),
        "output": [] if otherwise else _diff(*map(without_direct_parameters, outputs)),
        "errors": _diff(plain.errors, forked.errors),
    }


def _rows(plain: Told, forked: Told) -> tuple[list[str], list[str], bool]:
    """Return the rows of both runs, and whether something was told in other words."""
    otherwise = False
    texts: tuple[list[str], list[str]] = [], []
    others = dict(_keyed(plain.rows))
    hooks = any(is_hook_of_teardown(words) for _, _, words in plain.events)
    subtests = any(row.get("context") not in (None, "None") for row in plain.rows)
    for key, row in _keyed(forked.rows):
        other = others.get(key)
        if row["kind"] == "report" and other is not None and joined_teardown(other, row):
            otherwise = True
            row["longrepr"] = other["longrepr"]
            row["sections"] = [each for each in row["sections"] if each[0] != JOINED]
        elif other is not None and shows_inner_frames(other.get("longrepr", "")):
            otherwise = True
            for each in (row, other):
                each["longrepr"] = error_lines(each["longrepr"])
    for told, text in zip((plain, forked), texts, strict=True):
        for row in told_as_the_run_ends(told.rows):
            if hooks and row.get("when") == "teardown" and "sections" in row:
                otherwise = True
                row["sections"] = sorted(row["sections"])
            if subtests and "sections" in row:
                otherwise = True
                row["sections"] = without_letters(row["sections"])
            shown = {name: value for name, value in row.items() if name != "pid"}
            text.append(f"{row['kind']} {row['where']}")
            text += [f"    {name}: {value!r}" for name, value in shown.items()]
            if row["pid"] != told.main:
                text.append("    NOT IN THE PYTEST PROCESS")
    return (*texts, otherwise)


def _keyed(rows: list[dict[str, Any]]) -> Iterator[tuple[tuple[object, ...], dict[str, Any]]]:
    """Give each row with a key: what it tells of, and how many such rows came before it."""
    seen: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        key = row["kind"], row["where"], row.get("when"), row.get("context")
        yield (*key, seen[key]), row
        seen[key] += 1


def _words(told: Told) -> list[str]:
    return [
        f"{scope}: {words}"
        for _, scope, words in told.events
        if not (scope == "hook" and is_hook_of_teardown(words))
    ]


def _missing(plain: Told, forked: Told) -> list[str]:
    """Return what did not happen as often, in whatever order; what comes after the end of a run may."""
    one, other = sorted(_words(plain)), sorted(_words(forked))
    if any(line.startswith("!!!") for line in plain.output):
        other = sorted((Counter(one) & Counter(other)).elements())
    return _diff(one, other)


def _diff(one: list[str], other: list[str]) -> list[str]:
    return list(difflib.unified_diff(one, other, "plain", "forked", lineterm="", n=4))


# --- forked and plain items in one run --------------------------------------------------------


def _mixed_differences(plain: Told, forked: Told) -> Differences:
    """Compare what is defined when broader fixtures are set up once in each kind of process."""
    return {
        "status": _diff([str(plain.status)], [str(forked.status)]),
        "events": _diff(_own_events(plain), _own_events(forked)),
        "processes": _unbalanced(forked),
        "reports": _diff(_outcomes(plain), _outcomes(forked)),
    }


def _own_events(told: Told) -> list[str]:
    return [words for _, scope, words in told.events if scope == "function"]


def _outcomes(told: Told) -> list[str]:
    return [
        f"{row['where']} {row['when']} {row['outcome']} {row['wasxfail']}"
        for row in told.rows
        if row["kind"] == "report"
    ]


def _unbalanced(told: Told) -> list[str]:
    """Name what was torn down in a process that had not set it up."""
    balance: Counter[tuple[int, str]] = Counter()
    found = []
    for pid, _, words in told.events:
        # "set up NAME of PLACE", then what it was given
        change = words.startswith("set up ") - words.startswith("tear down ")
        what = pid, " ".join(words.removeprefix("set up ").removeprefix("tear down ").split()[:3])
        balance[what] += change
        if balance[what] < 0:
            found.append(f"not set up in its process: {words}")
            balance[what] = 0
    return found
