"""All that the pytest process holds of one child: its channel, its files, what it told, how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_procrastinate.options import SETTINGS, Timeout
from pytest_procrastinate.parent.file_pool import FilePool
from pytest_procrastinate.parent.remains import NOTHING, read_remains
from pytest_procrastinate.parent.told import NOT_KEPT, Told
from pytest_procrastinate.portable import unpack
from pytest_procrastinate.process.child import ChildProcess
from pytest_procrastinate.process.ending import Cause, Ending
from pytest_procrastinate.process.frames import Decoder, FrameError
from pytest_procrastinate.process.remote import SERVER_DIED


class Attempt:
    """One try to run one item in a child; the ``result`` of the child's task.

    It alone owns what belongs to the child: the channel (in :attr:`child`) and the files. What was told
    is in :attr:`told`, what a dead child left in :attr:`remains`.

    :param finished: Called once: all that will be known of the test is known.
    :param gone: Called once, before that if need be: its child has ended.
    :param before: The attempt whose child goes on with this item: channel and files are this one's now.
    :param heard: Called with each message that is not for pytest, as it comes.
    """

    def __init__(
        self,
        item: pytest.Item,
        pool: FilePool,
        finished: Callable[[Attempt], None],
        heard: Callable[[Attempt, str, Any], None],
        gone: Callable[[Attempt], None],
        before: Attempt | None = None,
        *,
        is_last: bool = True,
    ) -> None:
        self.item = item
        self.settings = item.config.stash[SETTINGS][item]
        self.turn: int = 1 if before is None else before.turn + 1
        """Which of its child's tests it is; the first is 1."""
        self.waits_for_end = self.settings.waits_for_end and is_last
        """Whether all is known of it only when its child has ended."""

        self.told = Told(item)
        self.done = False
        """Whether the child told all it had to tell."""
        self.problem: str | None = None
        """Why what it told cannot be believed, or why there is no child."""
        self.child: ChildProcess | None = None
        self.ending: Ending | None = None
        self.remains = NOTHING
        """What the child left of the test as it died."""

        # What those that see to it note on it.
        self.slot: tuple[int, int] | None = None
        """Its numbers among the running tests and in its group, while it runs."""
        self.shows = False
        """Whether it writes to the terminal itself."""
        self.cause: Cause = ""
        """Why we end its child, if we do."""
        self.limit: Timeout | None = None
        """The limit of time that it ran into."""
        self.stages: list[str] = []
        """What was done about it, in words."""
        self.left: list[str] = []
        """What it left running or open."""
        self.refused = self.given_up = False
        """Whether there was no room for a child; whether its child was let go to make room."""
        self.outcome: str | None = None
        """What a crash counts as of a test that is run again; None: it is not."""
        self.asked_to_leave = False
        """Whether its fork server, if one is left, has been asked to leave the scopes that end with it."""
        self.leave_here: Callable[..., pytest.TestReport] | None = None
        """Tears down what plain items have set up in this process and what ends with the test."""

        if before is None:
            self.number, self.files = pool.take()
        else:
            self._take_over(before)
        self._pool = pool
        self._ended_early = False
        self._told_all = self._child_gone = self._child_goes_on = False
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
        return self.done and not self.told.failed and not self.told.stops

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
        return (
            not self.done
            and bool(self.remains.began)
            and self.child is not None
            and not self.child.pid
        )

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
        self.problem = self.told.take(name, payload)
        if self.problem is not None:
            return
        if name == "done":
            if payload == self.turn and self._told_to_the_end:
                self._end()
            else:  # of somebody's own protocol, or the test itself says so: its end will show
                self._ended_early = True
        elif name in NOT_KEPT:
            self._heard(self, name, payload)

    @property
    def _told_to_the_end(self) -> bool:
        """Whether it told what pytest's own protocol tells; a unit goes on where no phase is under way."""
        names = self.told.names
        if "pytest_runtest_logfinish" in names or "raised" in names:
            return True
        page = self.files.page
        phase, *_ = page.read()  # before it is asked whose phase: its child may go on meanwhile
        is_under_way = phase != "" and page.is_of(self.turn)
        return self.settings.scope != "function" and not is_under_way

    def _end(self) -> None:
        self.done = True
        if not self.waits_for_end:
            self._finished(self)

    def distrust(
        self, reason: str, told: list[tuple[str, Any]], untold: list[tuple[str, Any]]
    ) -> None:
        """Take the test for one that died after it had told some messages: the next makes no sense."""
        self.problem = f"what it told makes no sense: {reason}"
        self.done = False
        self.told.forget_all_but(told, untold)
        self._blame_test()

    def _blame_test(self) -> None:
        """Take the test itself for who told what cannot be believed, where no other phase is known."""
        if self.problem is not None and not self.remains.phase and not self.told.phase:
            self.remains = self.remains.died_in("call")

    def process_died(self, ending: Ending) -> None:
        """Hear how the child ended: it is reaped, its channel is drained."""
        if self.done or self.ending is not None:  # all is known already
            self._leave()
            return
        self.ending = ending.with_cause(self.cause) if self.cause else ending
        assert self.child is not None
        self.remains, untold = read_remains(self.files, self.turn)
        if self.child.error is not None:  # nothing of it can be believed, whenever it was noticed
            untold = b""
            self.remains = self.remains.died_in("setup" if self.remains.phase == "setup" else "")
        if self._had_told_all(untold, ending):
            self._leave()
            return
        self.told.forget_teardown()
        refusal = self.child.refusal
        had_begun = refusal == SERVER_DIED and self.remains.began
        if refusal is not None and not self.cause and not had_begun:
            self.refuse(refusal)
        elif self.child.error is not None and self.problem is None:
            self.problem = f"its reports cannot be read: {self.child.error}"
        if refusal is None:
            self._blame_test()
        self._gone(self)
        self._finished(self)

    def _had_told_all(self, untold: bytes, ending: Ending) -> bool:
        """Hear what a child had not sent; whether it died between its last word and its leave."""
        try:
            for message in Decoder().feed(untold):
                self.incoming_message(message)
        except FrameError:
            pass  # it died while it wrote, or wrote over it
        if self._ended_early and self.problem is None and ending.exit_status == 0:
            self._end()
        return self.done

    def refuse(self, reason: str | None) -> None:
        """Note that there was no room for a child."""
        self.refused = reason != SERVER_DIED
        self.problem = f"no child could be forked: {reason}"

    def server_died(self, ending: Ending) -> None:
        """Take the death of the fork server: the test's own, if it had begun to leave its scopes."""
        self.told.leaves = None
        if not self.done or self.files.page.pid() != ending.pid:
            return
        self.ending = ending.with_cause(self.cause) if self.cause else ending
        self.done = False
        self.remains = self.remains.died_in("teardown").with_written(self.files)
        self.told.forget_teardown()

    def die_as(self, other: Attempt) -> None:
        """Take over how another attempt died: of a fixture that this one needs as well."""
        self.ending = other.ending
        self.remains = self.remains.with_death_of(other.remains)
        self.refused = self.given_up = False
        self.problem = other.problem
        self._finished(self)

    def _leave(self) -> None:
        self._child_gone = True
        if self._told_all:
            self._give_back_files()
        if self.done:
            self._gone(self)
            if self.waits_for_end:
                self._finished(self)

    def release(self) -> None:
        """Give up the files: the test has been told. They go back when the child has left, too."""
        self._told_all = True
        if self.child is None or self.child.removable:
            self._child_gone = True
        if self._child_gone:
            self._give_back_files()

    def _give_back_files(self) -> None:
        if not self._child_goes_on:
            self._pool.give_back(self.number, self.files)
