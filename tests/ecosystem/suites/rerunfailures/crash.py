import ctypes

import pytest
from test_it import nth_time


@pytest.mark.flaky(reruns=2)
def test_crashes_once():
    if nth_time("crash") == 1:
        ctypes.string_at(0)


@pytest.mark.flaky(reruns=1)
def test_crashes_always():
    ctypes.string_at(0)


def test_bystander():
    pass
