"""What a dead child left of its test, in its page and its files: read once, and kept."""

from __future__ import annotations

from typing import NamedTuple

from pytest_procrastinate.child.files import ChildFiles, read_text


class Remains(NamedTuple):
    """Where a test was as its process died, and what had been written of it and not told.

    :ivar phase: The phase it was in.
    :ivar began: When it began, in seconds of :func:`time.monotonic`; 0: it had not.
    :ivar phase_began: The same of the phase.
    :ivar fixture: The broader fixture that was being set up: name, node and index of its parameter.
    :ivar stack_text: What faulthandler wrote as the process died.
    :ivar captured: What had been captured and not told: kind and text.
    """

    phase: str = ""
    began: float = 0.0
    phase_began: float = 0.0
    fixture: tuple[str, str, str] = ("", "", "")
    stack_text: str = ""
    captured: tuple[tuple[str, str], ...] = ()

    def died_in(self, phase: str) -> Remains:
        """Return the same of a test that died in another phase."""
        return self._replace(phase=phase)

    def with_death_of(self, other: Remains) -> Remains:
        """Return the same of a test that dies of a fixture as another one died of it."""
        return self._replace(
            phase=other.phase, stack_text=other.stack_text, captured=other.captured
        )

    def with_written(self, files: ChildFiles) -> Remains:
        """Return the same with what is written in a child's files now, in place of what was read before."""
        return self._replace(
            fixture=files.page.read_note(),
            stack_text=read_text(files.faults),
            captured=(
                ("stdout", read_text(files.out) + read_text(files.held_out)),
                ("stderr", read_text(files.err) + read_text(files.held_err)),
                ("log", read_text(files.log).strip()),
            ),
        )


NOTHING = Remains()
"""Of a child that has not died, or that told all."""


def read_remains(files: ChildFiles, turn: int) -> tuple[Remains, bytes]:
    """Return what a dead child left, and the frames that it had not sent.

    :param turn: Which of the child's tests is meant: its page may still speak of one before.
    """
    phase, began, phase_began, untold = files.page.read()
    if not files.page.is_of(turn):
        return NOTHING.with_written(files), b""
    return Remains(phase, began, phase_began).with_written(files), untold
