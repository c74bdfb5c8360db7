"""Run a suite whose tests leave processes, and note each by a file: ``pid-<its number>``."""

from __future__ import annotations

import os
import textwrap

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang


def run_leaving(
    pytester: pytest.Pytester, *options: str, source: str
) -> tuple[pytest.RunResult, list[int]]:
    """Return the result, and which of the noted processes outlived the run; they are killed."""
    pytester.makepyfile(test_it=textwrap.dedent(source))
    result = pytester.runpytest_subprocess("--forked", *options, timeout=TIMEOUT_SECONDS)
    left = []
    for path in pytester.path.glob("pid-*"):
        try:
            os.kill(int(path.name[4:]), 0)
        except ProcessLookupError:
            continue
        left.append(int(path.name[4:]))
        os.kill(left[-1], 9)
    return result, left
