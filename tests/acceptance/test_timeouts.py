"""A test that has had its time: what is told of it, and what is done about it, stage by stage."""

from __future__ import annotations

import os
import textwrap

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang
OPTIONS = ("-p", "no:cacheprovider", "--forked", "--forked-timeout=500ms", "--forked-grace=500ms")

# What holds the GIL in C, and looks at no signal, as long as one lets it.
HOLD_GIL = "import itertools; sum(itertools.repeat(0))"


@pytest.fixture
def run(pytester):
    def run_suite(source, *options):
        pytester.makepyfile(textwrap.dedent(source))
        return pytester.runpytest_subprocess(*options, timeout=TIMEOUT_SECONDS)

    return run_suite


@pytest.mark.parametrize(
    ("phase", "outcomes"),
    [
        ("setup", {"errors": 1, "passed": 1}),
        ("call", {"failed": 1, "passed": 1}),
        ("teardown", {"errors": 1, "passed": 2}),
    ],
)
def test_a_timeout_fails_its_phase_with_pytests_traceback_and_the_rest_is_torn_down(
    run, pytester, phase, outcomes
):
    result = run(
        f"""
        import pytest, time

        def reach(phase):
            print("reached", phase)
            if phase == {phase!r}:
                time.sleep(60)  # here

        @pytest.fixture
        def outer():
            yield
            open("torn down", "w").close()

        @pytest.fixture
        def resource(outer):
            reach("setup")
            yield
            reach("teardown")

        def test_victim(resource):
            reach("call")

        def test_bystander():
            pass
        """,
        *OPTIONS,
    )

    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(
        [
            ">*time.sleep(60)*# here",
            f"E *TestTimeout: timeout of 0.5 s in {phase} (--forked-timeout)",
            f"*Captured stdout {phase}*",
            f"reached {phase}",
        ]
    )
    result.stdout.fnmatch_lines([f"*Captured stacks {phase}*", "*line * in reach"])
    assert (pytester.path / "torn down").exists()


@pytest.mark.parametrize(
    ("body", "outcome", "lines"),
    [
        pytest.param(
            HOLD_GIL,
            "failed",
            [
                "*ran into its timeout of 0.5 s (--forked-timeout; was killed by SIGTERM) in call*",
                "*in test_victim*",
                "*stages: stacks, an exception (not taken), SIGTERM",
            ],
            id="the GIL is held in C",
        ),
        pytest.param(
            f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HOLD_GIL}",
            "failed",
            [
                "*(--forked-timeout; was killed by SIGKILL) in call*",
                "*in test_victim*",
                "*stages: stacks, an exception (not taken), SIGTERM, SIGKILL",
            ],
            id="SIGTERM is ignored as well",
        ),
        pytest.param(
            "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); "
            "import time; time.sleep(60)",
            "failed",
            ["*(--forked-timeout; was killed by SIGKILL) in call*"],
            id="all signals are blocked",
        ),
        *(
            pytest.param(
                f"import pytest, time, unittest\ntry: time.sleep(60)\nexcept BaseException: {then}",
                "failed",
                ["*timeout of 0.5 s in call (--forked-timeout); the test caught the exception*"],
                id=f"the exception is caught: {then}",
            )
            for then in ("pass", "pytest.skip()", "pytest.xfail()", "raise unittest.SkipTest")
        ),
        pytest.param(
            """
            import time
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
            """,
            "failed",
            [
                "*(--forked-timeout; was killed by SIGTERM) in call*",
                "*stages: stacks, an exception, SIGTERM",
            ],
            id="the exception is caught for ever",
        ),
        pytest.param(
            "import threading; threading.Event().wait()",
            "failed",
            ["*timeout of 0.5 s in call (--forked-timeout)*"],
            id="a lock",
        ),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
            "failed",
            ["*timeout of 0.5 s in call (--forked-timeout)*"],
            id="it has stopped itself",
        ),
        pytest.param(
            """
            import os, time
            try:
                time.sleep(60)
            except BaseException:
                os._exit(0)
            """,
            "failed",
            ["*ran into its timeout of 0.5 s (--forked-timeout; exited with status 0) in call*"],
            id="it exits",
        ),
    ],
)
def test_a_test_is_ended_whatever_it_does(run, body, outcome, lines):
    result = run(
        "def test_victim():\n    print('last words')\n"
        + textwrap.indent(textwrap.dedent(body).strip(), "    ")
        + "\n\ndef test_bystander(): pass\n",
        *OPTIONS,
    )

    result.assert_outcomes(**{outcome: 1}, passed=1)
    result.stdout.fnmatch_lines(lines)
    result.stdout.fnmatch_lines(["last words"])


def test_a_teardown_that_hangs_after_the_timeout_is_told_beside_the_timeout(run):
    result = run(
        """
        import pytest, time

        @pytest.fixture
        def resource():
            yield
            time.sleep(60)

        def test_victim(resource):
            time.sleep(60)
        """,
        *OPTIONS,
    )

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*TestTimeout: timeout of 0.5 s in call*"])
    result.stdout.fnmatch_lines(["*ran into its timeout of 0.5 s (*SIGTERM) in teardown*"])


def test_what_a_test_has_started_ends_with_it(run, pytester):
    result = run(
        f"""
        import subprocess, sys

        def test_victim():
            process = subprocess.Popen(["sleep", "60"])
            open("pid", "w").write(str(process.pid))
            {HOLD_GIL}
        """,
        *OPTIONS,
    )

    result.assert_outcomes(failed=1)
    pid = int((pytester.path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("options", "ini", "mark", "source"),
    [
        (["--forked-timeout=0.3"], "", "", "--forked-timeout"),
        ([], "0.3s", "", "ini option forked_timeout"),
        (["--forked-timeout=300ms"], "1h", "", "--forked-timeout"),
        (["--forked-timeout=1h"], "", "@pytest.mark.forked(timeout=0.3)", "forked(timeout=...)"),
        (
            ["--forked-timeout=1h"],
            "",
            "@pytest.mark.forked(timeout='300ms')",
            "forked(timeout=...)",
        ),
    ],
)
def test_the_nearest_word_sets_the_limit(run, pytester, options, ini, mark, source):
    pytester.makeini(f"[pytest]\nforked_timeout = {ini}\n")
    result = run(
        f"""
        import pytest, time

        {mark or "# no mark"}
        def test_victim():
            time.sleep(60)
        """,
        "--forked",
        *options,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*timeout of 0.3 s in call ({source})"])


def test_zero_is_no_limit(run):
    result = run(
        """
        import pytest, time

        @pytest.mark.forked(timeout=0)
        def test_slow():
            time.sleep(0.4)
        """,
        "--forked",
        "--forked-timeout=200ms",
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--forked-timeout=5 parsecs",
            "--forked-timeout: '5 parsecs' is not a duration; write 90 or 1m30s",
        ),
        ("--forked-grace=x", "--forked-grace: 'x' is not a duration; write 90 or 1m30s"),
        ("--forked-session-timeout=-1", "--forked-session-timeout: '-1' is not a duration*"),
        ("--forked-slow-after=soon", "--forked-slow-after: 'soon' is not a duration*"),
        (
            "--forked-memory-limit=lots",
            "--forked-memory-limit: 'lots' is not a size; write 512M or 2G",
        ),
        ("--forked-cpu-limit=5X", "--forked-cpu-limit: '5X' is not a duration*"),
        ("--forked-leaks=kil", "--forked-leaks: 'kil' is unknown; did you mean 'kill'?"),
        ("--forked-timeout=", "--forked-timeout: '' is not a duration; write 90 or 1m30s"),
        ("--forked-jobs=", "--forked-jobs: '' is no number of jobs; write 4 or auto"),
        ("--forked-scope=", "--forked-scope: '' is unknown; write function, *"),
        ("-oforked_timeout=y", "ini option forked_timeout: 'y' is not a duration*"),
    ],
)
def test_a_bad_value_is_quoted_with_the_fix_before_any_test(run, option, message):
    result = run("def test_a(): open('ran', 'w')", "--forked", option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (
            "forked(timeout='soon')",
            "forked(timeout=...): 'soon' is not a duration; write 90 or 1m30s",
        ),
        ("forked(timeout=[])", "forked(timeout=...): *"),
        (
            "forked(memory_limit='x')",
            "forked(memory_limit=...): 'x' is not a size; write 512M or 2G",
        ),
        (
            "forked(mem_limit=1)",
            "forked() has no keyword 'mem_limit'; did you mean 'memory_limit'?",
        ),
        ("dies(signal='SIGABORT')", "dies(): 'SIGABORT' is not a signal; did you mean 'SIGABRT'?"),
        ("dies(exitcode=300)", "dies(): 300 is not an exit code; write 0 to 255"),
        ("dies(signal=6, exitcode=1)", "dies() takes signal or exitcode, not both"),
        ("dies(matches='x')", "dies() has no keyword 'matches'; did you mean 'match'?"),
    ],
)
def test_a_bad_mark_names_the_item_and_the_fix_before_any_test(run, mark, message):
    result = run(f"import pytest\n@pytest.mark.{mark}\ndef test_a(): open('ran', 'w')", "--forked")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = message.replace("[", "[[]")
    result.stderr.fnmatch_lines([f"ERROR: *::test_a: {text}"])


def test_the_session_timeout_ends_what_runs_tells_it_and_stops(run):
    result = run(
        """
        import time

        def test_first(): pass
        def test_hangs(): time.sleep(60)
        def test_never(): pass
        """,
        "--forked",
        "--forked-session-timeout=1",
        "--forked-grace=1",
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*timeout of 1 s in call (--forked-session-timeout)",
            "!!*--forked-session-timeout: 1 s are over*",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_slow_tests_are_named_while_they_run(run):
    result = run(
        """
        import time

        def test_slow(): time.sleep(0.5)
        def test_quick(): pass
        """,
        "--forked",
        "--forked-slow-after=200ms",
    )

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["forked: *::test_slow still runs after 0.2 s"])
    result.stdout.no_fnmatch_line("forked: *::test_quick still runs*")


@pytest.mark.parametrize(
    ("where", "lines"),
    [
        ("setup", ["*timeout of 0.5 s in setup (--forked-timeout)"]),
        ("hold", ["*ran into its timeout of 0.5 s (*SIGKILL*in setup*"]),
        ("teardown", ["*timeout of 0.5 s in teardown (--forked-timeout)"]),
        ("hold in teardown", ["*ran into its timeout of 0.5 s (*SIGKILL*in teardown*"]),
    ],
)
def test_a_fork_server_that_hangs_in_a_shared_fixture_is_ended_as_a_test_is(run, where, lines):
    result = run(
        f"""
        import pytest, time

        @pytest.fixture(scope="module")
        def shared():
            if {where!r} == "setup":
                time.sleep(60)
            if {where!r} == "hold":
                {HOLD_GIL}
            yield
            if {where!r} == "teardown":
                time.sleep(60)
            if {where!r} == "hold in teardown":
                {HOLD_GIL}

        def test_first(): pass
        def test_victim(shared): pass
        """,
        *OPTIONS,
    )

    assert result.parseoutcomes()["errors"] == 1
    assert result.parseoutcomes()["passed"] == (2 if "teardown" in where else 1)
    result.stdout.fnmatch_lines(lines)
