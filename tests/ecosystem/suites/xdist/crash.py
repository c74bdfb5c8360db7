import ctypes
import os

import pytest


@pytest.mark.parametrize("number", range(6))
def test_some_crash(number):
    print("pid of the worker", os.getppid())
    if number % 3 == 1:
        ctypes.string_at(0)


def test_no_descriptor_of_execnet_is_held():
    """execnet talks over the pipes that were descriptors 0 and 1 of its worker."""
    held = []
    for name in os.listdir("/proc/self/fd"):
        try:
            held.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    of_worker = os.environ["PIPES_OF_WORKER"].split()
    assert [each for each in held if each in of_worker] == []
