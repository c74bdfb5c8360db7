"""How a test is expected to end: ``@pytest.mark.dies(signal=..., exitcode=..., match=...)``."""

from __future__ import annotations

import difflib
import re
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from pytest_procrastinate.process.ending import Ending

DIES_KEYWORDS = ("signal", "exitcode", "match")


class Dies(NamedTuple):
    """How a test is expected to end: ``dies(...)``. Neither signal nor exit code: any death."""

    signal: int | None = None
    exitcode: int | None = None
    match: re.Pattern[str] | None = None

    def describe(self) -> str:
        """Return how it is to end: ``death by SIGABRT``."""
        if self.signal is not None:
            # Here: most runs expect no death, and each run of pytest reads this module.
            from pytest_procrastinate.process.ending import name_signal

            return f"death by {name_signal(self.signal)}"
        return "death" if self.exitcode is None else f"exit code {self.exitcode}"

    def is_met_by(self, ending: Ending) -> bool:
        """Whether a child ended so, by itself."""
        if ending.cause:
            return False
        if self.signal is not None:
            return ending.signal == self.signal
        if self.exitcode is not None:
            return ending.exit_status == self.exitcode
        return ending.signal is not None or ending.exit_status is not None


def dies_of(item: pytest.Item) -> Dies | None:
    """Return what an item's mark expects; None without one.

    :raises pytest.UsageError: The mark is used wrongly; names the item and the fix.
    """
    mark = item.get_closest_marker("dies")
    if mark is None:
        return None
    where = f"{item.nodeid}: dies()"
    for keyword in mark.kwargs:
        if keyword not in DIES_KEYWORDS:
            raise pytest.UsageError(
                f"{where} has no keyword {keyword!r}{keyword_hint(keyword, DIES_KEYWORDS)}"
            )
    if len(mark.args) > 1 or (mark.args and "signal" in mark.kwargs):
        raise pytest.UsageError(f'{where} takes one signal; write dies(signal="SIGABRT")')
    signum = mark.args[0] if mark.args else mark.kwargs.get("signal")
    exitcode = mark.kwargs.get("exitcode")
    if signum is not None and exitcode is not None:
        raise pytest.UsageError(f"{where} takes signal or exitcode, not both")
    if exitcode is not None and (type(exitcode) is not int or not 0 <= exitcode <= 255):
        raise pytest.UsageError(f"{where}: {exitcode!r} is not an exit code; write 0 to 255")
    match = mark.kwargs.get("match")
    return Dies(
        None if signum is None else _signal_number(signum, where),
        exitcode,
        None if match is None else _pattern(match, where),
    )


def _pattern(value: Any, where: str) -> re.Pattern[str]:
    try:
        pattern: re.Pattern[str] = re.compile(value)
        pattern.search("")
    except (re.error, TypeError) as error:
        raise pytest.UsageError(f"{where}: match={value!r} is no pattern: {error}") from error
    return pattern


def _signal_number(value: object, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value in signal.valid_signals():
        return int(value)
    if isinstance(value, str):
        name = value.upper()
        found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
        if isinstance(found, signal.Signals):
            return int(found)
        names = [each.name for each in signal.Signals]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else "write 'SIGABRT'"
    else:
        hint = "write 'SIGABRT'"
    raise pytest.UsageError(f"{where}: {value!r} is not a signal; {hint}")


def keyword_hint(keyword: str, keywords: tuple[str, ...]) -> str:
    """Return what to write in place of a keyword that a mark does not have."""
    close = difflib.get_close_matches(keyword, keywords, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(keywords)}"
