"""What is said on the terminal beside the tests: as little as possible."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from pytest_procrastinate.pytest_private import write_to_terminal


def say(config: pytest.Config, text: str) -> None:
    """Print a line of our own, on a line of its own."""
    with write_to_terminal(config) as writer:
        if writer is None:  # an xdist worker
            print(text, file=sys.__stderr__, flush=True)
            return
        if writer.width_of_current_line:
            writer.line()
        writer.line(text)


def took_over_line() -> str:
    """Return the header line for those who have pytest-forked installed as well."""
    try:
        own = version("pytest-procrastinate")
    except PackageNotFoundError:
        own = "from a checkout"
    return f"forked: pytest-procrastinate {own} (in place of pytest-forked)"


def threads_line(names: list[str]) -> str:
    """Return what there is to say of threads that the forks left behind."""
    threads = "a thread" if len(names) == 1 else f"{len(names)} threads"
    return (
        f"forked: the pytest process had {threads} beside its own as it forked"
        f" ({', '.join(names)}): a lock that one of them held stays locked in the children"
    )


def fresh_fixtures_lines(fresh: dict[str, str]) -> list[str]:
    """Return a line for each fixture that was not shared, with the reason and the way out."""
    return [
        f"forked: each test sets up {name!r} afresh: {reason}; "
        f"to share it all the same: forked_shared_fixtures = {name}"
        for name, reason in fresh.items()
    ]
