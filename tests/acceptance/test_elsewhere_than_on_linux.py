"""What macOS lacks is not asked for: no /proc, no pidfds, no memfds, no prctl, fewer signals and clocks."""

from __future__ import annotations

import pytest

LIKE_MACOS = """
import builtins, ctypes, io, os, signal, socket, time

for module, names in {
    os: ("pidfd_open", "memfd_create", "sched_getaffinity"),
    signal: ("pidfd_send_signal", "SIGRTMIN", "SIGRTMAX"),
    socket: ("MSG_NOSIGNAL",),
    time: ("CLOCK_BOOTTIME",),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

def without_proc(function):
    def call(path, *args, **kwargs):
        if not isinstance(path, int) and os.fsdecode(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return function(path, *args, **kwargs)
    return call

builtins.open = io.open = without_proc(open)
os.open, os.listdir, os.readlink, os.stat = map(
    without_proc, (os.open, os.listdir, os.readlink, os.stat)
)
is_folder = os.path.isdir
os.path.isdir = lambda path: not str(path).startswith("/proc") and is_folder(path)

class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = CDLL
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_tests_are_forked_share_fixtures_time_out_and_crash(pytester, jobs):
    pytester.makepyfile(
        like_macos=LIKE_MACOS,
        test_it="""
        import os, pytest, socket, time

        @pytest.fixture(scope="session")
        def server():
            yield os.getpid()
            open("ended", "a").write("server ")

        @pytest.fixture(scope="module")
        def one_socket():
            with socket.socket() as opened:
                yield os.getpid(), opened

        def test_shared(server): assert server == os.getppid()
        def test_crash(server): os.abort()
        @pytest.mark.forked(timeout=0.5)
        def test_hang(server): time.sleep(60)
        def test_not_shared(one_socket): assert one_socket[0] == os.getpid()
        def test_last(server): pass
        """,
    )

    result = pytester.runpytest_subprocess(
        "--forked", "-p", "like_macos", f"--forked-jobs={jobs}", timeout=60
    )

    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "FAILED *::test_crash - crashed with SIGABRT*",
            "FAILED *::test_hang - *timeout of 0.5 s in call*",
            "forked: each test sets up 'one_socket' afresh: it opened a socket; *",
        ]
    )
    assert (pytester.path / "ended").read_text() == "server "
