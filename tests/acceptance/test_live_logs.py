"""Live logs (``log_cli``) of a test and of the scopes that end with it: one teardown, one heading."""

from __future__ import annotations

import pytest
from comparing import assert_same, forked, plain

FIXTURES = """
import logging, pytest

def logging_twice(name):
    def fixture():
        logging.warning("%s begins", name)
        yield
        logging.warning("%s ends", name)
    return fixture

session = pytest.fixture(scope="session")(logging_twice("session"))
"""
TESTS = """
module = pytest.fixture(scope="module")(logging_twice("module"))
own = pytest.fixture(logging_twice("own"))

def test_a(session, module): pass
def test_b(own): pass
def test_c(own, module): logging.warning("called")
"""
QUIET_AT_LAST = TESTS + "def test_d(module): pass\n"
LOUD_IN_CALL = TESTS + 'def test_d(module): logging.warning("called")\n'


@pytest.mark.parametrize("args", [[], ["-v", "-s"], ["--forked-jobs=2"]], ids=" ".join)
def test_live_logs_of_a_teardown_are_shown_as_in_a_plain_run(pytester, args):
    pytester.makeconftest(FIXTURES)
    head = "from conftest import *\n"
    pytester.makepyfile(
        test_one=head + TESTS, test_two=head + QUIET_AT_LAST, test_z=head + LOUD_IN_CALL
    )
    pytester.makeini("[pytest]\nlog_cli = true\nlog_cli_level = WARNING\n")

    one = plain(pytester, *(arg for arg in args if "forked" not in arg))
    other = forked(pytester, *args)

    assert any("live log teardown" in line for line in one.output)
    assert_same(one, other)
