"""Tests that attack the ways by which they are supervised and told, and very big ones."""

from __future__ import annotations

import os
import signal

import pytest
from comparing import TIMEOUT_SECONDS, forked

HOSTILE = """
import os, pytest, resource, signal, subprocess, sys, threading, time

ROOT = os.getcwd()
TERMINAL = [os.path.join(ROOT, "stdout"), os.path.join(ROOT, "stderr")]

def descriptors():
    # the open ones, without pytest's way to the terminal: what is written there shows
    every = [int(name) for name in os.listdir("/dev/fd")]
    return [fd for fd in every if os.path.realpath(f"/dev/fd/{fd}") not in TERMINAL]

def test_before(): pass

def test_closes_all():
    os.closerange(0, 65536)

def test_closes_all_but_its_output():
    os.closerange(3, 65536)

def test_closes_all_and_fails():
    os.closerange(3, 65536)
    assert 0, "after closing"

def test_garbage_everywhere():
    for fd in descriptors():
        if fd >= 3:
            for _ in range(100):
                try:
                    os.set_blocking(fd, False)
                    os.write(fd, os.urandom(1000))
                except OSError:
                    break

def test_plausible_garbage_everywhere():
    for fd in descriptors():
        if fd >= 3:
            for block in (b"\\0" * 64, b"\\xff" * 64, b"\\x7f\\xff\\xff\\xff" * 16):
                try:
                    os.set_blocking(fd, False)
                    os.write(fd, block)
                except OSError:
                    break

def test_reads_every_descriptor():
    for fd in descriptors():
        if fd >= 3:
            try:
                os.set_blocking(fd, False)
                os.read(fd, 1 << 20)
            except OSError:
                pass

def test_replaces_descriptors():
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3, 600):
        if fd != null:
            os.dup2(null, fd)

def test_truncates_every_file():
    for fd in descriptors():
        if fd >= 3:
            try:
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, 0)
            except OSError:
                pass

def test_grandchild_keeps_everything_open():
    # it outlives the test; the descriptors are never closed on exec
    for fd in descriptors():
        try:
            os.set_inheritable(fd, True)
        except OSError:
            pass
    process = subprocess.Popen(["sleep", "600"], close_fds=False)
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{process.pid}\\n")

def test_forked_grandchild_keeps_everything_open():
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{pid}\\n")

def test_forks_and_both_return():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)

def test_ends_with_a_thread_running():
    threading.Thread(target=threading.Event().wait).start()

def test_stops_itself_being_waited_for():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def test_own_session():
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a process group

def test_no_more_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))

def test_no_more_bytes():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

def test_os_is_broken():
    for name in ("write", "close", "fork", "_exit", "getpid", "read", "pipe", "dup", "dup2"):
        setattr(os, name, None)

def test_time_is_broken():
    time.time = time.monotonic = time.perf_counter = lambda: 0.0

def test_after(): pass
"""
# These take away what their report would come by: to fail them is as good.
MAY_FAIL = {
    "test_closes_all",
    "test_closes_all_but_its_output",
    "test_closes_all_and_fails",
    "test_garbage_everywhere",
    "test_plausible_garbage_everywhere",
    "test_reads_every_descriptor",
    "test_replaces_descriptors",
    "test_truncates_every_file",
    "test_forks_and_both_return",
    "test_no_more_files",
    "test_no_more_bytes",
    "test_os_is_broken",
    "test_time_is_broken",
    "test_stops_itself_being_waited_for",
}


@pytest.fixture
def pids(tmp_path):
    """A file in which a test names the processes that it leaves running."""
    path = tmp_path / "pids"
    yield path
    for pid in path.read_text().split() if path.exists() else ():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_hostile_tests_neither_hang_nor_harm_the_others(pytester, pids):
    pytester.makepyfile(test_hostile=HOSTILE)

    told = forked(pytester, env={"PIDS": str(pids)})

    verdicts = told.verdicts()
    assert len(verdicts) == HOSTILE.count("\ndef test_")
    assert "INTERNALERROR" not in told.result.stdout.str()
    assert told.result.duration < TIMEOUT_SECONDS / 2
    passed = ["setup passed", "call passed", "teardown passed"]
    assert "call failed" in verdicts["test_closes_all_and_fails"]
    assert {n: v for n, v in verdicts.items() if n not in MAY_FAIL and v != passed} == {}
    for name in MAY_FAIL:
        phases = [outcome.split()[0] for outcome in verdicts[name]]
        # garbage may be all that is left of the report of the set-up
        assert phases in (
            ["setup", "call", "teardown"],
            ["setup", "teardown"],
            ["call", "teardown"],
        ), name
    assert told.status == 1


def test_report_of_50_megabytes_and_output_of_100_arrive_whole(pytester):
    pytester.makeconftest(
        """
        import noting

        def pytest_runtest_logreport(report):
            if report.when == "call":
                noting.note(
                    "size", report.outcome, len(report.longreprtext),
                    len(dict(report.sections).get("Captured stdout call", "")),
                    len(str(report.user_properties)),
                )
                report.sections.clear()
                report.longrepr = None if report.passed else "seen"
                report.user_properties.clear()
        """
    )
    pytester.makepyfile(
        """
        import os, pytest

        def test_longrepr(): pytest.fail("x" * 50_000_000, pytrace=False)
        def test_property(record_property): record_property("x", "\\u2603" * 20_000_000)
        def test_output():
            block = b"x" * 1023 + b"\\n"
            for _ in range(100 * 1024):
                os.write(1, block)
        def test_after(): pass
        """
    )

    told = forked(pytester, "--tb=no")

    sizes = [(outcome, *map(int, numbers)) for _, outcome, *numbers in told.noted("size")]
    assert sizes == [
        ("failed", 50_000_000, 0, 2),
        ("passed", 0, 0, len(str([("x", "\u2603" * 20_000_000)]))),
        ("passed", 0, 100 * 1024 * 1024, 2),
        ("passed", 0, 0, 2),
    ]


def test_output_of_any_size_is_told_to_its_last_megabytes(pytester):
    """A file may be larger than all memory, with nothing in it."""
    pytester.makeconftest(
        """
        import noting

        def pytest_runtest_logreport(report):
            if report.failed:
                for name, text in report.sections:
                    first, _, rest = text.partition("\\n")
                    noting.note("section", first, rest[-8:-1], len(rest))
                report.sections.clear()
        """
    )
    pytester.makepyfile(
        """
        import os

        def test_much():
            for i in range(9000): os.write(2, b"%07d\\n" % i * 1024)
            os.abort()

        def test_nothing():
            os.write(1, b"before")
            os.ftruncate(1, 1 << 40)
            os.abort()

        def test_after(): pass
        """
    )

    told = forked(pytester, "--tb=no")

    told.result.assert_outcomes(failed=2, passed=1)
    most = 64 << 20
    assert [words[1:] for words in told.noted("section")] == [
        [f"[left out: the first {9000 * 8 * 1024 - most} bytes]", "0008999", str(most)],
        [f"[left out: the first {(1 << 40) - most} bytes]", "", "0"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["", "capfd"])
def test_output_of_any_size_fails_no_test(pytester, fixture):
    pytester.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.when == "call":
                text = dict(report.sections)["Captured stdout call"]
                open("told", "w").write(text.partition("\\n")[0] + text[-4:])
        """
    )
    pytester.makepyfile(
        f"""
        import os

        def test_grows({fixture}):
            os.lseek(1, 1 << 40, 0)
            os.write(1, b"end")
        """
    )

    result = pytester.runpytest_subprocess("--forked", timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(passed=1)
    told = (pytester.path / "told").read_text()
    assert told.startswith("[left out: the first ")
    assert told.endswith(" bytes]\0end")


@pytest.mark.slow
@pytest.mark.parametrize(
    "deed",
    ["os.kill(os.getpid(), signal.SIGUSR1)", "os.abort()", "os.execv('/bin/true', ['true'])"],
)
def test_a_test_that_waits_for_a_debugger_that_is_none_is_ended(pytester, deed):
    pytester.makepyfile(
        f"""
        import ctypes, os, signal

        def test_victim():
            ctypes.CDLL(None).ptrace(0, 0, 0, 0)  # PTRACE_TRACEME: it is stopped at each signal
            {deed}

        def test_after(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(failed=1, passed=1)
    told.result.stdout.fnmatch_lines(["*was stopped and did not go on (*SIGKILL) in call*"])


def test_a_child_that_dies_after_its_teardown_has_one_report_of_it(pytester):
    pytester.makepyfile(
        """
        import os, sys

        class Stream:
            def write(self, text): pass
            def flush(self): os._exit(3)

        def test_victim(): sys.__stdout__ = Stream()
        def test_victim_that_fails():
            sys.__stdout__ = Stream()
            assert 0
        def test_after(): pass
        """
    )

    verdicts = forked(pytester).verdicts()

    assert verdicts == {
        "test_victim": ["setup passed", "call passed", "teardown failed"],
        "test_victim_that_fails": ["setup passed", "call failed", "teardown failed"],
        "test_after": ["setup passed", "call passed", "teardown passed"],
    }


def test_the_signal_of_a_timeout_without_a_timeout_is_the_tests_own(pytester):
    pytester.makepyfile(
        """
        import os
        from pytest_procrastinate.child.supervised import RAISE_SIGNAL

        def test_to_itself(): os.kill(os.getpid(), RAISE_SIGNAL)
        def test_to_its_fork_server(): os.kill(os.getppid(), RAISE_SIGNAL)
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(failed=1, passed=1)
    told.result.stdout.fnmatch_lines(["was killed by SIGRTM* in call, *"])


def test_a_test_whose_wait_is_cut_short_by_the_timeout_fails_all_the_same(pytester):
    """A system call that a signal interrupts returns; the exception that follows may come too late."""
    pytester.makepyfile(
        """
        import ctypes, signal
        from pytest_procrastinate.child.supervised import RAISE_SIGNAL

        def test_victim():
            signal.pthread_sigmask(signal.SIG_BLOCK, [RAISE_SIGNAL])
            ctypes.CDLL(None).usleep(60_000_000)

        def test_after(): pass
        """
    )

    told = forked(pytester, "--forked-timeout=1")

    told.result.assert_outcomes(failed=1, passed=1)
    told.result.stdout.fnmatch_lines(["timeout of 1 s in call (--forked-timeout)", "*test_victim*"])
