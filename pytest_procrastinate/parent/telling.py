"""What is told when: each test's messages, in order, whole or up to the report of its teardown."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_procrastinate.child.run import told_exception
from pytest_procrastinate.messages import TELLING
from pytest_procrastinate.options import stop_is_found_outside
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.crash import tell_crash
from pytest_procrastinate.parent.leftovers import Leftovers
from pytest_procrastinate.parent.live_line import LiveLine
from pytest_procrastinate.parent.replay import (
    WARNING,
    NonsenseError,
    expect_failure,
    fail_for,
    replay_all,
    tell_after_scopes,
    tell_failed_scopes,
)
from pytest_procrastinate.pytest_private import (
    anything_to_tear_down,
    has_other_listeners,
    tear_down_scopes,
    tears_down_all_as_it_stops,
)


class Telling:
    """Tells pytest of one test after the other, and takes the live line off the screen before.

    :ivar half_told: The test that has been told in part, if any: it is told whole before the run stops.
    """

    def __init__(self, session: pytest.Session, leftovers: Leftovers, live_line: LiveLine) -> None:
        self.half_told: Attempt | None = None
        self._session = session
        self._leftovers = leftovers
        self._live_line = live_line
        self.last_is_found_here = stop_is_found_outside(session.config)
        self._others_listen = has_other_listeners(session.config, TELLING)

    @property
    def should_stop(self) -> bool:
        """Whether the session should fail or stop."""
        return bool(self._session.shouldfail or self._session.shouldstop)

    @property
    def stops(self) -> bool:
        """Whether it stops here."""
        return self.should_stop and self.half_told is None

    def note_scopes(self, attempt: Attempt, nextitem: pytest.Item | None) -> None:
        """Note whether scopes end with a test that plain items have set up in this process."""
        stops = (attempt.told.stops or self.should_stop) and tears_down_all_as_it_stops()
        after = None if stops else nextitem
        if anything_to_tear_down(self._session, after):
            attempt.leave_here = functools.partial(tear_down_scopes, attempt.item, after)

    def must_come_first(self, attempts: Sequence[Attempt]) -> bool:
        """Whether no test may start before these are told.

        Telling them may end the run: as a failure may (``-x``), and whatever somebody's hook makes
        of a report. Or it tears down what the next one is not to find.
        """
        return self._others_listen or any(
            not attempt.passed or attempt.leave_here is not None for attempt in attempts
        )

    def tell_so_far(self, attempt: Attempt) -> None:
        """Tell what is known of a test that still runs."""
        messages, attempt.told.messages = attempt.told.messages, []
        self._replay(attempt, messages)
        self.half_told = attempt

    def stops_with(self, attempt: Attempt) -> bool:
        """Tell a test up to the report of its teardown; return whether the run stops with it.

        That report, then, is to be merged with that of all scopes.
        """
        self._replay(attempt, attempt.told.take_before_teardown())
        self.half_told = attempt
        return self.should_stop

    def tell(self, attempt: Attempt) -> None:
        """Tell all of a test, and give up its files.

        :raises BaseException: What the protocol raised in the child.
        """
        told = attempt.told
        try:
            if attempt.left and attempt.settings.leaks == "fail":
                told.messages = fail_for(attempt.left, told.messages)
            has_marks = _mark_item(attempt)
            if attempt.leave_here is not None:
                self._replay(attempt, told.take_before_teardown())
                self._leave_scopes(attempt, attempt.leave_here)
            if has_marks:
                told.scope_messages = expect_failure(attempt.item, told.scope_messages)
            if any(name == "raised" for name, _ in told.scope_messages):
                told.forget_teardown()  # it was left before there was a report
            messages, told.messages = told.messages, []
            try:
                self._replay(attempt, messages)
                if not attempt.done:
                    with self._leftovers.others_at_work():
                        tell_crash(attempt)
            finally:  # also where the test ends the run
                with self._others_at_work():
                    if attempt.done and told.phase != "teardown":
                        tell_failed_scopes(attempt.item, told.scope_messages)
                    tell_after_scopes(attempt.item, told.scope_messages, told.warned)
        finally:
            if self.half_told is attempt:
                self.half_told = None
            attempt.release()

    def _leave_scopes(self, attempt: Attempt, leave: Callable[..., pytest.TestReport]) -> None:
        """Tear down the scopes of this process that end with a test; keep what is to be told of it."""
        config, messages = attempt.item.config, attempt.told.scope_messages

        def keep(name: str, arguments: dict[str, Any]) -> None:
            messages.append((name, TELLING[name].encode(config, arguments)))

        with self._leftovers.others_at_work():
            try:
                shown = attempt.files.page.live_log()
                report = leave(functools.partial(keep, WARNING), live_log=shown)
                keep("pytest_runtest_logreport", {"report": report})
            except (pytest.exit.Exception, KeyboardInterrupt) as error:
                messages.append(("raised", told_exception(error)))

    def _others_at_work(self) -> contextlib.AbstractContextManager[None]:
        # Mostly nobody listens: then all that appears is a test's, whenever it appears.
        work = self._leftovers.others_at_work
        return work() if self._others_listen else contextlib.nullcontext()

    def _replay(self, attempt: Attempt, messages: list[tuple[str, Any]]) -> None:
        self._live_line.erase()
        attempt.told.warned += [payload for name, payload in messages if name == WARNING]
        with self._others_at_work():
            try:
                replay_all(attempt.item, messages, attempt.told.scope_messages)
            except NonsenseError as error:
                attempt.distrust(str(error), error.told, messages[len(error.told) :])


def _mark_item(attempt: Attempt) -> bool:
    """Give an item, here, the xfail marks that its test gave itself; whether there are any."""
    marks = [what for name, what in attempt.told.noted if name == "xfail"]
    for args, kwargs in marks:
        attempt.item.add_marker(pytest.mark.xfail(*args, **kwargs))
    return bool(marks)
