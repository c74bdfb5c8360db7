"""Deadlines: the ladder by a clock that the test turns; no process, no waiting."""

from __future__ import annotations

import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_procrastinate.process.deadlines import Clock, Ladder, Step


class Sun:
    """The seconds that a clock is made from."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def sun() -> Sun:
    return Sun()


@pytest.fixture
def clock(sun) -> Clock:
    return Clock(sun)


def steps_at(ladder: Ladder, moments: list[float]) -> list[list[Step]]:
    return [ladder.advance(1000.0 + moment) for moment in moments]


def test_the_steps_come_in_order_each_once(clock):
    ladder = Ladder(limit_seconds=10, grace_seconds=2, clock=clock)
    assert not ladder.expired

    assert steps_at(ladder, [0, 9.9, 10, 10, 11.9, 12, 13.9, 14, 14, 1000]) == [
        [],
        [],
        [Step.STACKS, Step.RAISE],
        [],
        [],
        [Step.TERMINATE],
        [],
        [Step.KILL],
        [],
        [],
    ]
    assert ladder.expired


def test_what_is_due_next_is_known_at_every_moment(clock):
    ladder = Ladder(10, 2, clock)
    due = []
    while (moment := ladder.next_due()) is not None:
        due.append(moment - 1000)
        assert ladder.advance(moment - 0.001) == []
        assert ladder.advance(moment)

    assert due == [10, 12, 14]


def test_coming_late_shortens_no_grace(clock):
    ladder = Ladder(10, 2, clock)

    assert steps_at(ladder, [500, 501.9, 502, 900]) == [
        [Step.STACKS, Step.RAISE],
        [],
        [Step.TERMINATE],
        [Step.KILL],
    ]


def test_without_grace_each_step_still_has_its_turn(clock):
    ladder = Ladder(0, 0, clock)

    assert steps_at(ladder, [0, 0, 0, 0]) == [
        [Step.STACKS, Step.RAISE],
        [Step.TERMINATE],
        [Step.KILL],
        [],
    ]


def test_a_cancelled_ladder_takes_no_step(clock):
    ladder = Ladder(10, 2, clock)
    ladder.cancel()
    ladder.skip_to(Step.KILL)

    assert ladder.next_due() is None
    assert ladder.advance(math.inf) == []
    assert not ladder.expired


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step.RAISE, [[Step.RAISE], [Step.TERMINATE], [Step.KILL]]),
        (Step.TERMINATE, [[Step.TERMINATE], [Step.KILL], []]),
        (Step.KILL, [[Step.KILL], [], []]),
    ],
)
def test_a_step_can_be_made_due_at_once(clock, step, expected):
    ladder = Ladder(10, 2, clock)
    ladder.skip_to(step)

    assert ladder.next_due() == 1000
    assert steps_at(ladder, [0, 2, 4]) == expected


def test_a_step_that_was_taken_is_not_taken_again(clock):
    ladder = Ladder(10, 2, clock)
    ladder.advance(1010)
    ladder.advance(1012)
    ladder.skip_to(Step.STACKS)

    assert steps_at(ladder, [13, 14]) == [[], [Step.KILL]]


def test_no_time_passes_while_the_clock_is_paused(sun, clock):
    ladder = Ladder(10, 2, clock)
    sun.seconds += 9
    clock.pause()
    assert clock.paused
    sun.seconds += 100
    clock.pause()
    assert ladder.advance(clock.now()) == []
    assert clock.monotonic_at(1010) is None

    clock.resume()
    clock.resume()

    assert not clock.paused
    assert clock.now() == 1009
    assert clock.monotonic_at(1010) == 1110
    assert ladder.advance(clock.now()) == []
    sun.seconds += 1
    assert ladder.advance(clock.now()) == [Step.STACKS, Step.RAISE]


def test_a_clock_that_was_never_paused_is_the_monotonic_clock():
    before = time.monotonic()

    assert before <= Clock().now() <= time.monotonic()
    assert Clock().monotonic_at(before) == before


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_a_time_that_is_none_is_refused(clock, seconds):
    with pytest.raises(ValueError, match="are not a time to wait"):
        Ladder(seconds, 1, clock)
    with pytest.raises(ValueError, match="are not a time to wait"):
        Ladder(1, seconds, clock)


@given(
    st.floats(0, 100),
    st.floats(0, 100),
    st.lists(st.floats(0, 300), max_size=20).map(sorted),
)
def test_whenever_it_is_asked_the_steps_are_in_order_and_grace_is_given(limit, grace, moments):
    ladder = Ladder(limit, grace, Clock(lambda: 0.0))
    taken: list[tuple[Step, float]] = []
    for moment in moments:
        taken += [(step, moment) for step in ladder.advance(moment)]

    assert [step for step, _ in taken] == list(Step)[: len(taken)]
    assert all(moment >= limit for _, moment in taken)
    for (earlier, then), (_, moment) in itertools.pairwise(taken):
        if earlier is not Step.STACKS:
            assert moment >= then + grace
