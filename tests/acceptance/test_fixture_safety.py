"""What ``--forked-fixtures=auto`` shares, what it leaves to each child, and that both work."""

from __future__ import annotations

import os

import pytest
from comparing import assert_same, forked, plain

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")

THINGS = """
import http.server, noting, os, pytest, sqlite3, subprocess, sys, tempfile, threading
import urllib.request

@pytest.fixture(autouse=True, scope="session")
def no_proxy():
    os.environ["no_proxy"] = "*"

@pytest.fixture(scope="session")
def popen():
    noting.note("up", "popen")
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()

@pytest.fixture(scope="session")
def piped():
    noting.note("up", "piped")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process

@pytest.fixture(scope="session")
def web():
    noting.note("up", "web")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args): pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()

@pytest.fixture(scope="session")
def client(web):
    noting.note("up", "client")
    return lambda: urllib.request.urlopen("http://%s:%s" % web, timeout=30).read()

@pytest.fixture(scope="session")
def thread():
    noting.note("up", "thread")
    end = threading.Event()
    worker = threading.Thread(target=end.wait, name="ticker")
    worker.start()
    yield worker
    end.set()
    worker.join()

@pytest.fixture(scope="module")
def database():
    noting.note("up", "database")
    connection = sqlite3.connect("things.db")
    connection.execute("create table if not exists t (n)")
    yield connection
    connection.close()

@pytest.fixture(scope="module")
def opened():
    noting.note("up", "opened")
    with open("opened.txt", "w+") as file:
        yield file

@pytest.fixture(scope="session")
def folder():
    noting.note("up", "folder")
    with tempfile.TemporaryDirectory() as path:
        yield path
    noting.note("removed", os.path.exists(path))

@pytest.fixture(scope="session")
def array():
    noting.note("up", "array")
    return bytearray(b"1" * 1000)

pytestmark = pytest.mark.parametrize("n", [0, 1])

def test_popen(popen, n):
    assert popen.poll() is None
    popen.terminate()
    assert popen.wait(30) == -15

def test_piped(piped, n):
    out, _ = piped.communicate(b"text", timeout=30)
    assert (out, piped.returncode) == (b"text", 0)

def test_web(client, n):
    assert client() == b"hello"

def test_thread(thread, n):
    assert thread.is_alive()

def test_database(database, n):
    database.execute("insert into t values (1)")
    assert database.execute("select count(*) from t").fetchone() == (1,)

def test_opened(opened, n):
    opened.write("line")
    opened.seek(0)
    assert opened.read() == "line"

def test_folder(folder, n):
    open(os.path.join(folder, str(n)), "w").close()
    assert len(os.listdir(folder)) == n + 1

def test_array(array, n):
    array.append(n)
    assert len(array) == 1001
"""

FRESH = {
    "popen": "it started a process",
    "piped": "it opened a pipe",
    "web": "it opened a socket",
    "thread": "it started a thread, 'ticker'",
    "database": "it opened the file *things.db",
    "opened": "it opened the file *opened.txt",
}


def test_auto_leaves_to_each_child_what_a_fork_would_break_and_shares_the_rest(pytester):
    pytester.makepyfile(THINGS)

    told = forked(pytester)

    told.result.assert_outcomes(passed=16)
    in_tests = {name: set() for name in (*FRESH, "client")}
    for pid, name in told.noted("up"):
        in_tests.setdefault(name, set()).add(pid)
    # Once more than there are tests: how it is found out.
    assert {name: len(pids) for name, pids in in_tests.items()} == {
        **dict.fromkeys(FRESH, 3),
        "client": 2,
        "folder": 1,
        "array": 1,
    }
    assert [exists for _, exists in told.noted("removed")] == ["False"]
    lines = [line for line in told.result.outlines if line.startswith("forked: each test sets up")]
    assert len(lines) == len(FRESH)
    for name, reason in FRESH.items():
        told.result.stdout.fnmatch_lines(
            f"forked: each test sets up '{name}' afresh: {reason}; "
            f"to share it all the same: forked_shared_fixtures = {name}"
        )


OPENERS = """
import noting, os, pytest

@pytest.fixture(scope="session")
def pool_one():
    noting.note("up", "pool_one")
    return os.pipe()

@pytest.fixture(scope="session")
def pool_two():
    noting.note("up", "pool_two")
    return os.pipe()

@pytest.mark.parametrize("n", [0, 1])
def test_one(pool_one, n):
    os.write(pool_one[1], b"x")
    assert os.read(pool_one[0], 1) == b"x"

@pytest.mark.parametrize("n", [0, 1])
def test_two(pool_two, n): pass
"""


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        ("pool_one pool_two", {"pool_one", "pool_two"}),
        ("pool_*", {"pool_one", "pool_two"}),
        ("other pool_one", {"pool_one"}),
        ("pool", set()),
    ],
)
def test_fixtures_named_in_the_ini_are_shared_all_the_same(pytester, names, shared):
    pytester.makepyfile(OPENERS)

    told = forked(pytester, "-o", f"forked_shared_fixtures={names}")

    told.result.assert_outcomes(passed=4)
    ups = [name for _, name in told.noted("up")]
    assert {name for name in ups if ups.count(name) == 1} == shared
    lines = [line for line in told.result.outlines if line.startswith("forked: each test sets up")]
    assert len(lines) == 2 - len(shared)


def test_a_file_that_shared_shares_is_one_for_all(pytester):
    pytester.makepyfile(OPENERS)

    told = forked(pytester, "--forked-fixtures=shared")

    told.result.assert_outcomes(passed=4)
    assert sorted(name for _, name in told.noted("up")) == ["pool_one", "pool_two"]
    assert "afresh" not in told.result.stdout.str()


def test_children_tell_the_truth_about_a_process_of_a_shared_popen_fixture(pytester):
    pytester.makepyfile(
        """
        import noting, pytest, subprocess

        @pytest.fixture(scope="session")
        def server():
            process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
            yield process
            noting.note("ended", process.wait(30))

        def test_it_runs(server):
            assert server.poll() is None
            assert server.returncode is None
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(0.05)
            assert server.poll() is None

        def test_it_can_be_ended(server):
            server.terminate()
            assert server.wait(30) is not None
            assert server.poll() is not None

        def test_that_it_has_ended_is_known(server):
            assert server.poll() is not None
            server.terminate()

        def test_own_processes_are_told_as_ever(server):
            assert subprocess.Popen(["false"]).wait(30) == 1
            assert subprocess.run(["sh", "-c", "kill -9 $$"]).returncode == -9
        """
    )

    told = forked(pytester, "--forked-fixtures=shared")

    told.result.assert_outcomes(passed=4)
    assert [status for _, status in told.noted("ended")] == ["-15"]


def test_children_tell_the_truth_about_a_process_of_multiprocessing(pytester):
    pytester.makepyfile(
        """
        import multiprocessing, noting, pytest

        fork = multiprocessing.get_context("fork")

        @pytest.fixture(scope="session")
        def worker():
            process = fork.Process(target=fork.Event().wait)
            process.start()
            yield process
            process.join(30)
            noting.note("ended", process.exitcode)

        def test_it_runs(worker):
            assert worker.is_alive()
            worker.join(0.05)
            assert worker.is_alive()

        def test_it_can_be_ended(worker):
            worker.terminate()
            worker.join(30)
            assert not worker.is_alive()

        def test_that_it_has_ended_is_known(worker):
            assert not worker.is_alive()

        def test_own_processes_are_told_as_ever(worker):
            own = fork.Process(target=exit, args=(3,))
            own.start()
            own.join(30)
            assert (own.is_alive(), own.exitcode) == (False, 3)
        """
    )

    told = forked(pytester, "--forked-fixtures=shared")

    told.result.assert_outcomes(passed=4)
    assert [status for _, status in told.noted("ended")] == ["-15"]


def test_a_big_array_is_in_memory_once(pytester):
    pytester.makepyfile(
        """
        import noting, os, pytest

        SIZE = 200 << 20

        def proportional_bytes(pid):
            with open(f"/proc/{pid}/smaps_rollup") as file:
                (line,) = [line for line in file if line.startswith("Pss:")]
            return int(line.split()[1]) << 10

        @pytest.fixture(scope="session")
        def array():
            noting.note("up")
            return bytearray(b"1") * SIZE

        @pytest.mark.parametrize("n", [0, 1])
        def test_once(array, n):
            assert array[0] == array[SIZE - 1] == ord("1")
            array[SIZE // 2] = n
            both = proportional_bytes(os.getpid()) + proportional_bytes(os.getppid())
            assert both < 1.5 * SIZE
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=2)
    assert len(told.noted("up")) == 1


def test_beside_a_fixture_that_is_not_shared_others_are_still_set_up_once(pytester):
    pytester.makepyfile(
        """
        import noting, pytest

        @pytest.fixture(scope="session")
        def opened(tmp_path_factory):
            with open(tmp_path_factory.mktemp("opened") / "file", "w") as file:
                yield file

        @pytest.fixture(scope="session")
        def safe():
            noting.note("up")
            yield
            noting.note("down")

        @pytest.mark.parametrize("n", range(3))
        def test_both(opened, safe, n): assert not opened.closed
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(passed=3)
    assert len(told.noted("up")) == len(told.noted("down")) == 1


def test_beside_a_fixture_that_is_not_shared_no_exception_of_ours_is_being_handled(pytester):
    pytester.makepyfile(
        """
        import pytest, socket, sys, traceback

        @pytest.fixture(scope="session")
        def server():
            with socket.socket():
                yield "served"

        @pytest.fixture(scope="module")
        def asks_as_it_runs(request): return request.getfixturevalue("server")

        @pytest.fixture(scope="module")
        def other(): return []

        def test_first(asks_as_it_runs, other):
            assert sys.exc_info() == (None, None, None)
            print(traceback.format_exc())

        def test_next(server, other): print(traceback.format_exc())

        def test_fails(server):
            try:
                raise ValueError("the first")
            except ValueError as error:
                assert error.__context__ is None
                raise

        class TestClass:
            @pytest.fixture(scope="class")
            @classmethod
            def of_class(cls):
                with socket.socket():
                    yield "served"

            def test_of_class(self, of_class): assert 0
        """
    )

    assert_same(plain(pytester), forked(pytester), output=False)
