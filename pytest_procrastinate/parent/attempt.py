"""All that the pytest process holds of one child: its files, its messages, how it ended."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import pytest

from pytest_procrastinate.child.files import read_text
from pytest_procrastinate.messages import ends_phase
from pytest_procrastinate.options import SETTINGS, Timeout
from pytest_procrastinate.parent.file_pool import FilePool
from pytest_procrastinate.parent.keeping import keep
from pytest_procrastinate.portable import REPEATING, Repeated, unpack, unpack_all
from pytest_procrastinate.process.child import ChildProcess
from pytest_procrastinate.process.ending import Cause, Ending
from pytest_procrastinate.process.frames import Decoder, FrameError
from pytest_procrastinate.process.remote import SERVER_DIED

XFAIL = {"condition", "reason", "run", "strict"}  # what a child says of a mark


class Attempt:
    """One try to run one item in a child; the ``result`` of the child's task.

    It alone owns what belongs to the child: the channel (in :attr:`child`) and the files.

    :param finished: Called once: all that will be known of the test is known.
    :param gone: Called once, before that if need be: its child has ended.
    :param before: The attempt whose child goes on with this item: channel and files are this one's now.
    :param heard: Called with each message as it comes; True: it was dealt with, do not keep it.
    """

    def __init__(
        self,
        item: pytest.Item,
        pool: FilePool,
        finished: Callable[[Attempt], None],
        heard: Callable[[Attempt, str, Any], bool],
        gone: Callable[[Attempt], None],
        before: Attempt | None = None,
        *,
        is_last: bool = True,
    ) -> None:
        self.item = item
        self.messages: list[tuple[str, Any]] = []
        self.child: ChildProcess | None = None
        self.ending: Ending | None = None
        self.told_phase = ""
        """The last phase told."""
        self.sections: list[tuple[str, str]] = []
        """The sections of the last report told: pytest's next one would repeat them."""
        self.failed = self.stops = False
        """Whether a report failed; whether the child asked for the end of the run."""
        self.has_traceback = False
        """Whether a report shows where an exception was raised; that of an expected failure does, too."""
        self.told: set[str] = set()
        """The names of what was told."""
        self.leaves: bool | None = None
        """Whether shared scopes end with the test: True all, False those that the next is not in."""
        self.noted: list[tuple[str, Any]] = []
        """What the test noted on itself: properties, xfail marks."""
        self.asked_to_leave = False
        self.scope_messages: list[tuple[str, Any]] = []
        """What the fork server told as it tore these down."""
        self.warned: list[Any] = []
        """What was told of its warnings."""
        self.leave_here: Callable[..., pytest.TestReport] | None = None
        """Tears down what plain items have set up in this process and what ends with the test."""
        self.outcome: str | None = None
        """What a crash counts as of a test that is run again; None: it is not."""
        self.done = False
        """Whether the child told all it had to tell."""
        self.problem: str | None = None
        """Why what it told cannot be believed, or why there is no child."""
        self.internal_error = ""
        """The traceback of pytest's own failure in the child."""
        self.refused = self.given_up = False
        """Whether there was no room for a child; whether its child was let go to make room."""
        self.phase = ""
        """The phase a dead child was in."""
        self.began = self.phase_began = 0.0
        self.stack_text = ""
        """What faulthandler wrote as the process died."""
        self.captured: list[tuple[str, str]] = []
        """What had been captured and not told: kind and text."""
        self.fixture = ("", "", "")
        """The broader fixture that was being set up: name, node and index of its parameter."""
        self._told_all = self._child_gone = False
        self._repeated = Repeated(
            {
                "nodeid": item.nodeid,
                "location": item.location,
                "keywords": dict.fromkeys(item.keywords, 1),
            }
        )
        self.cause: Cause = ""
        """Why we end its child, if we do."""
        self.limit: Timeout | None = None
        """The limit of time that it ran into."""
        self.settings = item.config.stash[SETTINGS][item]
        self.waits_for_end = self.settings.waits_for_end and is_last
        """Whether all is known of it only when its child has ended."""
        self.slot: tuple[int, int] | None = None
        """Its numbers among the running tests and in its group, while it runs."""
        self.shows = False
        """Whether it writes to the terminal itself."""
        self.left: list[str] = []
        """What it left running or open."""
        self.stages: list[str] = []
        """What was done about it, in words."""
        self._child_goes_on = self._ended_early = False
        self.turn: int = 1 if before is None else before.turn + 1
        """Which of its child's tests it is; the first is 1."""
        if before is None:
            self.number, self.files = pool.take()
        else:
            self._take_over(before)
        self._pool = pool
        self._finished = finished
        self._heard = heard
        self._gone = gone

    def _take_over(self, before: Attempt) -> None:
        assert before.child is not None
        self.number, self.files, self.child = before.number, before.files, before.child
        self.child.result = self
        before._child_goes_on = True

    @property
    def passed(self) -> bool:
        """Whether all is known and nothing of it may end the run."""
        return self.done and not self.failed and not self.stops

    @property
    def child_ended(self) -> bool:
        """Whether its child is gone: it goes on with no other test."""
        return self.child is None or self.child.removable

    @property
    def at_work(self) -> bool:
        """Whether its child ends by itself: it runs the test, or leaves; it does not wait for its turn."""
        return self.slot is not None or self.done

    @property
    def died_in_server(self) -> bool:
        """Whether it died with the fork server that set up a broader fixture for it."""
        return not self.done and bool(self.began) and self.child is not None and not self.child.pid

    def incoming_message(self, message: object) -> None:
        """Hear the child.

        :raises FrameError: It has told more than can be kept.
        """
        if self.done or self.problem is not None:
            return
        try:
            name, payload = unpack(message)
        except ValueError as error:
            self.problem = str(error)
            return
        if self._ended_early:
            self.problem = "it told that its test was over, and went on"
            return
        if name in REPEATING:
            self._repeated.bring_back(payload)
        if name == "pytest_runtest_logreport" and not self._note_report(payload):
            self.problem = f"not a report: {reprlib.repr(payload)}"
            return
        if name in ("property", "xfail"):
            self._note(name, payload)
            return
        if name == "leaves":
            self.leaves = bool(payload)
            return
        if name == "broken":
            self._take_internal_error(payload)
            return
        if name == "pytest_runtest_logstart" and name in self.told and not self.told_phase:
            return  # the fork server began the test, then a child began it again
        self.told.add(name)
        self.stops = self.stops or name in ("stop", "raised")
        if name == "done":
            if payload == self.turn and self._told_to_the_end:
                self._end()
            else:  # of somebody's own protocol, or the test itself says so: its end will show
                self._ended_early = True
        elif not self._heard(self, name, payload):
            keep(self.messages, name, payload)

    def _take_internal_error(self, payload: Any) -> None:
        match payload:
            case (_, str(), int(), str(summary), str(text)):
                self.problem = f"pytest itself failed in the test's process: {summary}"
                self.internal_error = text
            case _:
                self.problem = f"not an internal error: {str(payload)[:80]!r}"

    @property
    def _told_to_the_end(self) -> bool:
        """Whether it told what pytest's own protocol tells; a unit goes on where no phase is under way."""
        if "pytest_runtest_logfinish" in self.told or "raised" in self.told:
            return True
        page = self.files.page
        is_under_way = page.is_of(self.turn) and page.read()[0] != ""
        return self.settings.scope != "function" and not is_under_way

    def _end(self) -> None:
        self.done = True
        if not self.waits_for_end:
            self._finished(self)

    def _note(self, name: str, payload: Any) -> None:
        match name, payload:
            case ("property", (str(), _)):
                keep(self.noted, name, payload)
            case ("xfail", ([*conditions], {**options})) if options.keys() <= XFAIL and not any(
                isinstance(each, str) for each in (*conditions, options.get("condition"))
            ):  # pytest would evaluate a text, and nothing that a child says is run here
                keep(self.noted, name, payload)

    def distrust(
        self, reason: str, told: list[tuple[str, Any]], untold: list[tuple[str, Any]]
    ) -> None:
        """Take the test for one that died after it had told some messages: the next makes no sense."""
        self.problem = f"what it told makes no sense: {reason}"
        self.done = False
        self.told.difference_update(name for name, _ in untold)
        self.told_phase, self.sections = "", []
        for name, payload in told:
            if name == "pytest_runtest_logreport":
                self._note_report(payload)
        self._blame_test()

    def _blame_test(self) -> None:
        """Take the test itself for who told what cannot be believed, where no other phase is known."""
        if self.problem is not None and not self.phase and not self.told_phase:
            self.phase = "call"

    def _note_report(self, payload: Any) -> bool:
        """Note what a report says; whether it is one."""
        match payload:
            case ({"when": str(phase), "outcome": outcome, "sections": [*sections]} as data, _):
                if ends_phase(payload):
                    self.told_phase = phase
                self.failed = self.failed or outcome == "failed"
                self.has_traceback = self.has_traceback or isinstance(data.get("longrepr"), dict)
                try:
                    self.sections = [(str(name), str(text)) for name, text in sections]
                except (TypeError, ValueError):
                    return False
        return isinstance(payload, tuple) and len(payload) == 2 and isinstance(payload[0], dict)

    def process_died(self, ending: Ending) -> None:
        """Hear how the child ended: it is reaped, its channel is drained."""
        if self.done or self.ending is not None:  # all is known already
            self._leave(ending)
            return
        self.ending = ending.with_cause(self.cause) if self.cause else ending
        assert self.child is not None
        self.phase, self.began, self.phase_began, untold = self.files.page.read()
        self._read_files()
        if not self.files.page.is_of(self.turn):  # the page still speaks of a test before
            self.phase, self.began, self.phase_began, untold = "", 0.0, 0.0, b""
        if self.child.error is not None:  # nothing of it can be believed, whenever it was noticed
            untold = b""
            self.phase = self.phase if self.phase == "setup" else ""
        try:
            for message in Decoder().feed(untold):
                self.incoming_message(message)
        except FrameError:
            pass  # it died while it wrote, or wrote over it
        if self._ended_early and self.problem is None and ending.exit_status == 0:
            self._end()
        if self._is_done():  # it died between its last word and its leave
            self._leave(ending)
            return
        self.forget_teardown()
        refusal = self.child.refusal
        if refusal is not None and not self.cause and (refusal != SERVER_DIED or not self.began):
            self.refuse(refusal)
        elif self.child.error is not None and self.problem is None:
            self.problem = f"its reports cannot be read: {self.child.error}"
        if refusal is None:
            self._blame_test()
        self._gone(self)
        self._finished(self)

    def refuse(self, reason: str | None) -> None:
        """Note that there was no room for a child."""
        self.refused = reason != SERVER_DIED
        self.problem = f"no child could be forked: {reason}"

    def _is_done(self) -> bool:
        return self.done

    def scope_left(self, frames: bytes) -> None:
        """Take what the fork server told as it left the test's scopes."""
        self.scope_messages = unpack_all(frames)
        self.leaves = None
        for name, payload in self.scope_messages:
            self.stops = self.stops or name in ("stop", "raised")
            if name == "pytest_runtest_logreport":
                self.failed = self.failed or payload[0].get("outcome") == "failed"

    def server_died(self, ending: Ending) -> None:
        """Take the death of the fork server: the test's own, if it had begun to leave its scopes."""
        self.leaves = None
        if not self.done or self.files.page.pid() != ending.pid:
            return
        self.ending = ending.with_cause(self.cause) if self.cause else ending
        self.done = False
        self.phase = "teardown"
        self._read_files()
        self.forget_teardown()

    def take_before_teardown(self) -> list[tuple[str, Any]]:
        """Take out the messages before the report of the test's own teardown."""
        for position, (name, payload) in enumerate(self.messages):
            if name == "pytest_runtest_logreport" and payload[0].get("when") == "teardown":
                before, self.messages = self.messages[:position], self.messages[position:]
                return before
        return []

    def forget_teardown(self) -> None:
        """Forget that the test's own teardown passed: something came after it, and went badly."""
        names = [name for name, _ in self.messages]
        if "pytest_runtest_logreport" not in names or self.told_phase != "teardown":
            return
        last = len(names) - 1 - names[::-1].index("pytest_runtest_logreport")
        if self.messages[last][1][0].get("outcome") != "passed":
            return
        self.told_phase = "call"
        after = [
            told for told in self.messages[last + 1 :] if told[0] != "pytest_runtest_logfinish"
        ]
        self.messages[last:] = after
        self.told.discard("pytest_runtest_logfinish")

    def die_as(self, other: Attempt) -> None:
        """Take over how another attempt died: of a fixture that this one needs as well."""
        self.ending, self.phase, self.stack_text = other.ending, other.phase, other.stack_text
        self.captured = list(other.captured)
        self.refused = self.given_up = False
        self.problem = other.problem
        self._finished(self)

    def _read_files(self) -> None:
        files = self.files
        self.fixture = files.page.read_note()
        self.stack_text = read_text(files.faults)
        self.captured = [
            ("stdout", read_text(files.out) + read_text(files.held_out)),
            ("stderr", read_text(files.err) + read_text(files.held_err)),
            ("log", read_text(files.log).strip()),
        ]

    def _leave(self, ending: Ending) -> None:
        self._child_left()
        if self.done:
            self._gone(self)
            if self.waits_for_end:
                self._finished(self)

    def _child_left(self) -> None:
        self._child_gone = True
        self._release_if_over()

    def release(self) -> None:
        """Give up the files: the test has been told. They go back when the child has left, too."""
        self._told_all = True
        if self.child is None or self.child.removable:
            self._child_gone = True
        self._release_if_over()

    def _release_if_over(self) -> None:
        if self._told_all and self._child_gone and not self._child_goes_on:
            self._pool.give_back(self.number, self.files)
