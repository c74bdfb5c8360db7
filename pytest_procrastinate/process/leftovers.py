"""What a child left running: found, adopted, and ended; described for those who ask.

A process is meant by pid *and* start time, so that a number given away since
hits nobody else. Linux only: elsewhere nothing is found, and nothing fails.

A child's descendants are its own while it lives (:func:`descendants`). When it
dies they become children of the nearest subreaper above it, daemons that have
left its session and closed their files too: what this process has then, and
had not before (:func:`known_children`, :func:`adopted`), was left by it. The
group of a child holds what an interactive shell would call its job.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import select
import shlex
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_procrastinate.process import pidfds
from pytest_procrastinate.process.unpatched import os, time

Identity = tuple[int, int]
"""Pid and start time of a process: unlike a pid, never given to another."""

KILL_SECONDS = 5.0
"""How long SIGKILL may take: the kernel frees gigabytes, or waits for a disk."""

MAX_ROUNDS = 5
"""How often those are ended, too, that were found when the others had ended. A
process that forks faster than it can be killed is not followed for ever."""

_DESCRIBED_CHARACTERS = 200

_EXEC_SECONDS = 0.05  # for a process in the midst of exec to have its arguments

# How multiprocessing starts one; its command line is all that tells it.
_TRACKER = "multiprocessing.resource_tracker import main"

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h

# Linux: also children whose end raises another signal than SIGCHLD, or none. See waitpid(2).
_WALL = 0x40000000


class Leftover(NamedTuple):
    """A process that somebody left running.

    ``started`` is in clock ticks since the machine booted; ``command`` is
    empty for a process that has ended but is not reaped.
    """

    pid: int
    started: int
    name: str
    command: str

    @property
    def identity(self) -> Identity:
        """What tells it from any other process, past and future."""
        return self.pid, self.started

    def describe(self) -> str:
        """Return what a message says of it: ``process 4711 (sleep 60)``."""
        words = self.command or self.name
        if len(words) > _DESCRIBED_CHARACTERS:
            words = words[:_DESCRIBED_CHARACTERS] + "..."
        return f"process {self.pid} ({words})"


class Outcome(enum.Enum):
    """What became of a leftover."""

    SETTLED = "ended by itself"
    TERMINATED = "ended by SIGTERM"
    KILLED = "ended by SIGKILL"
    LEFT = "is still running"


# --- finding -------------------------------------------------------------------------------------


def look_at(pid: int) -> Leftover | None:
    """Return what can be told of a process; None when there is none."""
    deadline = time.monotonic() + _EXEC_SECONDS
    while (stat := _stat(pid)) is not None and _is_in_exec(stat[1]):
        if time.monotonic() > deadline:
            break
        os.sched_yield()
    if stat is None:
        return None
    name, fields = stat
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        words = [b""]
    # A message is UTF-8, an argument may be anything.
    command = shlex.join(word.decode(errors="backslashreplace") for word in words if words != [b""])
    return Leftover(pid, int(fields[_STARTED]), name, command)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children, those that are not reaped too; from /proc."""
    children: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return children
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children += [int(child) for child in file.read().split()]
        except OSError:  # the thread has ended, or the kernel has no CONFIG_PROC_CHILDREN
            continue
    return children


def descendants(pid: int) -> list[int]:
    """Return the pids of all that descends from a living process, the nearest first."""
    found = children_of(pid)
    for child in found:  # grows while it is walked
        found += [grandchild for grandchild in children_of(child) if grandchild not in found]
    return found


def group_members(group: int) -> list[int]:
    """Return the pids of a process group, those that have ended left out.

    Call it before the child that led the group is reaped, or right after: as
    long as the group has a member, no process and no group gets its number.
    """
    # One system call when there is nobody, which is nearly always.
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    except PermissionError:  # somebody is there, and is another user now
        pass
    members: list[int] = []
    for pid in _all_processes():
        stat = _stat(pid)
        if (
            stat is not None
            and int(stat[1][_GROUP]) == group
            and stat[1][_STATE] not in (b"Z", b"X")
        ):
            members.append(pid)
    return members


def known_children() -> frozenset[Identity]:
    """Return the children that this process has now: fixtures' own, other plugins' own.

    Taken before each fork; what is in it is nobody's leftover.
    """
    known: set[Identity] = set()
    for pid in children_of(os.getpid()):
        stat = _stat(pid)
        if stat is not None:
            known.add((pid, int(stat[1][_STARTED])))
    return frozenset(known)


def adopted(known: Collection[Identity], own: Collection[int] = ()) -> list[Leftover]:
    """Return the children that this process has now and had not.

    :param known: From :func:`known_children`.
    :param own: The pids of children that a manager looks after.
    """
    found: list[Leftover] = []
    for pid in children_of(os.getpid()):
        if pid not in own:
            leftover = look_at(pid)
            if leftover is not None and leftover.identity not in known:
                found.append(leftover)
    return found


# --- adopting ------------------------------------------------------------------------------------


def set_subreaper(adopts: bool) -> bool:
    """Make this process adopt the orphans among its descendants, or not; return what it did.

    The nearest such process above an orphan adopts it. Not inherited by a fork.
    Elsewhere than on Linux nothing happens: init adopts.
    """
    if prctl is None:
        return False
    before = ctypes.c_int(0)
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(before), 0, 0, 0)
    prctl(_PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0)
    return bool(before.value)


@contextlib.contextmanager
def become_subreaper() -> Iterator[None]:
    """Adopt orphans for a while. Who adopts must reap: see :func:`adopted` and :func:`end`."""
    before = set_subreaper(True)
    try:
        yield
    finally:
        set_subreaper(before)


def _find_prctl() -> Callable[..., int] | None:
    # Looked up once, in the parent: loading a library after each fork would cost each child.
    try:
        function = ctypes.CDLL(None).prctl
    except (AttributeError, OSError, TypeError):
        return None
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    found: Callable[..., int] = function
    return found


prctl = _find_prctl()
"""prctl(2) with its five arguments; None where there is none."""


# --- ending --------------------------------------------------------------------------------------


def end(
    processes: Iterable[Leftover],
    *,
    settle_seconds: float,
    grace_seconds: float,
    look_again: Callable[[], Iterable[Leftover]] = tuple,
) -> dict[Leftover, Outcome]:
    """End processes and what descends from them; return what became of each.

    Blocks for as long as it takes: as a rule at most ``settle_seconds`` +
    ``grace_seconds`` + ``KILL_SECONDS``, and ``grace_seconds`` more for a
    resource tracker of :mod:`multiprocessing`: that one ends when its clients
    have, removes what they left in shared memory, and is never signalled.

    Those that are children of this process (it adopted them) are reaped, each
    by its own pid: give it nobody whom somebody else waits for.

    Where descriptors are short, some are only ended when others have been; or not at all, with none.

    :param settle_seconds: For those that are on their way out already.
    :param grace_seconds: Between SIGTERM and SIGKILL; 0: SIGKILL at once.
    :param look_again: Returns leftovers anew, those known already too: who ends
        leaves its children to be adopted here. Usually asks :func:`adopted`.
    """
    processes = list(processes)
    with contextlib.closing(_Wanted()) as wanted:
        wanted.add(processes)
        settled = time.monotonic() + settle_seconds
        wanted.wait(settle_seconds, Outcome.SETTLED)
        while wanted.add(look_again()) and time.monotonic() < settled:
            wanted.wait(settled - time.monotonic(), Outcome.SETTLED)
        for _ in range(MAX_ROUNDS):
            # SIGCONT lets a stopped process see the SIGTERM.
            if grace_seconds:
                wanted.send(signal.SIGTERM, signal.SIGCONT)
                wanted.wait(grace_seconds, Outcome.TERMINATED)
            wanted.send(signal.SIGKILL)
            wanted.wait(KILL_SECONDS, Outcome.KILLED)
            if not wanted.add([*processes, *look_again()]):
                break
        wanted.running.update(wanted.trackers)
        wanted.trackers.clear()
        wanted.wait(grace_seconds, Outcome.SETTLED)
        wanted.reap_adopted()
        return wanted.outcomes | dict.fromkeys(wanted.running, Outcome.LEFT)


class _Wanted:
    """The processes that are being ended, each held by a pidfd."""

    def __init__(self) -> None:
        self.running: dict[Leftover, int] = {}
        self.trackers: dict[Leftover, int] = {}
        self.outcomes: dict[Leftover, Outcome] = {}
        self._seen: set[Identity] = set()

    def close(self) -> None:
        """Let go of those that are still held."""
        for pidfd in (*self.running.values(), *self.trackers.values()):
            os.close(pidfd)

    def add(self, processes: Iterable[Leftover]) -> bool:
        """Hold processes and what descends from them; tell whether one was new."""
        known = len(self._seen)
        found = list(processes)
        for process in found:  # grows while it is walked
            if process.identity not in self._seen:
                self._hold(process)
            found += [
                child
                for child in map(look_at, children_of(process.pid))
                if child is not None and child.identity not in self._seen
            ]
        return len(self._seen) > known

    def _hold(self, process: Leftover) -> None:
        try:
            pidfd = pidfds.open_pidfd(process.pid)
        except ProcessLookupError:
            self._seen.add(process.identity)
            self.outcomes[process] = Outcome.SETTLED
            return
        except OSError:  # no descriptor is left: it is found again when others have ended
            return
        now = look_at(process.pid)
        if now is not None and now.identity == process.identity:
            self._seen.add(process.identity)
            (self.trackers if _TRACKER in process.command else self.running)[process] = pidfd
            return
        if now is not None or pidfds.has_ended(pidfd):  # else there was no descriptor to look at it
            self._seen.add(process.identity)
            self.outcomes[process] = Outcome.SETTLED
        os.close(pidfd)

    def send(self, *signums: int) -> None:
        """Send signals to all that still run, to those forked meanwhile too."""
        self.add(list(self.running))
        for pidfd in self.running.values():
            for signum in signums:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    pidfds.send_signal(pidfd, signum)

    def wait(self, seconds: float, outcome: Outcome) -> None:
        """Sleep until all have ended, at most ``seconds``; note ``outcome`` for those that have."""
        poll = select.poll()
        held = {pidfd: process for process, pidfd in self.running.items()}
        for pidfd in held:
            poll.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + seconds
        while held:
            left = max(0.0, deadline - time.monotonic())
            ended = poll.poll(left * 1000)
            for pidfd, _ in ended:
                poll.unregister(pidfd)
                process = held.pop(pidfd)
                os.close(self.running.pop(process))
                self.outcomes[process] = outcome
                # ECHILD: it has a parent beside us, who reaps it.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG | _WALL)
            if not ended and left == 0:
                break

    def reap_adopted(self) -> None:
        """Reap those that ended before their parent did, and became our children after that."""
        for process in self.outcomes:
            now = look_at(process.pid)
            if now is not None and now.identity == process.identity:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG | _WALL)


# --- the kernel's words --------------------------------------------------------------------------


def _stat(pid: int) -> tuple[str, list[bytes]] | None:
    """Return a process's name, and the fields behind it in /proc/<pid>/stat; see proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold blanks and brackets.
            before, _, after = file.read().rpartition(b")")
    except OSError:
        return None
    return before.partition(b"(")[2].decode(errors="backslashreplace"), after.split()


# Indices into those fields: the third of stat is the first here.
_STATE, _GROUP, _STARTED, _ARGUMENTS_END = 0, 2, 19, 46


def _is_in_exec(fields: list[bytes]) -> bool:
    """Whether a process has no arguments yet; or not for us to see, as those of another user."""
    return fields[_STATE] not in (b"Z", b"X") and fields[_ARGUMENTS_END:][:1] == [b"0"]


def _all_processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
