import ctypes

from flaky import flaky
from test_it import nth_time


@flaky(max_runs=3)
def test_crashes_once():
    if nth_time("crash") == 1:
        ctypes.string_at(0)


def test_bystander():
    pass
