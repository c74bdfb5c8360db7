"""Tests that pass by dying: ``@pytest.mark.dies``."""

from __future__ import annotations

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang


@pytest.mark.parametrize(
    ("mark", "body", "outcome", "told"),
    [
        ("signal='SIGABRT'", "os.abort()", "passed", None),
        ("'abrt'", "os.abort()", "passed", None),
        ("signal=6", "os.abort()", "passed", None),
        ("", "os.abort()", "passed", None),
        ("exitcode=3", "os._exit(3)", "passed", None),
        ("exitcode=0", "os._exit(0)", "passed", None),
        ("exitcode=3, match='b.e'", "os.write(2, b'bye'); os._exit(3)", "passed", None),
        (
            "exitcode=3, match=re.compile('BYE', re.I)",
            "os.write(2, b'bye'); os._exit(3)",
            "passed",
            None,
        ),
        ("signal='SIGSEGV'", "os.abort()", "failed", "expects death by SIGSEGV"),
        ("exitcode=3", "os._exit(4)", "failed", "expects exit code 3"),
        ("exitcode=3, match='b.e'", "os._exit(3)", "failed", "expects 'b.e' on stderr"),
        ("signal='SIGABRT'", "pass", "failed", "did not die: death by SIGABRT was expected"),
        ("signal='SIGABRT'", "1 / 0", "failed", "ZeroDivisionError"),
        ("signal='SIGABRT'", "pytest.skip('no')", "skipped", None),
        (
            "signal='SIGTERM'",
            "itertools.count().__class__; sum(itertools.repeat(0))",
            "failed",
            "timeout",
        ),
    ],
)
def test_a_test_passes_only_by_the_death_that_it_expects(pytester, mark, body, outcome, told):
    pytester.makepyfile(
        f"""
        import itertools, os, pytest, re

        @pytest.mark.dies({mark})
        @pytest.mark.forked(timeout=2)
        def test_it():
            {body}

        def test_here(): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked-grace=0.5", timeout=TIMEOUT_SECONDS)

    counts = {"passed": 1}
    counts[outcome] = counts.get(outcome, 0) + 1
    result.assert_outcomes(**counts)
    if told is not None:
        result.stdout.fnmatch_lines([f"*{told}*"])


def test_without_forking_it_is_skipped(pytester):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.dies
        def test_it(): os.abort()
        """
    )

    pytester.runpytest_subprocess("--no-forked", timeout=TIMEOUT_SECONDS).assert_outcomes(skipped=1)


def test_a_pattern_for_bytes_is_a_usage_error(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.dies(match=b"no text")
        def test_it(): pass
        """
    )

    result = pytester.runpytest_subprocess(timeout=TIMEOUT_SECONDS)

    result.stderr.fnmatch_lines(["ERROR: *::test_it: dies(): match=b'no text' is no pattern: *"])
