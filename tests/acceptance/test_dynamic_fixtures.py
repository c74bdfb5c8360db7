"""Shared fixtures that ask for others as they run, by ``request.getfixturevalue``."""

from __future__ import annotations

import os

import pytest
from comparing import compare, forked, plain

ASKING = """
import noting, pytest, socket

@pytest.fixture(scope="session")
def base():
    noting.note("up", "base")
    yield
    noting.note("down", "base")

@pytest.fixture(scope="session")
def opened():
    noting.note("up", "opened")
    with socket.socket() as sock:
        yield sock
    noting.note("down", "opened")

@pytest.fixture(scope="session")
def asking(request, base):
    noting.note("up", "asking")
    request.addfinalizer(lambda: noting.note("down", "asking"))
    request.getfixturevalue("opened")
    noting.note("goes on", "asking")

@pytest.fixture(scope="session")
def asking_again(request):
    noting.note("up", "asking again")
    request.getfixturevalue("asking")
    yield
    noting.note("down", "asking again")

@pytest.fixture(scope="module")
def beside():
    noting.note("up", "beside")
    yield
    noting.note("down", "beside")

def test_one(asking_again, beside): noting.note("run", "one")
def test_two(asking_again, beside): noting.note("run", "two")
def test_three(beside): noting.note("run", "three")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_asks_for_a_fixture_that_is_not_shared_is_set_up_in_each_child(pytester, jobs):
    """In full: none of it has begun in the fork server. What else there is is set up once."""
    pytester.makepyfile(ASKING)

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(passed=3)
    children = told.noted("run")
    pids = [pid for pid, _ in children]
    assert sorted(f"{word} {name}" for pid, word, name in told.notes if pid not in pids) == [
        "down asking",  # begun once, to find out
        "down base",
        "down beside",
        "down opened",
        "up asking",
        "up asking again",
        "up base",
        "up beside",
        "up opened",
    ]
    for child, name in children:
        in_child = [" ".join(rest) for pid, *rest in told.notes if pid == child]
        if name == "three":
            assert in_child == ["run three"]
        else:
            assert in_child == [
                "up asking again",
                "up asking",
                "up opened",
                "goes on asking",
                f"run {name}",
                "down asking again",
                "down asking",
                "down opened",
            ]


BROADER = """
import noting, pytest

@pytest.fixture(scope="session")
def base(): noting.note("up base")

@pytest.fixture(scope="module")
def broader():
    noting.note("up broader")
    yield
    noting.note("down broader")

@pytest.fixture(scope="class")
def asking(request, base):
    noting.note("up asking")
    (lambda: request.getfixturevalue("broader"))()
    yield
    noting.note("down asking")

class TestOne:
    def test_one(self, asking): noting.note("one")
    def test_two(self, asking): noting.note("two")

class TestOther:
    def test_three(self, asking): noting.note("three")

def test_four(broader): noting.note("four")
"""


def test_what_a_fixture_of_a_class_asks_for_as_it_runs_is_set_up_once_for_its_module(pytester):
    pytester.makepyfile(BROADER)

    one, other = plain(pytester), forked(pytester)

    other.result.assert_outcomes(passed=4)
    assert [rest for _, *rest in other.notes] == [rest for _, *rest in one.notes]


def test_a_fixture_may_ask_for_what_there_is_not(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def asking(request):
            try:
                return request.getfixturevalue("nowhere")
            except pytest.FixtureLookupError:
                return "nothing"

        def test_one(asking): assert asking == "nothing"
        def test_two(asking): assert asking == "nothing"
        """
    )

    compare(pytester)
