"""A fork server that dies in the midst of its work: no test is lost, and none runs twice."""

from __future__ import annotations

import pytest
from comparing import forked

DIES_AS_IT_FORKS = """
import os, pytest, signal, time
from pathlib import Path

fork, here = os.fork, Path(__file__).parent
late = []

def pytest_forked_before_fork(item):
    if item.name == "{victim}" and not (here / "late").exists():
        late.append(item)

def fork_and_die():
    if not late:
        return fork()
    late.clear()
    server = os.getpid()
    pid = fork()
    if pid:
        (here / "late").write_text(str(pid))
        os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not (here / "ran").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return pid

os.fork = fork_and_die

@pytest.fixture(scope="session")
def of_session(): return []

@pytest.fixture(scope="module")
def of_module(of_session): return []
"""


@pytest.mark.parametrize("shared", ["of_session", "of_module"])
@pytest.mark.parametrize("victim", ["test_first", "test_second"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_child_whose_server_died_before_it_told_of_it_does_not_run_beside_the_next(
    pytester, shared, victim, jobs
):
    pytester.makeconftest(DIES_AS_IT_FORKS.format(victim=victim))
    pytester.makepyfile(
        f"""
        import time
        from pathlib import Path
        from pytest_procrastinate.process.inherited import is_running

        HERE = Path(__file__).parent

        def note(name):
            if name == {victim!r}:
                with open(HERE / "ran", "a") as file:
                    file.write(name)

        def test_before(of_session): pass
        def test_first({shared}): note("test_first")
        def test_second({shared}): note("test_second")

        def test_last({shared}):
            late, deadline = int((HERE / "late").read_text()), time.monotonic() + 20
            while is_running(late) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert (HERE / "ran").read_text() == {victim!r}
        """
    )

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(passed=4)
    told.result.stdout.no_fnmatch_line("Traceback*")


@pytest.mark.parametrize("stays", [False, True], ids=["ends at once", "goes on"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_a_module_needs_is_set_up_anew_where_the_server_above_it_was_killed_meanwhile(
    pytester, jobs, stays
):
    pytester.makeconftest(
        f"""
        import os, pytest, signal, time
        from pathlib import Path

        HERE = Path(__file__).parent

        def wait(deadline):
            while not (HERE / "again").exists() and time.monotonic() < deadline:
                time.sleep(0.01)

        @pytest.fixture(scope="session")
        def of_session():
            if (HERE / "killed").exists():
                (HERE / "again").touch()

        @pytest.fixture(scope="module")
        def of_module(of_session):
            if (HERE / "killed").exists():
                return
            (HERE / "killed").touch()
            os.kill(os.getppid(), signal.SIGKILL)
            deadline = time.monotonic() + 20
            try:
                wait(deadline)
            except KeyboardInterrupt:  # by which we end what is set up below a dead server
                if not {stays}:
                    raise
                wait(deadline)
        """
    )
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(autouse=True)
        def told(request): noting.note("ran", request.node.name)

        def test_before(of_session): pass
        def test_first(of_module): pass
        def test_second(of_module): pass
        """
    )

    told = forked(pytester, f"--forked-jobs={jobs}")

    told.result.assert_outcomes(passed=3)
    ran = sorted(name for _, name in told.noted("ran"))
    assert ran == ["test_before", "test_first", "test_second"]
    for line in ("*Traceback*", "*KeyboardInterrupt*"):
        told.result.stdout.no_fnmatch_line(line)
        told.result.stderr.no_fnmatch_line(line)


def test_all_who_wait_for_a_server_that_dies_are_begun_anew(pytester):
    pytester.makepyfile(
        test_a="""
        import os, pytest

        @pytest.fixture(scope="module")
        def module():
            yield
            os.abort()

        def test_last_of_its_module(module): pass
        """,
        test_b="""
        import pytest

        @pytest.mark.parametrize("n", range(20))
        def test_it(n): pass
        """,
    )

    told = forked(pytester, "--forked-jobs=8")

    told.result.assert_outcomes(passed=21, errors=1)


def test_a_test_below_a_narrower_server_is_not_lost_with_the_server_above_that(pytester):
    pytester.makeconftest(
        """
        import os, pytest, time
        from pathlib import Path
        from pytest_procrastinate.process.inherited import is_running

        HERE = Path(__file__).parent

        @pytest.fixture(scope="session")
        def server():
            return os.getpid()

        @pytest.fixture(scope="module")
        def of_module(server):
            return server

        @pytest.fixture
        def wait_for():
            def wait_for(is_so):
                deadline = time.monotonic() + 20
                while not is_so():
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            return wait_for

        @pytest.fixture
        def begun():
            return HERE / "begun"

        @pytest.fixture
        def runs():
            return is_running
        """
    )
    pytester.makepyfile(
        test_a="""
        def test_innocent(of_module, begun, wait_for, runs):
            if not begun.exists():  # else it is begun anew, below another server
                begun.touch()
                wait_for(lambda: not runs(of_module))

        def test_after_it(of_module): pass
        """,
        test_b="""
        import os, signal

        def test_kills_the_server(server, begun, wait_for):
            wait_for(begun.exists)
            os.kill(server, signal.SIGKILL)

        def test_last(server): pass
        """,
    )

    told = forked(pytester, "--forked-jobs=2", "--forked-fixtures=shared")

    told.result.assert_outcomes(passed=4)
