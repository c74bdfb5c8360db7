"""Each of these ends the process that runs it."""

import crashy
import pytest


def test_null_pointer():
    print("about to read through a null pointer")
    crashy.null_pointer()


def test_division_by_zero():
    crashy.divide(1, 0)


def test_abort():
    crashy.abort()


def test_double_free():
    crashy.double_free()


def test_stack_overflow():
    crashy.stack_overflow()


@pytest.fixture
def index():
    yield "index"
    crashy.double_free()


def test_crash_after_the_test(index):
    assert index == "index"


@pytest.mark.skipif(
    "not config.getoption('--forked-timeout', None)",
    reason="would never end: no time limit is set",
)
def test_endless_loop():
    # It holds the GIL: no Python code runs any more, no handler of a signal either.
    crashy.endless_loop()


def test_after_the_crashes():
    assert crashy.divide(6, 3) == 2
