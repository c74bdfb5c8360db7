"""What is told when: each test's messages, in order, whole or up to the report of its teardown."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_procrastinate.options import stop_is_found_outside
from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.parent.crash import tell_crash
from pytest_procrastinate.parent.leftovers import Leftovers
from pytest_procrastinate.parent.replay import fail_for, replay, replay_all


class Telling:
    """Tells pytest of one test after the other.

    :ivar half_told: The test that has been told in part, if any: it is told whole before the run stops.
    """

    def __init__(self, session: pytest.Session, leftovers: Leftovers) -> None:
        self.half_told: Attempt | None = None
        self._session = session
        self._leftovers = leftovers
        self.last_is_found_here = stop_is_found_outside(session.config)

    @property
    def should_stop(self) -> bool:
        """Whether the session should fail or stop."""
        return bool(self._session.shouldfail or self._session.shouldstop)

    @property
    def stops(self) -> bool:
        """Whether it stops here."""
        return self.should_stop and self.half_told is None

    def tell_so_far(self, attempt: Attempt) -> None:
        """Tell what is known of a test that still runs."""
        messages, attempt.messages = attempt.messages, []
        self._replay(attempt, messages)
        self.half_told = attempt

    def stops_with(self, attempt: Attempt) -> bool:
        """Tell a test up to the report of its teardown; return whether the run stops with it.

        That report, then, is to be merged with that of all scopes.
        """
        self._replay(attempt, attempt.take_before_teardown())
        self.half_told = attempt
        return self.should_stop

    def tell(self, attempt: Attempt) -> None:
        """Tell all of a test, and give up its files.

        :raises BaseException: What the protocol raised in the child.
        """
        try:
            if attempt.left and attempt.settings.leaks == "fail":
                attempt.messages = fail_for(attempt.left, attempt.messages)
            if any(name == "raised" for name, _ in attempt.scope_messages):
                attempt.forget_teardown()  # it was left before there was a report
            messages, attempt.messages = attempt.messages, []
            self._replay(attempt, messages)
            if not attempt.done:
                tell_crash(attempt)
            for name, payload in attempt.scope_messages:
                if name != "pytest_runtest_logreport":
                    replay(attempt.item, name, payload)
        finally:
            if self.half_told is attempt:
                self.half_told = None
            attempt.release()

    def _replay(self, attempt: Attempt, messages: list[tuple[str, Any]]) -> None:
        with self._leftovers.others_at_work():
            replay_all(attempt.item, messages, attempt.scope_messages)
