"""Processes that an ancestor started: in a child they are seen as they are, not as ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess

import pytest
from managing import run
from watching import HANG_SECONDS, fork, needs_pidfds

from pytest_procrastinate.process import unpatched
from pytest_procrastinate.process.inherited import (
    is_running,
    tell_the_truth_about,
    wait_for_end,
)


@pytest.fixture
def process():
    """A process of this one that leaves at the end of its input."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process
    process.stdin.close()
    process.wait(HANG_SECONDS)


def test_a_process_that_runs_is_told_as_running(manager, process):
    def act(channel):
        tell_the_truth_about([process.pid])
        channel(process.poll())
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            channel("runs on")
        process.terminate()
        channel(process.wait(HANG_SECONDS))
        channel(process.poll())

    assert run(manager, act).messages == [None, "runs on", 0, 0]
    assert process.wait(HANG_SECONDS) == -signal.SIGTERM  # its parent knows better


def test_waiting_without_a_limit_ends_with_the_process(manager, process):
    def act(channel):
        tell_the_truth_about([process.pid])
        process.kill()
        channel(process.wait())

    assert run(manager, act).messages == [0]


def test_own_processes_are_waited_for_as_ever(manager, process):
    def act(channel):
        tell_the_truth_about([process.pid])
        channel(subprocess.run(["sh", "-c", "exit 3"]).returncode)
        channel(os.waitstatus_to_exitcode(os.system("exit 4")))
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(5,))
        child.start()
        child.join()
        channel(child.exitcode)
        channel(child.is_alive())

    assert run(manager, act).messages == [3, 4, 5, False]


def test_a_multiprocessing_process_that_runs_is_told_as_alive(manager, ready):
    context = multiprocessing.get_context("fork")

    def wait():
        ready.tell()
        signal.pause()

    process = context.Process(target=wait)
    process.start()
    ready.hear()

    def act(channel):
        tell_the_truth_about([process.pid])
        channel(process.is_alive())
        process.join(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        channel(process.is_alive())

    assert run(manager, act).messages == [True, False]
    process.join(HANG_SECONDS)
    assert process.exitcode == -signal.SIGKILL
    process.close()


def test_a_zombie_does_not_run():
    pid = fork(lambda: os._exit(0))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(pid)
    os.waitpid(pid, 0)
    assert not is_running(pid)


def test_a_stopped_process_runs():
    pid = fork(lambda: os.kill(os.getpid(), signal.SIGSTOP))
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("pidfds", [pytest.param(True, marks=needs_pidfds), False])
def test_the_wait_for_a_process_has_its_limit(process, monkeypatch, pidfds):
    if not pidfds:
        monkeypatch.delattr(unpatched.os, "pidfd_open", raising=False)
    wait_for_end(process.pid, 0.01)
    wait_for_end(process.pid, -1)
    assert is_running(process.pid)
    process.stdin.close()
    wait_for_end(process.pid)
    assert not is_running(process.pid)
