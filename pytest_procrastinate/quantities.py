"""Durations and sizes as people write them: ``90``, ``1m30s``, ``500ms``; ``512M``, ``2GiB``."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|sec|s|min|m|h|d)\s*", re.IGNORECASE)
_BYTES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)

MOST_JOBS = 999  # more is a slip; each has descriptors of its own
LONGEST_SECONDS = 10 * 365 * 86400.0  # more is a slip, and overflows timers


def parse_duration(text: str | int | float) -> float:
    """Return seconds: of a number, or of text such as ``90``, ``1.5``, ``1m30s``, ``500ms``.

    :raises ValueError: It is no duration; the text says how to write one.
    """
    hint = f"{text!r} is not a duration; write 90 or 1m30s"
    if isinstance(text, bool):
        raise ValueError(hint)
    seconds = float(text) if isinstance(text, (int, float)) else _seconds(str(text).strip(), hint)
    if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(hint)
    return seconds


def _seconds(text: str, hint: str) -> float:
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text, re.ASCII):
        return float(text)
    seconds, position = 0.0, 0
    while match := _DURATION_PART.match(text, position):
        seconds += float(match[1]) * _SECONDS[match[2].lower()]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(hint)
    return seconds


def parse_size(text: str | int) -> int:
    """Return bytes: of a number, or of text such as ``512M``, ``2GiB``; a K is 1024.

    :raises ValueError: It is no size; the text says how to write one.
    """
    hint = f"{text!r} is not a size; write 512M or 2G"
    if isinstance(text, bool):
        raise ValueError(hint)
    if isinstance(text, int):
        size = text
    else:
        match = _SIZE.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(hint)
        size = int(float(match[1]) * (1 << _BYTES[match[2].lower()]))
    if not 0 <= size < 1 << 62:
        raise ValueError(hint)
    return size


def parse_memory_limit(text: str | int) -> int:
    """Return bytes, as :func:`parse_size`.

    :raises ValueError: It is no size, or no child could set it: see :meth:`.Limits.set_here`.
    """
    size = parse_size(text)
    if not size:
        return size
    # Here, as below: most runs ask for neither, and each run of pytest reads this module.
    from pytest_procrastinate.process.limits import data_bytes

    try:
        data_bytes()
    except OSError as error:
        raise ValueError(f"no limit of memory can be set here: {error}") from error
    return size


def parse_jobs(text: str | int) -> int:
    """Return how many tests run at once: a number, or ``auto`` for one on each usable CPU.

    :raises ValueError: It is neither; the text says how to write one.
    """
    if text == "auto":
        from pytest_procrastinate.strategy import available_cpus

        return available_cpus()
    if not str(text).isdecimal() or not 1 <= int(text) <= MOST_JOBS:
        raise ValueError(f"{str(text)!r} is no number of jobs; write 4 or auto")
    return int(text)


def write_duration(seconds: float) -> str:
    """Return a duration for a sentence: ``0.5 s``, ``90 s``, ``5 min``."""
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g} min"
    return f"{seconds:g} s"


def write_size(size: int) -> str:
    """Return a size for a sentence: ``512 MiB``."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size} bytes"
