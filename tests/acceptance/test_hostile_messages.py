"""Messages that a test sends in its child's name: none harms the run, none passes the test."""

from __future__ import annotations

import pytest
from comparing import compare, forked

from pytest_procrastinate.messages import TELLING

NONSENSE = """
import os, pytest, socket, stat
from pytest_procrastinate.process.frames import encode

NAMES = {names}
PAYLOADS = [
    None, (), 7, "x", {{}}, [1], ((1, 2), {{}}), ({{}}, {{}}), ("open('ran', 'w')",),
    ({{"when": "call", "outcome": "passed", "sections": [1]}}, None),
    ({{"when": "call", "outcome": "passed", "sections": []}}, None),
    ({{"$report_type": "TestReport", "when": "teardown"}}, None),
    {{"nodeid": "x", "location": 7}},
    (("open('ran', 'w')",), {{}}),
]

@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_victim(name, payload):
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            if descriptor >= 3 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, encode((name, payload)))
        except OSError:
            pass
    os.abort()

def test_after(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        [*TELLING, "no such name"],
        ["junit", "terminal", "told", "stop", "raised", "changed"],
        ["property", "xfail", "left", "leaves", "show"],
    ],
    ids=", ".join,
)
def test_messages_that_make_no_sense_are_a_failure_of_the_test(pytester, names):
    pytester.makepyfile(NONSENSE.format(names=names))

    told = forked(pytester, "--tb=line", "--forked-jobs=2")

    verdicts = told.verdicts()
    assert told.result.ret == pytest.ExitCode.TESTS_FAILED
    assert all("failed" in " ".join(told) for name, told in verdicts.items() if "victim" in name)
    assert verdicts["test_after"] == ["setup passed", "call passed", "teardown passed"]
    assert "INTERNALERROR" not in told.result.stdout.str()
    assert not (pytester.path / "ran").exists()


CRAFTED = """
import os, pytest, socket, stat, struct
from zlib import crc32
import execnet
from execnet.gateway_base import opcode

def as_execnet_dumps(value):
    return execnet.dumps(value)[1:-1]

NESTED = as_execnet_dumps(None) + (opcode.BUILDTUPLE + struct.pack("!i", 1)) * 20_000
REPORT, START = "pytest_runtest_logreport", "pytest_runtest_logstart"
MESSAGES = [
    "deep", (REPORT, "deep"), (START, {"$as_before": "deep"}), (START, "deep", "escaped"),
    (REPORT, ({"when": "call", "outcome": "passed", "sections": [("deep", "deep")]}, None)),
    ("left", (["deep"], [])), ("xfail", ([], {1: 2})), ("xfail", ([], {"raises": 5})),
    (REPORT, ({"when": "zip", "outcome": "failed", "sections": []}, None)),
    ("raised", ("exit", "x", 1, "x", "x")), ("raised", ("exit", "x", 1, 7, 7)),
    ("raised", ("interrupt", "x\\0y", 1, "")), ("raised", ("interrupt", "x", 1 << 31, "")),
]

@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_victim(message):
    payload = execnet.dumps(message).replace(as_execnet_dumps("deep"), NESTED)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            if descriptor >= 3 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, struct.pack("!II", len(payload), crc32(payload)) + payload)
        except OSError:
            pass
    os.abort()

def test_after(): pass
"""


@pytest.mark.slow
def test_messages_crafted_to_end_the_run_are_a_failure_of_the_test(pytester):
    pytester.makepyfile(CRAFTED)

    told = forked(pytester, "--tb=line", "--forked-leaks=fail", "--forked-jobs=2")

    verdicts = told.verdicts()
    assert told.result.ret == pytest.ExitCode.TESTS_FAILED
    assert verdicts.pop("test_after") == ["setup passed", "call passed", "teardown passed"]
    assert len(verdicts) == 13
    assert all("failed" in " ".join(each) for each in verdicts.values())


def test_a_test_that_dies_after_a_plugin_told_a_report_of_its_own_dies_in_its_phase(pytester):
    pytester.makeconftest(
        """
        import os, pytest

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_call(item):
            report = pytest.TestReport(item.nodeid, item.location, {}, "passed", None, "memory")
            item.ihook.pytest_runtest_logreport(report=report)
            os.abort()
        """
    )
    pytester.makepyfile(test_it="def test_it(): pass")

    result = pytester.runpytest_subprocess("--forked", timeout=60)

    result.stdout.fnmatch_lines(
        ["FAILED test_it.py::test_it - crashed with SIGABRT (aborted) in call*"]
    )


@pytest.mark.parametrize(
    "notes",
    [
        {"attributes": [("test_it.py::test_victim", {"noted": 1})], "properties": 7},
        {"attributes": [("test_it.py::test_victim", {"noted": 1}), 7], "properties": []},
        {"attributes": [], "properties": [("noted", "1"), 7]},
    ],
    ids=str,
)
def test_of_notes_that_make_no_sense_in_part_none_is_told(pytester, notes):
    pytester.makepyfile(
        f"""
        import os, stat
        from pytest_procrastinate.process.frames import encode

        def test_victim():
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                try:
                    if descriptor >= 3 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                        os.write(descriptor, encode(("junit", {notes})))
                except OSError:
                    pass
        """
    )

    told = forked(pytester, "--junitxml=told.xml", "-ojunit_family=xunit1")

    assert "what it told makes no sense" in told.result.stdout.str()
    assert "noted" not in (pytester.path / "told.xml").read_text()


SAYS_IT_IS_OVER = """
import os, pytest, stat
from pytest_procrastinate.process.frames import encode

@pytest.mark.parametrize("deed", ["pass", "assert 0", "os.abort()", "os._exit(0)", "os._exit(3)"])
def test_victim(deed):
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            if descriptor >= 3 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, encode(("done", None)))
        except OSError:
            pass
    exec(deed)

def test_after(): pass
"""


@pytest.mark.parametrize(
    "option", ["--forked-leaks=kill", "--forked-leaks=fail", "--forked-scope=module"]
)
def test_a_test_that_says_itself_that_it_is_over_fails(pytester, option):
    pytester.makepyfile(SAYS_IT_IS_OVER)

    told = forked(pytester, option)

    verdicts = told.verdicts()
    assert verdicts.pop("test_after") == ["setup passed", "call passed", "teardown passed"]
    assert len(verdicts) == 5
    assert all(" ".join(each).count("failed") == 1 for each in verdicts.values())


@pytest.mark.parametrize(
    "told_of",
    ["", "item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)"],
)
def test_an_item_whose_own_protocol_tells_nothing_is_told_as_plainly(pytester, told_of):
    pytester.makeconftest(
        f"""
        def pytest_runtest_protocol(item):
            if item.name == "test_silent":
                {told_of or "pass"}
                return True
        """
    )
    pytester.makepyfile("def test_silent(): assert 0\ndef test_after(): pass")

    compare(pytester)


GARBAGE = """
import os, pytest, socket, time
from pytest_procrastinate.process.frames import encode

def write(data):
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as end:
                end.send(data)
        except OSError:
            pass

@pytest.fixture
def broken():
    write(b"x" * 5000)
    os._exit(0)

@pytest.mark.parametrize("data", [b"x" * 5000, b"\\xff" * 8, encode(("raised", ("nonsense",)))])
@pytest.mark.parametrize("leave", [lambda: None, lambda: os._exit(0), lambda: time.sleep(60)])
def test_victim(data, leave):
    write(data)
    leave()

def test_broken(broken): pass
def test_after(): pass
"""


def verdicts_but_of_test_after(pytester, suite, jobs):
    """Run a suite whose last test is not touched by what those before it do."""
    pytester.makepyfile(suite)
    told = forked(pytester, f"--forked-jobs={jobs}", "--forked-timeout=2", "--forked-grace=1")
    verdicts = told.verdicts()
    assert verdicts.pop("test_after") == ["setup passed", "call passed", "teardown passed"]
    return verdicts


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_believed_fails_the_call_or_the_set_up_that_told_it(pytester, jobs):
    verdicts = verdicts_but_of_test_after(pytester, GARBAGE, jobs)

    assert verdicts.pop("test_broken")[0] == "setup failed"
    assert len(verdicts) == 9
    assert all("call failed" in each for each in verdicts.values())


WRITES_OVER = """
import contextlib, gc, mmap, os, pytest, time

@pytest.mark.parametrize("byte", [None, 0, 0xDB, 0xFF])
@pytest.mark.parametrize("end", [os.abort, lambda: os._exit(0), lambda: time.sleep(60)])
def test_victim(byte, end):
    for each in gc.get_objects():
        if isinstance(each, mmap.mmap):
            with contextlib.suppress(ValueError):  # it is closed
                each[:] = os.urandom(len(each)) if byte is None else bytes([byte]) * len(each)
    with open("began", "a") as file:
        file.write("x")
    end()

def test_after(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_writes_over_its_shared_page_is_run_once_and_fails(pytester, jobs):
    verdicts = verdicts_but_of_test_after(pytester, WRITES_OVER, jobs)

    assert len(verdicts) == 12
    assert all(" ".join(each).count("failed") == 1 for each in verdicts.values())
    assert (pytester.path / "began").read_text() == 12 * "x"


def test_a_line_without_end_that_is_written_in_many_pieces_does_not_hold_up_the_run(pytester):
    pytester.makepyfile(
        """
        import os, socket, stat
        from pytest_procrastinate.portable import pack

        def test_victim():
            frame = pack("terminal", "x" * 1000)
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                if descriptor >= 100 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    with socket.socket(fileno=os.dup(descriptor)) as channel:
                        for _ in range(40):
                            channel.sendall(frame * 1000)
            assert 0, "told"

        def test_after(): pass
        """
    )

    told = forked(pytester)

    told.result.assert_outcomes(failed=1, passed=1)


def test_a_timeout_that_cuts_what_a_test_tells_short_is_told_beside_it(pytester):
    pytester.makepyfile(
        """
        import os, socket, stat, time
        from pytest_procrastinate.portable import pack

        def test_victim():
            half = pack("terminal", "x" * 1000)[:500]
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                if descriptor >= 100 and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    with socket.socket(fileno=os.dup(descriptor)) as channel:
                        channel.sendall(half)
            time.sleep(60)
        """
    )

    told = forked(pytester, "--forked-timeout=1")

    told.result.assert_outcomes(failed=1)
    told.result.stdout.fnmatch_lines(
        ["ran into its timeout of 1 s (--forked-timeout; *) in call; its reports cannot be read: *"]
    )
