"""The pytest process's own trouble: little room for children, threads that a fork leaves behind."""

from __future__ import annotations

import re
import resource

import pytest
from comparing import forked

TESTS = 12


def run_with_open_files(pytester, limit, *args):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("i", range({TESTS}))
        def test_it(i): pass
        """
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        return pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", *args)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("jobs", [1, 8])
def test_with_few_descriptors_there_are_fewer_children(pytester, jobs):
    result = run_with_open_files(pytester, 80, f"--forked-jobs={jobs}")

    result.assert_outcomes(passed=TESTS)
    assert result.ret == 0


def test_without_descriptors_for_one_child_the_error_names_a_limit_that_does(pytester):
    result = run_with_open_files(pytester, 30)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: forked: no room for the files of a child: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    (limit,) = re.findall(r"ulimit -n (\d+)\)", result.stderr.str())
    assert int(limit) < 50
    run_with_open_files(pytester, int(limit)).assert_outcomes(passed=TESTS)


def test_where_files_may_not_be_large_enough_for_a_child_the_limit_is_named(pytester):
    pytester.makepyfile("def test_it(): pass")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        result = pytester.runpytest_subprocess("--forked", "-p", "no:cacheprovider")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: forked: no room for *: File too large (ulimit -f)"])


@pytest.mark.slow
@pytest.mark.parametrize("limit", range(36, 84, 4))
def test_with_few_descriptors_shared_scopes_are_set_up_or_the_limit_is_named(pytester, limit):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def broad(): return []

        @pytest.fixture(scope="module")
        def narrow(broad): return []

        @pytest.fixture(scope="class")
        def narrowest(narrow): return []
        """
    )
    pytester.makepyfile(
        test_scopes="""
        def test_broad(broad): pass

        class TestOne:
            def test_it(self, narrowest): pass

        def test_narrow(narrow): pass

        class TestTwo:
            def test_it(self, narrowest): pass
        """
    )

    result = run_with_open_files(pytester, limit)

    if result.ret != pytest.ExitCode.USAGE_ERROR:
        result.assert_outcomes(passed=TESTS + 4)
        assert result.ret == 0


THREAD = """
import threading

def pytest_configure():
    threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()
"""


def test_threads_that_a_fork_leaves_behind_are_named_once_and_are_no_warning(pytester):
    pytester.makeconftest(THREAD)
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")

    result = pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", "-Werror")

    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if "watcher" in line]
    assert [line.partition(":")[0] for line in lines] == ["forked"]
    assert "a thread beside its own" in lines[0]


def test_a_test_that_has_to_be_killed_says_which_threads_a_fork_left_behind(pytester):
    pytester.makeconftest(THREAD)
    pytester.makepyfile(
        """
        import time

        def test_hangs():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """
    )
    limits = "--forked-timeout=0.5", "--forked-grace=0.5"

    result = pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", *limits)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the pytest process had other threads as it forked: watcher"])


def test_a_thread_that_logs_leaves_no_lock_of_a_log_file_behind(pytester):
    pytester.makeconftest(
        """
        import logging, threading

        class File(logging.Handler):
            buffer = threading.Lock()  # as Python's files have one, which no fork makes anew

            def emit(self, record):
                with self.buffer:
                    threading.Event().wait(0.02)

        def log():
            while True:
                logging.getLogger("watcher").warning("all is well")
                threading.Event().wait(0.001)

        logging.getLogger().addHandler(File())
        threading.Thread(target=log, daemon=True).start()
        """
    )
    pytester.makepyfile(
        """
        import logging, pytest

        @pytest.fixture(scope="module")
        def shared(): logging.warning("set up")

        @pytest.mark.parametrize("i", range(5))
        def test_it(shared, i): logging.warning("called")
        """
    )

    told = forked(pytester, "--forked-timeout=20")

    told.result.assert_outcomes(passed=5)


def test_alone_in_its_process_nothing_is_said(pytester):
    pytester.makepyfile("def test_a(): pass")

    result = pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked")

    result.stdout.no_fnmatch_line("forked: *")


@pytest.mark.parametrize("again", [True, False])
def test_a_test_that_kills_the_fork_server_takes_no_other_one_along(pytester, again):
    """Not even the one that the server begins; what kills it each time is told."""
    pytester.makeconftest(
        f"""
        import os, pathlib, signal, time
        import pytest

        @pytest.fixture(scope="session")
        def shared():
            pass

        def wait_for(path):
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)

        def pytest_runtest_setup(item):
            if item.name == "test_begun":
                pathlib.Path("begun").touch()
                wait_for(pathlib.Path("killed"))
                if not {again}:
                    os.kill(os.getpid(), signal.SIGKILL)
                if not pathlib.Path("dead").exists():
                    time.sleep(60)  # the server is about to be killed
        """
    )
    pytester.makepyfile(
        """
        import conftest, os, pathlib, signal

        def test_kills():
            conftest.wait_for(pathlib.Path("begun"))
            server = os.getppid()
            os.kill(server, signal.SIGKILL)
            while os.getppid() == server:
                pass
            pathlib.Path("dead").touch()
            pathlib.Path("killed").touch()

        def test_begun(shared): pass
        def test_after(shared): pass
        """
    )

    told = forked(pytester, "--forked-jobs=2")

    if again:
        told.result.assert_outcomes(passed=3)
    else:
        told.result.assert_outcomes(passed=2, errors=1)
        told.result.stdout.fnmatch_lines(["*was killed by SIGKILL*"])


REAPS_ALL = """
import os, pytest, signal

def reap_all(signum, frame):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_handler_that_reaps_all_there_are_takes_no_test_s_ending(pytester, jobs):
    pytester.makeconftest(REAPS_ALL + "signal.signal(signal.SIGCHLD, reap_all)")
    pytester.makepyfile(
        """
        import os, signal

        def test_aborts(): os.abort()
        def test_exits(): os._exit(3)
        def test_has_the_handler():
            assert signal.getsignal(signal.SIGCHLD).__name__ == "reap_all"
        """
    )

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(failed=2, passed=1)
    told.result.stdout.fnmatch_lines(["crashed with SIGABRT*", "exited with status 3*"])


def test_of_an_ending_that_a_shared_fixture_s_handler_took_the_last_words_are_told(pytester):
    pytester.makeconftest(
        REAPS_ALL
        + """
@pytest.fixture(scope="session", autouse=True)
def shared():
    signal.signal(signal.SIGCHLD, reap_all)
"""
    )
    pytester.makepyfile("import os\n\ndef test_aborts(): os.abort()")

    told = forked(pytester)

    told.result.assert_outcomes(failed=1)
    told.result.stdout.fnmatch_lines(["was lost: *; its last words: Fatal Python error: Aborted*"])


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("refused", ["1", "2, 4", "1, 3, 5, 7"])
def test_a_test_waits_where_no_descriptor_is_left_for_its_channel(pytester, jobs, refused):
    pytester.makeconftest(
        f"""
        import errno, itertools
        from pytest_procrastinate.process import remote

        create_process, calls = remote.RemoteForker.create_process, itertools.count()

        def refuse(*args, **kwargs):
            if next(calls) in ({refused},):
                raise remote.ForkError(errno.EMFILE, "no descriptor is left")
            return create_process(*args, **kwargs)

        remote.RemoteForker.create_process = refuse
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(number): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked", f"--forked-jobs={jobs}", timeout=60)

    result.assert_outcomes(passed=6)
