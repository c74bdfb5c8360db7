"""Suites that nobody wrote by hand: a plain and a forked run do and tell the same."""

from __future__ import annotations

import pytest

from .compare import command, compare, told
from .generate import generate
from .model import Class, Fixture, Folder, Module, Suite, Test
from .render import render
from .running import differences
from .shrink import shrink

SEEDS = 20
MIXED_SEEDS = 5
SEEDS_AT_ONCE = 12, 19, 30, 45, 49, 63, 100, 146


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_suite_does_and_tells_the_same_forked(seed):
    try:
        differ = compare(seed)
    except ValueError as error:
        pytest.skip(f"plain pytest does not get through this suite: {error}")

    assert not differ, f"{command(seed, mixed=False)}\n{told(generate(seed), differ)}"


@pytest.mark.parametrize("seed", range(MIXED_SEEDS))
def test_random_suite_of_forked_and_plain_items_has_the_outcomes_of_a_plain_run(seed):
    differ = compare(seed, mixed=True)

    suite = generate(seed, mixed=True)
    assert not differ, f"{command(seed, mixed=True)}\n{told(suite, differ)}"


@pytest.mark.parametrize("seed", SEEDS_AT_ONCE)
def test_random_suite_tells_the_same_with_two_jobs(seed):
    differ = compare(seed, at_once=2)

    assert not differ, f"{command(seed, mixed=False)}\n{told(generate(seed), differ)}"


def test_suite_is_the_same_for_the_same_seed():
    assert render(generate(1)) == render(generate(1))
    assert render(generate(1)) != render(generate(2))


def test_what_is_removed_is_left_out_wherever_it_is_named():
    suite = Suite(Folder("", modules=[Module("test_it", tests=[Test("test_one", needs=["gone"])])]))

    assert "gone" not in render(suite)["test_it.py"]


def test_shrinking_keeps_what_differs_and_nothing_else():
    suite = generate(3)

    def has_two_tests(smaller: Suite) -> bool:
        text = "".join(render(smaller).values())
        return text.count("def test_t") >= 2

    smallest_suite = shrink(suite, has_two_tests)

    assert "".join(render(smallest_suite).values()).count("def test_t") == 2
    assert "fixture" not in "".join(
        text for name, text in render(smallest_suite).items() if name.startswith("test_")
    )


def test_comparison_sees_what_only_one_run_does():
    """The forked run alone prints, skips a test and sets a fixture up."""
    only_forked = "('forked' in ' '.join(sys.argv))"
    suite = Suite(
        Folder(
            "",
            modules=[
                Module(
                    "test_it",
                    fixtures=[
                        Fixture("f0", before=[f"{only_forked} and event('module', 'only here')"])
                    ],
                    classes=[Class("TestC", tests=[Test("test_one", needs=["f0"])])],
                    tests=[Test("test_two", body=[f"{only_forked} and pytest.skip('why')"])],
                )
            ],
        )
    )

    found = differences(suite)

    assert set(found) == {"events", "reports", "output"}
    assert "+module: only here" in found["events"]
