"""What the live line says, in how much room."""

from __future__ import annotations

import pytest

from pytest_procrastinate.parent.live_line import live_text


@pytest.mark.parametrize(
    ("running", "slow", "columns", "line"),
    [
        (1, {"test_a.py::test_one": 3}, 79, "1/9, running: test_a.py::test_one 3 s"),
        (
            4,
            {"test_a.py::test_one": 31, "test_b.py::test_two": 12},
            79,
            "1/9, 4 running: test_a.py::test_one 31 s, test_b.py::test_two 12 s",
        ),
        (
            4,
            {"test_a.py::test_one": 31, "test_b.py::test_long_name": 12, "b.py::test_c": 2},
            60,
            "1/9, 4 running: test_a.py::test_one 31 s, b.py::test_c 2 s",
        ),
        (1, {"test_a.py::test_one": 3}, 28, "1/9, running: …:test_one 3 s"),
        (1, {"test_a.py::test_one": 3}, 16, "1/9, running: … "),
        (1, {"test_a.py::test_one": 3}, 3, "1/9"),
        (1, {"test_a.py::test_木木木木": 3}, 30, "1/9, running: …st_木木木木 3 s"),
        (1, {"a.py::test_c[\x1b[J\n]": 3}, 79, "1/9, running: a.py::test_c[?[J?] 3 s"),
    ],
)
def test_the_line_has_what_fits_and_the_slowest_test_first(running, slow, columns, line):
    assert live_text("1/9", running, slow, columns) == line
