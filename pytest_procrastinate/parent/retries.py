"""Which attempts are made again, in another child."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping
from typing import Literal

import pytest

from pytest_procrastinate.parent.attempt import Attempt
from pytest_procrastinate.process.child import ChildProcess, State
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.remote import SERVER_DIED

MAX_IN_A_ROW = 5  # fork servers that die one after the other, before that is a test's failure


class Retries:
    """Decides on each attempt that has come to nothing.

    :param keys: What is under way, with its place in the order.
    """

    def __init__(self, manager: ProcessManager, keys: Mapping[Attempt, int]) -> None:
        self._manager = manager
        self._keys = keys
        self._in_a_row: Counter[pytest.Item] = Counter()
        """How often each test was lost since the last of which anything came: one server has many."""
        self._waiting: list[Attempt] = []
        self._may_have_room = False
        self._ended = 0
        self._refused_at: dict[pytest.Item, int] = {}
        """How many children had ended when there was no room, and no child that runs to make any."""
        self._crashes: dict[pytest.Item, int] = {}
        self._lost: set[pytest.Item] = set()
        """Those that died as they began, perhaps of what another one has done to a process."""

    def when(self, attempt: Attempt) -> Literal["now", "later", "never"]:
        """Return when it is made again, as nobody has to know of it.

        Now: its child died before its turn. Later, once another child has ended: there was no room.
        One that waited for room, and died of a fixture meanwhile, waits no more.
        """
        if attempt in self._waiting:
            self._waiting.remove(attempt)
        if attempt.refused:
            return self._when_there_is_room(attempt)
        if attempt.given_up:
            self._waiting.append(attempt)
            return "later"
        lost = _came_to_nothing(attempt) or _was_taken_along(attempt)
        if lost and _may_have_begun(attempt):
            lost = attempt.item not in self._lost  # once: perhaps it was the test's own doing
            self._lost.add(attempt.item)
        if lost and self._in_a_row[attempt.item] < MAX_IN_A_ROW:
            self._in_a_row[attempt.item] += 1
            return "now"
        self._in_a_row.clear()
        return "never"

    def _when_there_is_room(self, attempt: Attempt) -> Literal["now", "later", "never"]:
        others = {each: child for each, child in self._attempts().items() if each is not attempt}
        given_up = self._give_up(attempt, others)
        if any(child.state is not State.NEW for child in others.values()):
            self._waiting.append(attempt)
            return "later"
        # What is still to be forked may itself wait for this one: it makes no room.
        again = self._refused_at.get(attempt.item) != self._ended  # those that had it have ended
        self._refused_at[attempt.item] = self._ended
        if again and given_up:  # one of them may have been forked meanwhile
            self._waiting.append(attempt)
            return "later"
        self._may_have_room = True  # those that wait for this one try again
        return "now" if again else "never"

    def _give_up(self, attempt: Attempt, others: dict[Attempt, ChildProcess]) -> bool:
        """Have others make room that come later, where none ends by itself; whether any does."""
        if any(each.at_work for each in others):
            return False
        later = [each for each in others if self._keys.get(each, -1) > self._keys[attempt]]
        for each in later:
            each.given_up = True
            self._manager.hang_up(others[each])
        return bool(later)

    def _attempts(self) -> dict[Attempt, ChildProcess]:
        children = self._manager.children.values()
        return {child.result: child for child in children if isinstance(child.result, Attempt)}

    @property
    def any_waits(self) -> bool:
        """Whether an attempt waits for room."""
        return bool(self._waiting)

    def in_turn(self, key: int | None) -> int | None:
        """Return a test that may start, unless one before it waits for room: None then.

        What the later one needs, a fork server of its own scope for one, might take the room, and keep it.
        """
        if key is None or any(self._keys[each] < key for each in self._waiting):
            return None
        return key

    def ended(self, attempt: Attempt) -> None:
        """Note that a child has ended: there may be room now."""
        if attempt.refused:
            return
        self._may_have_room = True
        if not attempt.given_up or attempt.child is None or attempt.child.pid:
            self._ended += 1

    def to_make_now(self) -> list[Attempt]:
        """Return those that waited for room."""
        if not self._waiting or not (self._may_have_room or self._all_wait_for_their_turn()):
            return []
        self._may_have_room = False
        waiting, self._waiting = self._waiting, []
        return waiting

    def _all_wait_for_their_turn(self) -> bool:
        """Whether no child will end by itself: then those that come later make room."""
        return not any(
            child.state is State.NEW or each.at_work or each.given_up
            for each, child in self._attempts().items()
        )

    def is_wanted(self, attempt: Attempt) -> bool:
        """Whether a plugin wants a test again whose child died; its outcome is noted."""
        if attempt.problem is not None or attempt.died_in_server:
            return False
        crashes = self._crashes.get(attempt.item, 0) + 1
        hook = attempt.item.ihook.pytest_forked_run_again
        attempt.outcome = hook(item=attempt.item, crashes=crashes)
        if attempt.outcome is None:
            return False
        self._crashes[attempt.item] = crashes
        return True


def _came_to_nothing(attempt: Attempt) -> bool:
    """Whether a child died before its turn came, or its fork server before it was forked."""
    child, ending, remains = attempt.child, attempt.ending, attempt.remains
    if child is None or remains.began or remains.phase or attempt.cause or attempt.told.names:
        return False
    # One that had been forked ahead may have died with its fork server, before its turn.
    if child.refusal is not None or ending is None:
        return child.refusal == SERVER_DIED
    if attempt.slot is not None and remains.stack_text:
        return False  # a crash of its own, though it has written over what it had begun
    return ending.signal is not None


def _was_taken_along(attempt: Attempt) -> bool:
    """Whether a fork server died in the midst of a test, of what another one has done to it, perhaps.

    Or above the server that the test ran below, which ends its tests then: nobody knows how.
    What has been shown is not told again, and a fixture that kills is not set up again: one that was
    set up in the server that died, not in one below it.
    """
    child, ending = attempt.child, attempt.ending
    if child is None or ending is None or attempt.cause or attempt.shows:
        return False
    if attempt.died_in_server:
        return not (attempt.remains.fixture[0] and ending.pid == attempt.files.page.pid())
    return child.is_orphan and ending.cause == "lost"


def _may_have_begun(attempt: Attempt) -> bool:
    """Whether a test had begun, or could have: its gate was open.

    Not if it may have died of its server's death, which is by SIGKILL.
    """
    if attempt.remains.began:
        return True
    ending = attempt.ending
    return attempt.slot is not None and ending is not None and ending.signal != signal.SIGKILL
