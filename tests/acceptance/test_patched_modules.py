"""What tests and their fixtures patch is for what they test, not for what runs them and tells of them.

Without the recorder of other tests: it would meet the patches as well.
"""

from __future__ import annotations

import pytest

EVERY_RUN = pytest.mark.parametrize(
    "options",
    [
        ["--no-forked"],
        ["--forked"],
        ["--forked", "--forked-jobs=2"],
        ["--forked", "--forked-fixtures=fresh"],
        ["--forked", "--forked-scope=module"],
        ["--forked", "--capture=sys"],
    ],
    ids=" ".join,
)


@EVERY_RUN
def test_a_test_may_patch_system_calls_and_print(pytester, options):
    pytester.makepyfile(
        """
        import logging, os
        from unittest import mock
        import pytest

        @pytest.mark.parametrize("name", ["write", "read", "lseek", "ftruncate", "pread"])
        def test_it(monkeypatch, name):
            called = mock.Mock(side_effect=OSError)
            monkeypatch.setattr(os, name, called)
            print("printed by", name)
            logging.warning("logged")
            called.assert_not_called()
        """
    )

    result = pytester.runpytest_subprocess("-rP", *options, timeout=60)

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["printed by write", "*logged", "printed by pread", "*logged"])


@EVERY_RUN
def test_a_broader_fixture_may_forbid_sockets_files_and_clocks(pytester, options):
    """As pytest-socket does (from ``pytest_runtest_setup``), pyfakefs and freezegun."""
    pytester.makeconftest(
        """
        import pytest, socket

        class Forbidden(socket.socket):
            def __new__(cls, *args, **kwargs): raise RuntimeError("a test asks for a socket")

        def pytest_runtest_setup(): socket.socket = Forbidden
        """
    )
    pytester.makepyfile(
        """
        import fcntl, os, pytest, socket, time

        @pytest.fixture(scope="session")
        def of_session(): return []

        @pytest.fixture(scope="module")
        def forbidding(of_session):
            def forbid(*args, **kwargs): raise OSError("a test asks for a file")
            with pytest.MonkeyPatch.context() as patch:
                for name in ("write", "read", "pread", "lseek", "ftruncate", "listdir", "kill"):
                    patch.setattr(os, name, forbid)
                patch.setattr(fcntl, "fcntl", forbid)
                patch.setattr(time, "monotonic", lambda: 0.0)
                yield

        def test_before(of_session): pass

        @pytest.mark.parametrize("n", range(3))
        def test_it(forbidding, n):
            with pytest.raises(RuntimeError, match="a test asks for a socket"):
                socket.socket()
            print("printed by", n)

        class TestClass:
            @pytest.fixture(scope="class")
            def of_class(self, forbidding): return []

            def test_one(self, of_class): print("printed by one")
            def test_two(self, of_class): pass

        def test_fails(forbidding): assert not time.monotonic()
        """
    )

    result = pytester.runpytest_subprocess("-rP", "-Wignore", *options, timeout=60)

    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines([f"printed by {name}" for name in (0, 1, 2, "one")])


@pytest.mark.parametrize("option", ["--no-forked", "--forked-jobs=1", "--forked-jobs=2"])
@pytest.mark.parametrize("fork", ["None", "mock.Mock()", "mock.Mock(side_effect=RuntimeError)"])
def test_a_broader_fixture_may_forbid_forks(pytester, option, fork):
    pytester.makepyfile(
        f"""
        import os, pytest
        from unittest import mock

        @pytest.fixture(scope="session")
        def of_session(): return []

        @pytest.fixture(scope="module")
        def forbidden(of_session):
            with mock.patch("os.fork", {fork}):
                yield os.fork

        def test_before(of_session): pass

        @pytest.mark.parametrize("n", range(4))
        def test_it(forbidden, n):
            assert os.fork is forbidden
        """
    )

    result = pytester.runpytest_subprocess("--forked", option, timeout=60)

    result.assert_outcomes(passed=5)


def test_a_shared_fixture_may_stop_clocks_beside_a_thread_of_its_own(pytester):
    pytester.makepyfile(
        """
        import pytest, threading, time

        @pytest.fixture(scope="session")
        def stopped():
            def fail(): raise RuntimeError("a test asks for the time")
            end = threading.Event()
            thread = threading.Thread(target=end.wait)
            thread.start()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(time, "monotonic", fail)
                yield
            end.set()
            thread.join()

        @pytest.mark.parametrize("n", range(2))
        def test_it(stopped, n): pass
        """
    )

    result = pytester.runpytest_subprocess("--forked", "--forked-fixtures=shared", timeout=60)

    result.assert_outcomes(passed=2)
