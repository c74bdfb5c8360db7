"""What is said on the terminal beside the tests: as little as possible."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def took_over_line() -> str:
    """Return the header line for those who have pytest-forked installed as well."""
    try:
        own = version("pytest-procrastinate")
    except PackageNotFoundError:
        own = "from a checkout"
    return f"forked: pytest-procrastinate {own} (in place of pytest-forked)"
