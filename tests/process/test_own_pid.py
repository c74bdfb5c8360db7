import ctypes
import os
import sys

import pytest

from pytest_procrastinate.process import unpatched
from pytest_procrastinate.process.own_pid import OwnPid


def fork_in_c() -> int:
    return ctypes.PyDLL(None).fork()


@pytest.mark.parametrize("fork", [os.fork, fork_in_c])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_each_process_has_its_own(fork):
    own_pid = OwnPid()
    assert own_pid() == own_pid() == os.getpid()
    ours, theirs = os.pipe()

    pid = fork()
    if pid == 0:
        os.write(theirs, f"{own_pid()} {own_pid()}".encode())
        os._exit(0)

    os.waitpid(pid, 0)
    assert os.read(ours, 100).split() == [b"%d" % pid] * 2
    assert own_pid() == os.getpid()
    os.close(ours)
    os.close(theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="needs madvise(2) of Linux")
def test_it_is_asked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr(unpatched.os, "getpid", lambda: asked.append(True) or 7)
    own_pid = OwnPid()

    assert [own_pid() for _ in range(3)] == [7, 7, 7]
    assert len(asked) == 1
