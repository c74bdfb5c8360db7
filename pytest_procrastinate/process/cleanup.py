"""The first steps in a child: signals, process group, descriptors. One function per step.

Each is a few system calls. All run in the forked child, in its only thread,
before anything of the task; the parent prepares what they are given.
"""

from __future__ import annotations

# What Python's signal module wraps: that makes enums, some thousand instructions for each handler.
import _signal  # type: ignore[import-not-found]  # C, without stubs
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NamedTuple

from pytest_procrastinate.process.leftovers import prctl
from pytest_procrastinate.process.unpatched import fcntl, os

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

HIGH_DESCRIPTOR = 500
"""Where our own descriptors live in a child. faulthandler writes to a number:
were it a low one that a test closed and reused, the stack would go into the
test's file."""

_INTERRUPT = int(signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class SignalState(NamedTuple):
    """Handlers and mask at one moment, of the thread that took it."""

    handlers: tuple[tuple[int, Handler], ...]
    mask: frozenset[int]


def signal_state(*signums: int) -> SignalState:
    """Return how these signals are handled now, and which are blocked.

    In the parent, before it changes any of them for its own purposes.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = tuple((int(signum), _signal.getsignal(signum)) for signum in signums)
    return SignalState(handlers, frozenset(mask))


def reset_signals(before: SignalState | None = None) -> None:
    """Make signals act as if nobody had forked: as the parent found them.

    The wakeup descriptor is turned off in any case: it is shared with the
    parent, whose loop would be told of the child's signals.

    :param before: Taken by the parent with :func:`signal_state`. None: handlers
        and mask stay as they are. A handler that is not Python's stays, too.
    """
    signal.set_wakeup_fd(-1)
    if before is None:
        return
    for signum, handler in before.handlers:
        if handler is not None and _signal.getsignal(signum) is not handler:
            _signal.signal(signum, handler)
    # Last: what is pending meets the right handler.
    _signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)


def ignore_terminal_output_stops() -> None:
    """Let a child in the background set the terminal's modes, as pdb and curses do.

    SIGTTOU would stop it for ever in tcsetattr(3).
    """
    _signal.signal(signal.SIGTTOU, int(signal.SIG_IGN))


def ignore_interrupts() -> None:
    """Have Ctrl-C do nothing in this process; what it starts is interrupted as ever."""
    _signal.signal(_INTERRUPT, _do_nothing)


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """Handle a signal: unlike SIG_IGN, that is not inherited."""


def ignores_terminal_output_stops(pid: int) -> bool:
    """Whether a process ignores SIGTTOU: as a child does that was told to, and all that it starts.

    Exec changes nothing about it; see signal(7), and SigIgn in proc(5).
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            _, _, ignored = file.read().partition(b"\nSigIgn:")
            return bool(int(ignored.split(maxsplit=1)[0], 16) >> (signal.SIGTTOU - 1) & 1)
    except (OSError, ValueError, IndexError):
        return False


def lead_own_group() -> None:
    """Put this child into a process group of its own, so that its descendants end with it.

    The parent does the same with :func:`make_group`, and whoever comes first wins.
    """
    try:
        os.setpgid(0, 0)
    except PermissionError:  # it leads a session, and so a group
        pass


def make_group(pid: int) -> None:
    """Put a child into a process group of its own; in the parent, right after the fork.

    Without it, a signal to the group right after the fork would find none.
    """
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):  # it is dead, or has called exec after doing it
        pass


def die_with_parent(parent_pid: int, signum: int = signal.SIGKILL) -> None:
    """Have the kernel send ``signum`` to this process when its parent is gone; on Linux.

    The kernel means the *thread* that forked: use it only where that thread
    lives as long as the child may. Cleared by exec of a setuid program.

    :param parent_pid: Taken before the fork. If this is no longer the parent,
        the signal is sent at once: the kernel tells only what happens from now on.
    """
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signum)


def high_duplicate(descriptor: int, *, close: bool = False, lowest: int = HIGH_DESCRIPTOR) -> int:
    """Return a duplicate of ``descriptor`` where a test will not meet it. Closed by exec.

    Where the limit of open files is below ``lowest``, it goes as high as there is room.

    :param close: The other one is closed; without any room it is what is returned.
    :raises OSError: There is no room for a second one.
    """
    while True:
        try:
            duplicate = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
            break
        except OSError:  # EINVAL: above the limit; EMFILE: nothing free from there on
            if lowest == 0 and close:
                return descriptor
            if lowest == 0:
                raise
            lowest //= 2
    if close:
        os.close(descriptor)
    return duplicate


def runs_of(descriptors: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return the runs of neighbours among descriptors, each with its end, for :func:`os.closerange`."""
    runs: list[tuple[int, int]] = []
    for descriptor in sorted(descriptors):
        if runs and runs[-1][1] == descriptor:
            runs[-1] = runs[-1][0], descriptor + 1
        else:
            runs.append((descriptor, descriptor + 1))
    return tuple(runs)


def close_descriptors(descriptors: Iterable[int]) -> None:
    """Close what belongs to the parent; those that are closed already, too."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            pass
