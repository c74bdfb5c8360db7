"""What pytest keeps of exceptions that nobody could catch."""

from __future__ import annotations

import threading

import pytest
from _pytest import unraisableexception

from pytest_procrastinate import pytest_private as private


@pytest.mark.skipif(
    not hasattr(unraisableexception, "unraisable_exceptions"), reason="pytest keeps none"
)
def test_what_is_kept_is_forgotten(pytester, request):
    class Unruly:
        def __del__(self):
            raise ValueError

    def target():
        raise ValueError

    def make_both():
        Unruly()
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    make_both()
    private.forget_unraisable(request.config)
    # Otherwise this test would fail: warnings are errors here.


def test_where_nothing_is_kept_nothing_is_forgotten(pytester):
    config = pytester.parseconfig()
    private.forget_unraisable(config)
