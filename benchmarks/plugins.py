"""The plugins that are tried beside ours: what to install, which suite, which options and files."""

from __future__ import annotations

import dataclasses

NEW_LOOP = "an event loop does not survive a fork: each test sets up async fixtures afresh"
NEW_LOOP_LINES = ("torn down", "forked: each test sets up")
LETTER = "the letter of a failed subtest of unittest is on the terminal, not in the test's captured output"
LETTER_LINES = ('[["Captured stdout call", "u', 'plain "subtests = SubTests(')


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One line of the matrix.

    :ivar packages: What pip installs beside pytest.
    :ivar suite: A folder of ``tests/ecosystem/suites``; None: the plugin's name.
    :ivar options: Of both runs.
    :ivar files: What the plugin writes, relative to its scratch folder: compared, masked.
    :ivar output: Compare what is printed as well.
    :ivar crash: The last line of output, in part, of the suite's ``crash.py`` when forked.
    :ivar masks: More of what differs from run to run.
    :ivar limit: What is different, and why; shown in the table.
    :ivar expected: Differences that the limit means: each line of difference holds one of these.
    """

    name: str
    packages: tuple[str, ...] = ()
    suite: str | None = None
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    output: bool = True
    crash: str | None = None
    crash_options: tuple[str, ...] = ()
    masks: tuple[tuple[str, str], ...] = ()
    limit: str | None = None
    expected: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The folder of its suite."""
        return self.suite or self.name.partition(" ")[0].removeprefix("pytest-")


XDIST_MODES = ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each")

PLUGINS = [
    Plugin("pytest alone", suite="mixed", options=("-ra",)),
    Plugin(
        "pytest's junitxml",
        suite="mixed",
        options=("--junitxml={scratch}/junit.xml",),
        files=("junit.xml",),
        masks=((r'(time|timestamp|hostname)="[^"]*"', ""),),
    ),
    Plugin(
        "pytest's subtests", suite="subtests", options=("-ra",), limit=LETTER, expected=LETTER_LINES
    ),
    *(
        Plugin(
            f"pytest-xdist --dist={mode}",
            ("pytest-xdist",),
            suite="xdist",
            options=("-n2", f"--dist={mode}"),
            output=False,
            expected=("order: ",),  # which worker is the first to tell is chance
            crash=None if mode == "each" else "2 failed, 5 passed",
            crash_options=("-n2", f"--dist={mode}"),
        )
        for mode in XDIST_MODES
    ),
    Plugin("pytest-rerunfailures", ("pytest-rerunfailures",), crash="1 failed, 2 passed, 2 rerun"),
    Plugin("flaky", ("flaky",), crash="2 passed"),
    Plugin("pytest-asyncio", ("pytest-asyncio",), limit=NEW_LOOP, expected=NEW_LOOP_LINES),
    Plugin("anyio", ("anyio", "trio"), limit=NEW_LOOP, expected=NEW_LOOP_LINES),
    Plugin("pytest-trio", ("pytest-trio",), options=("-o", "trio_mode=false")),
    Plugin(
        "hypothesis",
        ("hypothesis",),
        options=("--hypothesis-show-statistics",),
        masks=((r"Typical runtimes:.*", ""),),
    ),
    Plugin("hypothesis's database", ("hypothesis",), suite="hypothesis-database"),
    Plugin(
        "pytest-randomly",
        ("pytest-randomly",),
        options=("-p", "randomly", "-p", "no:cacheprovider", "--randomly-seed=7"),
    ),
    Plugin(
        "pytest-random-order",
        ("pytest-random-order",),
        suite="mixed",
        options=("--random-order", "--random-order-seed=7"),
    ),
    Plugin("pytest-repeat", ("pytest-repeat",), options=("--count=2",)),
    Plugin("pytest-mock", ("pytest-mock",)),
    Plugin(
        "pytest-subtests",
        ("pytest-subtests", "pytest<9"),
        suite="subtests",
        limit=LETTER,
        expected=LETTER_LINES,
    ),
    Plugin(
        "pytest-html",
        ("pytest-html",),
        options=("--html={scratch}/report.html", "--self-contained-html"),
        files=("report.html",),
        masks=((r"took [\d:N]+( ms)?", "took N"), (r"report.html on .*", "")),
    ),
    Plugin(
        "pytest-json-report",
        ("pytest-json-report",),
        options=(
            "--json-report",
            "--json-report-file={scratch}/report.json",
            "--json-report-indent=1",
        ),
        files=("report.json",),
        masks=((r'"(msecs|thread|process|relativeCreated|threadName|processName)": [^,}]*', ""),),
    ),
    Plugin(
        "pytest-reportlog",
        ("pytest-reportlog",),
        suite="mixed",
        options=("--report-log={scratch}/log.jsonl",),
        files=("log.jsonl",),
    ),
    Plugin("pytest-metadata", ("pytest-metadata",), options=("--metadata", "Given", "value")),
    Plugin("pytest-sugar", ("pytest-sugar",), suite="mixed"),
    Plugin("pytest-rich", ("pytest-rich",), suite="mixed", options=("--rich",)),
    Plugin("pytest-instafail", ("pytest-instafail",), suite="mixed", options=("--instafail",)),
    Plugin(
        "pytest-benchmark",
        ("pytest-benchmark",),
        options=(
            "--benchmark-max-time=0.02",
            "--benchmark-min-rounds=2",
            "--benchmark-warmup=off",
            "--benchmark-json={scratch}/bench.json",
        ),
        limit="what children measure is not collected: no table, nothing is saved, and it says so",
        expected=("output:",),
    ),
    Plugin(
        "pytest-django",
        ("pytest-django", "django"),
        limit="with SQLite in a file, each test sets the database up afresh: it opened a file",
        expected=("forked: each test sets up",),
    ),
    Plugin("pytest-twisted", ("pytest-twisted", "twisted")),
    Plugin("twisted.trial", ("twisted",), suite="twisted-trial"),
    Plugin(
        "syrupy",
        ("syrupy",),
        options=("--snapshot-update", "--snapshot-dirname={scratch}"),
        files=("test_it.ambr",),
        limit="children write the snapshots that they update; unused ones are not looked for, and it says so",
        expected=("output:",),
    ),
    Plugin(
        "pytest-bdd",
        ("pytest-bdd",),
        options=("--gherkin-terminal-reporter", "-v", "--cucumberjson={scratch}/cucumber.json"),
        files=("cucumber.json",),
        masks=((r'"duration": \d+', '"duration": N'),),
    ),
    Plugin(
        "pytest-memray",
        ("pytest-memray",),
        options=("--memray",),
        output=False,
        masks=((r"\\u26a0 Memray support.*?\\n\\n?", ""),),
        limit="its report of the largest tests lacks them; limits work",
    ),
    Plugin("pytest-testmon", ("pytest-testmon",), options=("--testmon",), output=False),
    Plugin(
        "pytest-forked",
        ("pytest-forked", "pytest<9"),
        suite="mixed",
        output=False,
        limit="ours takes over, a line of the header says so",
    ),
    Plugin(
        "pytest-isolate",
        ("pytest-isolate", "pytest<9"),
        suite="mixed",
        output=False,
        limit="a test that is forked here is isolated here; its limits do not count then",
    ),
]
