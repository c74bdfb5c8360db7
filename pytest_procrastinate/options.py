"""Options, ini values and marks, turned into one frozen :class:`Settings` per item."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import pytest

from pytest_procrastinate.deaths import Dies
from pytest_procrastinate.pytest_private import tears_down_all_as_it_stops
from pytest_procrastinate.quantities import parse_duration, parse_jobs, parse_memory_limit

FIXTURES = ("auto", "shared", "fresh")
SCOPES = ("function", "class", "module", "package", "session")
LEAKS = ("off", "kill", "warn", "fail")
GRACE_SECONDS = 10.0  # nextest's, too: a teardown may close a database

T = TypeVar("T")


class Timeout(NamedTuple):
    """A limit of time.

    :ivar source: Who set it, as it is told: ``--forked-timeout``, ``forked(timeout=...)``.
    :ivar message: What is told in place of our own words.
    """

    seconds: float
    source: str
    message: str | None = None


class Settings(NamedTuple):
    """What was asked for one item."""

    forked: bool = False
    fixtures: str = "auto"
    timeout: Timeout | None = None
    grace_seconds: float = GRACE_SECONDS
    memory_limit_bytes: int | None = None
    cpu_limit_seconds: float | None = None
    leaks: str = "kill"
    dies: Dies | None = None
    scope: str = "function"
    group: str | None = None
    exclusive: bool = False

    @property
    def waits_for_end(self) -> bool:
        """Whether what it leaves running is told as its own: that is known when its child has ended."""
        return self.leaks in ("warn", "fail")


class RunSettings(NamedTuple):
    """What was asked for the whole run."""

    timeout: Timeout | None = None
    grace_seconds: float = GRACE_SECONDS
    memory_limit_bytes: int | None = None
    cpu_limit_seconds: float | None = None
    leaks: str = "kill"
    fixtures: str = "auto"
    slow_after_seconds: float | None = None
    session_timeout_seconds: float | None = None
    scope: str = "function"
    jobs: int = 1
    groups: Mapping[str, int] = MappingProxyType({})


SETTINGS = pytest.StashKey[dict[pytest.Item, Settings]]()
"""In ``config.stash``, from the end of collection on, also in fork servers and children."""

FRESH_FIXTURES = pytest.StashKey[dict[str, str]]()
"""Fixtures that were not shared, with the reason: for the summary."""

AT_END = pytest.StashKey[tuple[Any, ...]]()
"""What was raised as a run that stops tore down what was left: as a plain session finishes."""

THREADS = pytest.StashKey[list[str]]()
"""The names of the threads that the pytest process had beside its own as it forked, if any."""

FORKS = pytest.StashKey[bool]()
"""There may be something to say in the summary: tests of this run were forked, or of a worker's."""

WORKER_SUMMARY = "forked"
"""Names, in what a worker of pytest-xdist hands over as it ends, what it has to say in the summary."""

WORKER_SLOT = "forked_slot"
"""Names, in what a worker of pytest-xdist is given as it starts, its number among all there were."""

WORKERS = pytest.StashKey[int]()
"""How many workers the controller of pytest-xdist has started."""

RUN_SETTINGS = pytest.StashKey[RunSettings]()


def stop_is_found_outside(config: pytest.Config) -> bool:
    """Whether it takes the pytest process to know that the run stops with a test.

    A child counts its own failures, and knows what had failed when it started: with one job that is
    all that ``--maxfail`` asks for. What ``--stepwise`` counts, it does not know.
    """
    options = config.option
    several = config.stash[RUN_SETTINGS].jobs > 1 and bool(getattr(options, "maxfail", 0))
    return (several or bool(getattr(options, "stepwise", False))) and tears_down_all_as_it_stops()


# noun: what it takes, what it does
_VALUES = {
    "jobs": ("N|auto", "run so many forked tests at once (auto: one for each CPU)"),
    "timeout": ("DURATION", "end a forked test that runs longer (90, 1m30s; 0: never)"),
    "grace": ("DURATION", "time for teardown after a timeout or an interrupt (default: 10s)"),
    "session-timeout": ("DURATION", "stop the run after this time; what is known by then is told"),
    "slow-after": ("DURATION", "name forked tests that still run after this time"),
    "memory-limit": ("SIZE", "let a forked test allocate no more than this (512M)"),
    "cpu-limit": ("DURATION", "let a forked test use no more CPU time than this"),
    "fixtures": (
        "|".join(FIXTURES),
        "fixtures of a broader scope: shared copy-on-write, set up fresh in each child, or (auto, "
        "the default) shared where that is safe",
    ),
    "scope": (
        "|".join(SCOPES),
        "the unit that shares one child: each test (default), or all of a class, module, …",
    ),
    "leaks": (
        "|".join(LEAKS),
        "what to do about processes that a forked test leaves (default: kill)",
    ),
}


def add_options(parser: pytest.Parser) -> None:
    """Declare what nobody else declares."""
    group = parser.getgroup("forked", "forked subprocess test execution")
    group.addoption(
        "--no-forked",
        action="store_true",
        dest="no_forked",
        default=False,
        help="run no test in a child, whatever --forked, the ini and marks say",
    )
    parser.addini(
        "forked_groups",
        "how many tests of a group may run at once, a line each: gpu = 2 (default: 1)",
        type="linelist",
        default=[],
    )
    parser.addini(
        "forked_shared_fixtures",
        "names or globs of fixtures that auto shares although they open files, sockets or processes",
        type="args",
        default=[],
    )
    parser.addini(
        "forked",
        "run each test in its own forked child, as --forked does",
        type="bool",
        default=False,
    )
    for noun, (metavar, text) in _VALUES.items():
        name = f"forked_{noun.replace('-', '_')}"
        group.addoption(f"--forked-{noun}", dest=name, default=None, metavar=metavar, help=text)
        parser.addini(name, text, default="")


def add_forked_option(parser: pytest.Parser) -> None:
    """Declare ``--forked``, unless pytest-forked did: then its option serves us."""
    try:
        parser.getgroup("forked", "forked subprocess test execution").addoption(
            "--forked",
            action="store_true",
            dest="forked",
            default=False,
            help="run each test in its own forked child",
        )
    except ValueError:  # "option names {'--forked'} already added"
        pass


def add_markers(config: pytest.Config) -> None:
    """Declare the marks, for ``--markers`` and ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        "forked(condition=True, *, reason=None, fixtures=None, timeout=None, memory_limit=None, "
        "cpu_limit=None, leaks=None, scope=None, group=None, exclusive=False): run the test in its "
        "own forked child; forked(False): run it in the pytest process, even with --forked",
    )
    config.addinivalue_line(
        "markers",
        "dies(signal=None, exitcode=None, match=None): the test passes when its child ends so "
        "during its call; it is run in its own forked child",
    )


def run_settings_of(config: pytest.Config) -> RunSettings:
    """Return what was asked for the run: options first, then the ini.

    :raises pytest.UsageError: A value is no good; names the option and the fix.
    """
    try:
        config.getini("forked")
    except (ValueError, pytest.UsageError) as error:  # the latter from 9.0, without the name
        raise pytest.UsageError(f"ini option forked: {error}; write true or false") from error
    timeout, source = _asked(config, "timeout", parse_duration)
    grace, _ = _asked(config, "grace", parse_duration)
    leaks, _ = _asked(config, "leaks", lambda word: one_of(LEAKS, word))
    fixtures, _ = _asked(config, "fixtures", lambda word: one_of(FIXTURES, word))
    session_timeout, _ = _asked(config, "session-timeout", parse_duration)
    slow_after, _ = _asked(config, "slow-after", parse_duration)
    memory_limit, _ = _asked(config, "memory-limit", parse_memory_limit)
    cpu_limit, _ = _asked(config, "cpu-limit", parse_duration)
    scope, _ = _asked(config, "scope", lambda word: one_of(SCOPES, word))
    return RunSettings(
        scope=scope or "function",
        timeout=Timeout(timeout, source) if timeout else None,
        grace_seconds=GRACE_SECONDS if grace is None else grace,
        memory_limit_bytes=memory_limit or None,
        cpu_limit_seconds=cpu_limit or None,
        leaks=leaks or "kill",
        fixtures=fixtures or "auto",
        slow_after_seconds=slow_after or None,
        session_timeout_seconds=session_timeout or None,
        jobs=_jobs(config),
        groups=_groups(config),
    )


def _jobs(config: pytest.Config) -> int:
    """Return how many tests may run at once; one in a worker of xdist, which has its own way."""
    jobs, source = _asked(config, "jobs", parse_jobs)
    if hasattr(config, "workerinput") or jobs is None:
        return 1
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        if source.startswith("--"):
            raise pytest.UsageError(
                f"{source}: not together with -n; leave one out (-n 2 --forked runs two at once, too)"
            )
        return 1
    return jobs


def number_worker(config: pytest.Config, workerinput: dict[str, Any]) -> None:
    """Give a worker of xdist a number, in the controller: its id may be any name (``--tx popen//id=db``)."""
    workerinput[WORKER_SLOT] = number = config.stash.get(WORKERS, 0)
    config.stash[WORKERS] = number + 1


def first_slot(config: pytest.Config) -> int:
    """Return the lowest slot of this process: those of xdist's workers are distinct."""
    return int(getattr(config, "workerinput", {}).get(WORKER_SLOT, 0))


def _groups(config: pytest.Config) -> dict[str, int]:
    """Return how many tests of a group may run at once, where that is not one."""
    groups: dict[str, int] = {}
    for line in config.getini("forked_groups"):
        name, equals, limit = (each.strip() for each in line.partition("="))
        try:
            if not equals or not name or not limit.isdecimal() or int(limit) < 1:
                raise ValueError
        except ValueError:  # int has a limit of its own: 4300 digits
            raise pytest.UsageError(
                f"ini option forked_groups: {line!r} is no limit; write gpu = 2"
            ) from None
        if groups.setdefault(name, int(limit)) != int(limit):
            raise pytest.UsageError(
                f"ini option forked_groups: {name!r} has the limits {groups[name]} and {limit}; "
                "leave one out"
            )
    return groups


def _asked(config: pytest.Config, noun: str, parse: Callable[[str], T]) -> tuple[T | None, str]:
    """Return a parsed value and who said so; None where nobody did."""
    name = f"forked_{noun.replace('-', '_')}"
    for value, source in (
        (config.getoption(name, None), f"--forked-{noun}"),
        (config.getini(name) or None, f"ini option {name}"),  # empty where it is not there
    ):
        if value is not None:
            try:
                return parse(value), source
            except ValueError as error:
                raise pytest.UsageError(f"{source}: {error}") from error
    return None, ""


def one_of(words: tuple[str, ...], given: object) -> str:
    """Return ``given``, which must be one of the words.

    :raises ValueError: It is not; the text says how to mend it.
    """
    if given in words:
        return str(given)
    close = difflib.get_close_matches(str(given), words, 1)
    choice = f"{', '.join(words[:-1])} or {words[-1]}"
    hint = f"did you mean {close[0]!r}?" if close else f"write {choice}"
    raise ValueError(f"{str(given)!r} is unknown; {hint}")
