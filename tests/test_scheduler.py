"""The scheduler: what is forked, started and told next."""

from __future__ import annotations

import pytest

from pytest_procrastinate.scheduler import Scheduler
from pytest_procrastinate.strategy import Throttled


def make(count, jobs=1, **options):
    return Scheduler(count, Throttled(jobs), jobs, **options)


def advance(scheduler):
    """Fork and start all that may be now; return what was forked and what was started."""
    forked, started = [], []
    while True:
        if (key := scheduler.to_start()) is not None:
            scheduler.started(key)
            started.append(key)
        elif (key := scheduler.to_fork()) is not None:
            scheduler.forked(key)
            forked.append(key)
        else:
            return forked, started


def test_a_stretch_without_tests_is_done():
    scheduler = make(0)

    assert scheduler.done
    assert (scheduler.to_fork(), scheduler.to_start(), scheduler.to_tell()) == (None, None, None)


def test_one_job_runs_one_test_and_prepares_the_next():
    scheduler = make(3)

    assert advance(scheduler) == ([0, 1], [0])
    assert scheduler.outstanding == [0, 1]
    scheduler.finished(0)
    assert advance(scheduler) == ([2], [1])


@pytest.mark.parametrize("jobs", [2, 3])
def test_as_many_run_as_there_are_jobs_and_as_many_are_prepared(jobs):
    scheduler = make(10, jobs)

    assert advance(scheduler) == ([*range(2 * jobs)], [*range(jobs)])


def test_a_test_starts_only_after_it_was_forked_and_in_order():
    scheduler = make(2, 2)

    assert scheduler.to_start() is None
    scheduler.forked(0)
    assert scheduler.to_start() == 0
    with pytest.raises(AssertionError):
        scheduler.started(1)
    with pytest.raises(AssertionError):
        scheduler.forked(0)


def test_results_are_told_in_order_whatever_finishes_first():
    scheduler = make(3, 3)
    advance(scheduler)

    scheduler.finished(2)
    assert scheduler.to_tell() is None
    scheduler.finished(0)
    assert scheduler.to_tell() == 0
    scheduler.told(0)
    assert scheduler.to_tell() is None
    assert scheduler.next_to_tell == 1
    scheduler.finished(1)
    for key in (1, 2):
        assert scheduler.to_tell() == key
        scheduler.told(key)
    assert scheduler.done


def test_a_result_cannot_be_told_out_of_turn():
    scheduler = make(2, 2)
    advance(scheduler)
    scheduler.finished(1)

    with pytest.raises(AssertionError):
        scheduler.told(1)


def test_a_test_that_never_started_counts_as_well():
    scheduler = make(2)
    scheduler.forked(0)

    scheduler.finished(0)

    assert scheduler.to_tell() == 0
    assert not scheduler.is_started(0)
    assert advance(scheduler) == ([1], [1])


def test_one_that_will_never_start_is_passed_over_once_it_is_its_turn():
    scheduler = Scheduler(4, Throttled(1), ahead=3)
    for key in range(3):
        scheduler.forked(key)

    scheduler.finished(1)
    assert scheduler.to_start() == 0
    scheduler.started(0)
    scheduler.finished(0)

    assert scheduler.to_start() == 2
    for key in (0, 1):
        assert scheduler.to_tell() == key
        scheduler.told(key)


def test_a_started_test_is_started_until_it_has_finished():
    scheduler = make(1)
    scheduler.forked(0)

    assert not scheduler.is_started(0)
    scheduler.started(0)
    assert scheduler.is_started(0)
    scheduler.finished(0)
    assert not scheduler.is_started(0)


def test_what_may_not_run_beside_others_waits_and_holds_up_those_after_it():
    asked = []

    def may_run(key, running):
        asked.append((key, sorted(running)))
        return key != 1 or not running

    scheduler = make(3, 2, may_run=may_run)

    assert advance(scheduler)[1] == [0]
    assert (1, [0]) in asked
    scheduler.finished(0)
    assert advance(scheduler)[1] == [1, 2]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_a_whole_stretch_forks_starts_and_tells_each_test_once(jobs):
    scheduler = make(20, jobs)
    running, forked, started, told = [], [], [], []

    while not scheduler.done:
        more_forked, more_started = advance(scheduler)
        forked += more_forked
        started += more_started
        running += more_started
        assert len(running) <= jobs
        scheduler.finished(running.pop())  # the last first: an order that nobody hopes for
        while (key := scheduler.to_tell()) is not None:
            scheduler.told(key)
            told.append(key)

    assert forked == started == told == [*range(20)]
    assert scheduler.outstanding == []


def test_who_may_not_run_yet_is_passed_by_those_of_its_block():
    def may_run(key, running):
        return key not in (1, 2) or not {1, 2} & set(running)

    scheduler = make(6, 2, may_run=may_run, blocks=[0, 1, 1, 1, 1, 2])
    assert advance(scheduler)[1] == [0, 1]

    scheduler.finished(0)
    assert advance(scheduler)[1] == [3]
    scheduler.finished(3)
    assert advance(scheduler)[1] == [4]
    scheduler.finished(4)
    assert advance(scheduler)[1] == []  # 5 is of another block
    scheduler.finished(1)
    assert advance(scheduler)[1] == [2, 5]


def test_tests_start_in_the_order_asked_for_and_are_told_in_their_own():
    scheduler = make(4, 1, order=[0, 3, 1, 2])
    started, told = [], []

    while not scheduler.done:
        started += (now := advance(scheduler)[1])
        scheduler.finished(*now)
        while (key := scheduler.to_tell()) is not None:
            scheduler.told(key)
            told.append(key)

    assert (started, told) == ([0, 3, 1, 2], [0, 1, 2, 3])
