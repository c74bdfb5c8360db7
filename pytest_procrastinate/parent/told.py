"""What has been told of one test, by its child and as its scopes were left, until pytest hears it."""

from __future__ import annotations

import reprlib
from typing import Any

import pytest

from pytest_procrastinate.messages import ends_phase, last_teardown
from pytest_procrastinate.parent.keeping import keep
from pytest_procrastinate.portable import REPEATING, Repeated, unpack_all

REPORT = "pytest_runtest_logreport"
XFAIL = {"condition", "reason", "run", "strict"}  # what a child says of a mark
NOT_KEPT = ("done", "left", "show")  # not for pytest: who runs the test sees to these at once


class Told:
    """The messages of one test, in order, and what they say."""

    def __init__(self, item: pytest.Item) -> None:
        self.messages: list[tuple[str, Any]] = []
        """Those that pytest has not heard yet."""
        self.names: set[str] = set()
        """The names of all that were told."""
        self.phase = ""
        """The last phase told."""
        self.sections: list[tuple[str, str]] = []
        """The sections of the last report told: pytest's next one would repeat them."""
        self.failed = self.stops = False
        """Whether a report failed; whether the child asked for the end of the run."""
        self.has_traceback = False
        """Whether a report shows where an exception was raised; that of an expected failure does, too."""
        self.noted: list[tuple[str, Any]] = []
        """What the test noted on itself: properties, xfail marks."""
        self.internal_error = ""
        """The traceback of pytest's own failure in the child."""
        self.leaves: bool | None = None
        """Whether shared scopes end with the test: True all, False those that the next is not in."""
        self.scope_messages: list[tuple[str, Any]] = []
        """What the fork server told as it tore these down."""
        self.warned: list[Any] = []
        """What was told of its warnings."""
        self._repeated = Repeated(
            {
                "nodeid": item.nodeid,
                "location": item.location,
                "keywords": dict.fromkeys(item.keywords, 1),
            }
        )

    def take(self, name: str, payload: Any) -> str | None:
        """Take one message of the child; return why it cannot be believed, if so.

        :raises FrameError: It has told more than can be kept.
        """
        if name in REPEATING:
            self._repeated.bring_back(payload)
        if name == REPORT and not self._note_report(payload):
            return f"not a report: {reprlib.repr(payload)}"
        if name in ("property", "xfail"):
            self._note(name, payload)
            return None
        if name == "leaves":
            self.leaves = bool(payload)
            return None
        if name == "broken":
            return self._take_internal_error(payload)
        if name == "pytest_runtest_logstart" and name in self.names and not self.phase:
            return None  # the fork server began the test, then a child began it again
        self.names.add(name)
        self.stops = self.stops or name in ("stop", "raised")
        if name not in NOT_KEPT:
            keep(self.messages, name, payload)
        return None

    def _note_report(self, payload: Any) -> bool:
        """Note what a report says; whether it is one."""
        match payload:
            case ({"when": str(phase), "outcome": outcome, "sections": [*sections]} as data, _):
                if ends_phase(payload):
                    self.phase = phase
                self.failed = self.failed or outcome == "failed"
                self.has_traceback = self.has_traceback or isinstance(data.get("longrepr"), dict)
                try:
                    self.sections = [(str(name), str(text)) for name, text in sections]
                except (TypeError, ValueError):
                    return False
        return isinstance(payload, tuple) and len(payload) == 2 and isinstance(payload[0], dict)

    def _note(self, name: str, payload: Any) -> None:
        match name, payload:
            case ("property", (str(), _)):
                keep(self.noted, name, payload)
            case ("xfail", ([*conditions], {**options})) if options.keys() <= XFAIL and not any(
                isinstance(each, str) for each in (*conditions, options.get("condition"))
            ):  # pytest would evaluate a text, and nothing that a child says is run here
                keep(self.noted, name, payload)

    def _take_internal_error(self, payload: Any) -> str:
        match payload:
            case (_, str(), int(), str(summary), str(text)):
                self.internal_error = text
                return f"pytest itself failed in the test's process: {summary}"
            case _:
                return f"not an internal error: {str(payload)[:80]!r}"

    def scope_left(self, frames: bytes) -> None:
        """Take what the fork server told as it left the test's scopes."""
        self.scope_messages = unpack_all(frames)
        self.leaves = None
        for name, payload in self.scope_messages:
            self.stops = self.stops or name in ("stop", "raised")
            if name == REPORT:
                self.failed = self.failed or payload[0].get("outcome") == "failed"

    def take_before_teardown(self) -> list[tuple[str, Any]]:
        """Take out the messages before the report of the test's own teardown."""
        position = max(0, last_teardown(self.messages))
        before, self.messages = self.messages[:position], self.messages[position:]
        return before

    def forget_teardown(self) -> None:
        """Forget that the test's own teardown passed: something came after it, and went badly."""
        names = [name for name, _ in self.messages]
        if REPORT not in names or self.phase != "teardown":
            return
        last = len(names) - 1 - names[::-1].index(REPORT)
        if self.messages[last][1][0].get("outcome") != "passed":
            return
        self.phase = "call"
        after = [
            told for told in self.messages[last + 1 :] if told[0] != "pytest_runtest_logfinish"
        ]
        self.messages[last:] = after
        self.names.discard("pytest_runtest_logfinish")

    def forget_all_but(self, told: list[tuple[str, Any]], untold: list[tuple[str, Any]]) -> None:
        """Go back to where pytest had heard some messages: the others make no sense."""
        self.names.difference_update(name for name, _ in untold)
        self.phase, self.sections = "", []
        for name, payload in told:
            if name == REPORT:
                self._note_report(payload)
