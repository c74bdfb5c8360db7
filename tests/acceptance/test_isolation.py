"""What a test does to its process stays in its process."""

from __future__ import annotations

from comparing import assert_same, compare, forked, plain

LEAKS = """
import builtins, decimal, gc, logging, os, pytest, resource, signal, sys, threading, time

STATE = {"value": 0}

def open_files(): return resource.getrlimit(resource.RLIMIT_NOFILE)

def umask():
    value = os.umask(0o77)
    os.umask(value)
    return value

def blocked(*more): return signal.pthread_sigmask(signal.SIG_BLOCK, more)

def handler(name): return signal.getsignal(getattr(signal, name))

def ignore(name): signal.signal(getattr(signal, name), signal.SIG_IGN)

def thread(): threading.Thread(target=threading.Event().wait, daemon=True).start()

def tokyo():
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()

# name: how one sees it, how one leaks it
THINGS = {
    "module global": ("STATE['value']", "STATE.update(value=1)"),
    "class attribute": ("hasattr(pytest.Item, 'leaked')", "setattr(pytest.Item, 'leaked', 1)"),
    "builtins": ("hasattr(builtins, 'leaked')", "setattr(builtins, 'leaked', 1)"),
    "sys.path": ("list(sys.path)", "sys.path.clear()"),
    "sys.modules": ("'json' in sys.modules", "sys.modules.pop('json', None)"),
    "imported module": ("'imported' in sys.modules", "sys.modules.update(imported=sys)"),
    "stdout replaced": ("sys.__stdout__ is None", "setattr(sys, '__stdout__', None)"),
    "excepthook": ("sys.excepthook is print", "setattr(sys, 'excepthook', print)"),
    "trace": ("sys.gettrace()", "sys.settrace(lambda *_: None)"),
    "recursion limit": ("sys.getrecursionlimit()", "sys.setrecursionlimit(5000)"),
    "switch interval": ("sys.getswitchinterval()", "sys.setswitchinterval(0.5)"),
    "gc disabled": ("gc.isenabled()", "gc.disable()"),
    "decimal": ("decimal.getcontext().prec", "setattr(decimal.getcontext(), 'prec', 3)"),
    "logging level": ("logging.getLogger('x').level", "logging.getLogger('x').setLevel(5)"),
    "logging disabled": ("logging.root.manager.disable", "logging.disable(50)"),
    "thread": ("threading.active_count()", "thread()"),
    "cwd": ("os.getcwd()", "os.chdir('/')"),
    "environ": ("os.environ.get('LEAKED')", "os.environ.update(LEAKED='1')"),
    "environ removed": ("'PATH' in os.environ", "os.environ.pop('PATH')"),
    "time zone": ("time.tzname", "tokyo()"),
    "umask": ("umask()", "os.umask(0o123)"),
    "nice": ("os.nice(0)", "os.nice(1)"),
    "signal handler": ("handler('SIGUSR1')", "ignore('SIGUSR1')"),
    "sigint ignored": ("handler('SIGINT') is signal.SIG_IGN", "ignore('SIGINT')"),
    "sigchld ignored": ("handler('SIGCHLD') is signal.SIG_IGN", "ignore('SIGCHLD')"),
    "blocked signals": ("blocked()", "blocked(signal.SIGUSR2, signal.SIGTERM)"),
    "alarm": ("signal.getitimer(signal.ITIMER_REAL)[0] > 0", "signal.alarm(600)"),
    "descriptor": ("os.path.exists('/dev/fd/400')", "os.dup2(1, 400)"),
    "stdin": ("os.fstat(0).st_ino", "os.dup2(os.open('/dev/zero', os.O_RDONLY), 0)"),
    "rlimit": (
        "open_files()[0]",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (50, open_files()[1]))",
    ),
}
if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
    one = min(os.sched_getaffinity(0))
    THINGS["affinity"] = ("os.sched_getaffinity(0)", f"os.sched_setaffinity(0, {{{one}}})")

BEFORE = {name: eval(look) for name, (look, _) in THINGS.items()}

@pytest.mark.parametrize("name", THINGS)
def test_leaks(name):
    eval(THINGS[name][1])

@pytest.mark.parametrize("name", THINGS)
def test_sees_nothing(name):
    assert eval(THINGS[name][0]) == BEFORE[name]
"""


def test_what_one_test_changes_the_next_does_not_see(pytester):
    """Each leaker really leaks: run in one process, its checker fails."""
    pytester.makepyfile(test_leaks=LEAKS)

    leaked = plain(pytester, "--tb=no", "-p", "no:cacheprovider")
    told = forked(pytester, "-p", "no:cacheprovider")

    blind = [
        name
        for name, outcomes in leaked.verdicts().items()
        if "sees_nothing" in name and "call failed" not in outcomes
    ]
    assert blind == []
    failed = [name for name, outcomes in told.verdicts().items() if "call failed" in outcomes]
    assert failed == []
    assert told.status == 0


def test_what_a_test_changes_does_not_reach_the_pytest_process(pytester):
    pytester.makeconftest(
        """
        import noting, os, signal, sys

        def look():
            mask = os.umask(0o22)
            os.umask(mask)
            return (os.getcwd(), mask, os.environ.get("LEAKED"), len(os.listdir("/dev/fd")),
                    signal.getsignal(signal.SIGINT).__name__, signal.getsignal(signal.SIGCHLD),
                    signal.pthread_sigmask(signal.SIG_BLOCK, []), sys.path[:],
                    signal.set_wakeup_fd(-1))

        def pytest_sessionstart(session): noting.note("look", *look())
        def pytest_sessionfinish(session): noting.note("look", *look())
        """
    )
    pytester.makepyfile(
        """
        import os, signal, sys

        def test_leaks():
            os.chdir("/"); os.umask(0o1); os.environ["LEAKED"] = "1"; sys.path.clear()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

        def test_dies(): os._exit(1)
        """
    )

    told = forked(pytester)

    (_, *before), (_, *after) = told.noted("look")
    assert after == before


SKIPS = """
import noting, os, pytest

def condition(name):
    noting.note("evaluated", name)
    return True

pytest.condition = condition

@pytest.mark.skipif("pytest.condition('string')", reason="a condition in a string")
def test_string(): pass

@pytest.mark.skipif("config.getoption('verbose') >= 0", reason="of config")
def test_config(): pass

@pytest.mark.skipif("os.environ.get('SET_BY_HOOK') == item_name", reason="set by a hook")
def test_environ(): pass

@pytest.mark.skipif("counter[0] == 0", reason="state of the module")
def test_state(): counter[0] += 1

@pytest.mark.xfail("pytest.condition('xfail')", reason="a condition in a string")
def test_xfail(): assert 0

@pytest.mark.xfail("pytest.condition('not run')", reason="a condition", run=False)
def test_not_run(): pass

@pytest.mark.skip(reason="unconditionally")
def test_skip(): pass

@pytest.mark.usefixtures("never")
@pytest.mark.skip(reason="before any fixture")
def test_no_fixture(): pass

@pytest.fixture
def never(): noting.note("evaluated", "a fixture of a skipped test")

counter = [0]
"""


def test_conditions_are_evaluated_as_often_and_with_what_a_plain_run_has(pytester):
    pytester.makeconftest(
        """
        import os, pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(item):
            os.environ["SET_BY_HOOK"] = item.name

        def pytest_markeval_namespace(config):
            return {"item_name": "test_environ"}
        """
    )
    pytester.makepyfile(test_skips=SKIPS)

    one, other = compare(pytester, "-rsx")

    evaluated = [[name for _, name in told.noted("evaluated")] for told in (one, other)]
    assert evaluated[0] == evaluated[1]
    assert evaluated[0][:1] == ["string"]
    assert one.outcomes("test_environ")[0] == "setup skipped"


def test_what_a_test_patches_does_not_reach_what_tells_of_it(pytester):
    pytester.makepyfile(
        """
        import os, time
        from unittest import mock
        import pytest

        def test_pid(monkeypatch):
            monkeypatch.setattr(os, "getpid", lambda: 7)
            assert os.getpid() == 7

        def test_pid_of_a_failure(monkeypatch):
            monkeypatch.setattr(os, "getpid", lambda: 7)
            assert os.getpid() == 8

        @pytest.fixture
        def patched():
            with mock.patch("os.getpid", return_value=7):
                yield

        def test_fixture(patched): assert 0

        def test_clock(monkeypatch):
            readings = iter([1.0, 2.0])
            monkeypatch.setattr(time, "monotonic", lambda: next(readings))
            assert (time.monotonic(), time.monotonic()) == (1.0, 2.0)

        def test_no_clock(monkeypatch): monkeypatch.setattr(time, "monotonic", None)

        def test_no_exit(): os._exit = lambda status: None

        def test_after(): pass
        """
    )

    assert_same(plain(pytester), forked(pytester))


def test_a_crash_under_a_patched_getpid_is_told_in_its_phase(pytester):
    pytester.makepyfile(
        """
        import os

        def test_crash(monkeypatch):
            monkeypatch.setattr(os, "getpid", lambda: 7)
            os.abort()
        """
    )

    told = forked(pytester)

    told.result.stdout.fnmatch_lines(["crashed with SIGABRT*in call*", "*1 failed*"])


def test_a_child_has_no_files_of_another_test_nor_of_the_pytest_process(pytester):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(n):
            found = set()
            for name in os.listdir("/proc/self/fd"):
                try:
                    if "memfd:forked-out" in os.readlink(f"/proc/self/fd/{name}"):
                        found.add(os.stat(f"/proc/self/fd/{name}").st_ino)
                except OSError:
                    pass
            assert len(found) == 1
            if n == 2:  # the next one is forked from another fork server
                os.kill(os.getppid(), 9)
        """
    )

    for options in ([], ["--forked-jobs=2"]):
        forked(pytester, *options).result.assert_outcomes(passed=6)
