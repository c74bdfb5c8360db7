"""One test of each outcome: what a plugin that reports has to show."""

import logging
import sys
import warnings

import pytest


@pytest.fixture
def resource(record_property):
    record_property("resource", "taken")
    print("set up")
    yield
    print("torn down", file=sys.stderr)


def test_passes(resource):
    print("to stdout")
    logging.getLogger("suite").warning("a warning in the log")


def test_fails(resource):
    assert [1, 2, 3] == [1, 2, 4]


def test_skips():
    pytest.skip("not today")


@pytest.mark.skipif(True, reason="never")
def test_skipif():
    pass


@pytest.mark.xfail(reason="known")
def test_xfails():
    assert 0


@pytest.mark.xfail
def test_xpasses():
    pass


@pytest.fixture
def broken():
    raise RuntimeError("set-up")


def test_errors(broken):
    pass


@pytest.fixture
def broken_teardown():
    yield
    raise RuntimeError("teardown")


def test_teardown_errors(broken_teardown):
    pass


def test_warns():
    warnings.warn("deprecated thing", DeprecationWarning, stacklevel=1)


@pytest.mark.parametrize("value", [1, "two", None])
def test_parameters(value):
    assert value


def test_extras_of_its_own(extras):
    import pytest_html

    extras.append(pytest_html.extras.text("some text"))
