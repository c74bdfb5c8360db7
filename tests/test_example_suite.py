"""The example suite dies plainly, tells the truth forked, and README.md shows just that.

Run as a script, this file pastes what it sees into README.md.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SUITE = ROOT / "example_suite"
README = ROOT / "README.md"
SECONDS_AT_MOST = 120

# <!-- output: NAME -->, then a block whose first line is the command.
OUTPUT = re.compile(r"(<!-- output: (\S+) -->\n```console\n\$ (.*)\n)((?:.*\n)*?)(```\n)")


def build_crashy(folder: Path) -> Path:
    """Build the extension for this Python; nothing is written beside its source."""
    command = [sys.executable, "setup.py", "--quiet", "egg_info", f"--egg-base={folder}"]
    command += ["build_ext", f"--build-lib={folder}", f"--build-temp={folder}/objects"]
    built = subprocess.run(
        command, cwd=SUITE, capture_output=True, text=True, timeout=SECONDS_AT_MOST
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def run(command: list[str], crashy: Path) -> tuple[int, str]:
    """Run this Python in the suite's folder, as from a terminal 100 columns wide.

    Returns subprocess's ``returncode`` and what came out, stdout and stderr in one.
    """
    left_out = {"CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "FORCE_COLOR"}
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"PYTHONPATH": str(crashy), "COLUMNS": "100", "NO_COLOR": "1"}
    with tempfile.TemporaryFile("w+") as output:  # no pipe, whose end a lost child could keep
        status = subprocess.run(
            [sys.executable, *command],
            cwd=SUITE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_AT_MOST,
            check=False,
        ).returncode
        output.seek(0)
        return status, output.read()


def shown(command: str, crashy: Path) -> str:
    """Return what a command of README.md prints, as README.md shows it.

    A run of frames that are not the suite's own becomes ``...``, paths are a newcomer's.
    """
    words = shlex.split(command)
    if words[0] == "pytest":
        words[:1] = ["-m", "pytest"]
    else:
        del words[0]  # python
    output = run(words, crashy)[1].replace(str(SUITE), "~/pytest-procrastinate/example_suite")
    output = re.sub(r'(?m)(^  File "(?!~).*\n)+', "  ...\n", output)
    return re.sub(r"[ \t]+$", "", output.rstrip("\n"), flags=re.MULTILINE) + "\n"


def masked(text: str) -> str:
    """Replace what differs from one run, machine or version to the next."""
    for pattern, mask in [
        (r"(?m)^platform .*", "platform ..."),
        (r"(?m)^plugins: .*\n", ""),
        (r"(?m)^Extension modules: .*", "Extension modules: ..."),
        (r", core dumped", ""),  # as the machine is set
        (r"0x[0-9a-f]+( \[.*\])?", "0x..."),
        (r"(?m)^Current thread's C stack trace .*\n(  .*\n)+\n?", ""),  # Python 3.14
        (r"\d+(\.\d+)? ?(s|ms|seconds|[KMG]i?B)\b", r"N \2"),
        (r"(?m)=+( .*? )=+$", r"=\1="),  # as long as the time within it lets it be
    ]:
        text = re.sub(pattern, mask, text)
    return text


@pytest.fixture(scope="session")
def crashy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the extension built for this Python."""
    return build_crashy(tmp_path_factory.mktemp("crashy"))


def test_plainly_the_suite_dies_at_the_first_crash(crashy):
    status, output = run(["-m", "pytest", "-p", "no:pytest_procrastinate"], crashy)

    assert status == -signal.SIGSEGV
    assert "test_arithmetic.py ....." in output
    assert "in test_null_pointer" in output
    assert "test_exits.py" not in output


def test_forked_every_test_gets_its_truthful_result(crashy):
    status, output = run(["truth.py"], crashy)

    assert output.endswith("example suite: all 19 tests got their truthful result\n")
    assert status == 0


def test_truth_is_not_found_in_a_plain_run(crashy):
    status, output = run(
        ["-c", "import truth; truth.FORKED = ['-pno:pytest_procrastinate']; exit(truth.main())"],
        crashy,
    )

    assert "test_lengths.test_metres: 'nothing was told', but in truth 'passed'" in output
    assert status == 1


@pytest.mark.parametrize(
    ("option", "outcomes"),
    [("-pno:pytest_procrastinate", "1 failed, 2 passed"), ("--forked", "3 passed")],
    ids=["plain", "forked"],
)
def test_a_leak_reaches_the_next_test_plainly_only(crashy, option, outcomes):
    _, output = run(["-m", "pytest", option, "test_lengths.py"], crashy)

    assert re.search(f"= {outcomes} in .* =", output)


def test_extension_needs_no_python_h(tmp_path):
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    subprocess.run(
        [*compiler, "-shared", "-fPIC", "-O0", "-Wall", "-Werror", "-Istand_in", "crashy.c"]
        + ["-o", str(tmp_path / "crashy.so")]
        + (["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []),
        cwd=SUITE,
        check=True,
        timeout=SECONDS_AT_MOST,
    )

    status, output = run(["-m", "pytest", "test_arithmetic.py", "test_crashes.py"], tmp_path)

    assert "test_arithmetic.py ....." in output
    assert status == -signal.SIGSEGV


def test_manager_runs_callables_without_pytest(crashy):
    status, output = run(["without_pytest.py"], crashy)

    assert output.replace(", core dumped", "").splitlines() == [
        "6 / 3: 2",
        "1 / 0: crashed with SIGFPE (floating point exception)",
        "one / 2: TypeError: 'str' object cannot be interpreted as an integer",
        "7 / 2: 3",
        "leave with status 3: exited with status 3",
    ]
    assert status == 0


@pytest.mark.parametrize("name", [found[1] for found in OUTPUT.findall(README.read_text())])
def test_output_in_readme_is_what_one_sees(crashy, name):
    (block,) = (found for found in OUTPUT.findall(README.read_text()) if found[1] == name)
    _, _, command, output, _ = block

    assert masked(shown(command, crashy)) == masked(output)


def paste_outputs() -> None:
    """Run the commands in README.md and put what they print in place of what is there."""
    with tempfile.TemporaryDirectory() as folder:
        crashy = build_crashy(Path(folder))
        text = OUTPUT.sub(
            lambda block: block[1] + shown(block[3], crashy) + block[5], README.read_text()
        )
    README.write_text(text)


if __name__ == "__main__":
    paste_outputs()
