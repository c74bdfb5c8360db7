"""Tables of results that are kept in the docs."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from pathlib import Path

MARK = "<!-- table -->"


def write_table(page: Path, command: str, lines: Sequence[str]) -> None:
    """Write a table below the mark of a page, with the date, the machine and the command."""
    head, _, _ = page.read_text().partition(MARK)
    today = datetime.date.today().isoformat()
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    page.write_text(
        "\n".join([f"{head}{MARK}", f"By `{command}` on {today}, {system}.", "", *lines, ""])
    )
