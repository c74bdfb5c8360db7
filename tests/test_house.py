"""The rules that no linter knows: file lengths, README's options, the watch in conftest.py."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES_AT_MOST = 400


def test_no_python_file_is_longer_than_400_lines():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for folder in ("pytest_procrastinate", "tests", "example_suite", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }

    assert lengths
    assert {name: n for name, n in lengths.items() if n > LINES_AT_MOST} == {}


def test_readme_lists_every_option_and_ini(pytester):
    told = pytester.runpytest_subprocess("--help", "-p", "pytest_procrastinate", timeout=60)
    options = re.findall(r"^  (--[\w-]*forked[\w-]*|forked\w*(?= \())", told.stdout.str(), re.M)
    readme = (ROOT / "README.md").read_text()

    assert {"--forked", "--no-forked", "forked"} <= set(options)
    assert [name for name in options if not re.search(rf"`{name}\b", readme)] == []


def test_what_the_docs_say_of_the_inside_is_there():
    package = ROOT / "pytest_procrastinate"
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    named = re.findall(r"`([\w/.]+)`", (ROOT / "docs" / "inside.md").read_text())
    files = [name for name in named if name.endswith((".py", "/"))]
    names = [name for name in named if name not in files]

    assert files
    assert [name for name in files if not (package / name).exists()] == []
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_a_test_that_leaves_something_behind_fails(pytester):
    watch = (ROOT / "tests" / "conftest.py").read_text()
    pytester.makeconftest(watch.replace("GRACE_SECONDS = 5.0", "GRACE_SECONDS = 0.2"))
    pytester.makepyfile(
        """
        import os, signal, subprocess

        def test_child():
            test_child.kept = subprocess.Popen(["sleep", "60"])

        def test_descriptor():
            os.pipe()

        def test_handler():
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

        def test_wakeup_descriptor():
            zero = os.open("/dev/zero", os.O_WRONLY | os.O_NONBLOCK)
            signal.set_wakeup_fd(zero)

        def test_blocked_signal():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

        def test_bystander():
            pass
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:pytest_procrastinate", timeout=60)

    result.assert_outcomes(passed=6, errors=5)
    result.stdout.fnmatch_lines(
        [
            "*the test left behind: child * (sleep)",
            "*the test left behind: descriptor * pipe:*",
            "*the test left behind: handler of SIGUSR1: *, was *",
            "*the test left behind: *wakeup descriptor: *, was -1",
            "*the test left behind: blocked signals: *SIGUSR2*, was *",
        ]
    )
