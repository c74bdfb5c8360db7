"""What benchmarks/ says of two runs: nothing where they told the same, a line for each difference."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

COMPARING = Path(__file__).parent.parent / "benchmarks" / "comparing.py"

SUITE = """
import warnings
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_outcome(number):
    assert number != {number}, object()

def test_section():
    print({word!r})

def test_property(record_property):
    record_property("word", {word!r})

def test_warning():
    warnings.warn({word!r})
"""


@pytest.fixture
def told(pytester, monkeypatch):
    """Return a function that runs the suite plainly, and :mod:`comparing`."""
    # By another name: that of a module of tests/acceptance is the same.
    spec = importlib.util.spec_from_file_location("comparing_runs", COMPARING)
    comparing = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, comparing)
    spec.loader.exec_module(comparing)

    def run(**values):
        pytester.path.joinpath("test_it.py").write_text(SUITE.format(**values))
        options = ("-p", "no:pytest_procrastinate", "-p", "no:cacheprovider")
        environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        return comparing.run(sys.executable, pytester.path, options, environment=environment)

    return run, comparing


def test_what_is_told_while_os_is_patched_is_recorded(told, pytester):
    run, _comparing = told
    pytester.makeconftest(
        """
        import os
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_call(item):
            was, os.open = os.open, None
            item.addfinalizer(lambda: setattr(os, "open", was))
            return (yield)
        """
    )

    rows = run(number=1, word="one").rows

    calls = [row["nodeid"] for row in rows if row["kind"] == "report" and row["when"] == "call"]
    assert len(calls) == 5


def test_each_difference_names_the_test_and_what_differs(told):
    run, comparing = told

    found = comparing.differences(run(number=1, word="one"), run(number=2, word="other"))

    for test, what in [
        ("outcome[1]", "outcome: plain 'failed', forked 'passed'"),
        ("outcome[2]", "outcome: plain 'passed', forked 'failed'"),
        ("section", "sections"),
        ("property", "properties"),
        ("warning", "only plain"),
        ("warning", "only forked"),
    ]:
        assert [f for f in found if f.startswith(f"test_it.py::test_{test} ") and what in f]
    assert not [f for f in found if f.startswith("summary")]


def test_what_is_the_same_but_for_addresses_is_no_difference(told):
    run, comparing = told

    assert comparing.differences(run(number=1, word="one"), run(number=1, word="one")) == []


def test_another_order_is_a_difference(told):
    run, comparing = told
    plain = run(number=3, word="one")
    first, *rest = [row for row in plain.rows if row["kind"] == "start"]
    others = [row for row in plain.rows if row["kind"] != "start"]

    found = comparing.differences(
        comparing.Run(0, [first, *rest, *others], ""), comparing.Run(0, [*rest, first, *others], "")
    )

    assert len(found) == 1
    assert found[0].startswith("order: ")
