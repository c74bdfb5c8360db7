"""Durations and sizes, as people write them."""

from __future__ import annotations

import datetime

import pytest

from pytest_procrastinate.quantities import (
    parse_duration,
    parse_jobs,
    parse_size,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1m30s", 90),
        ("1m 30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1H", 3600),
        (" 10s ", 10),
        (5, 5),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "5 parsecs", "-1", "1e3x", "s", "1m30", "nan", "inf", "9" * 400),
        *(True, -1, float("nan"), datetime.timedelta(1), [1]),
    ],
)
def test_what_is_no_duration_is_quoted_with_the_fix(text):
    with pytest.raises(ValueError, match="is not a duration; write 90 or 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("1.5G", 3 << 29),
        ("2GiB", 2 << 30),
        ("64KB", 64 << 10),
        ("100", 100),
        ("100b", 100),
        (4096, 4096),
        ("0", 0),
    ],
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-5M", "5X", "M", True, -1, "9" * 30])
def test_what_is_no_size_is_quoted_with_the_fix(text):
    with pytest.raises(ValueError, match="is not a size; write 512M or 2G"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "²", "9999"])
def test_what_is_no_number_of_jobs_is_quoted_with_the_fix(text):
    with pytest.raises(ValueError, match="is no number of jobs; write 4 or auto"):
        parse_jobs(text)


def test_quantities_are_written_for_people():
    assert [write_duration(each) for each in (0.5, 1, 90, 300)] == ["0.5 s", "1 s", "90 s", "5 min"]
    assert [write_size(each) for each in (512, 2048, 512 << 20, 3 << 29)] == [
        "512 bytes",
        "2 KiB",
        "512 MiB",
        "1.5 GiB",
    ]
