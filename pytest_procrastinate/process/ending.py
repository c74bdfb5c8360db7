"""How a child ended: one value, made where it is reaped, and told as it is.

No sign tricks: a status and a signal are different fields. Who ended a child,
and why, is known only to who did it; they say so with :meth:`Ending.with_cause`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pytest_procrastinate.process.unpatched import os

if TYPE_CHECKING:
    import resource

Cause = Literal[
    "", "timeout", "memory limit", "out of memory", "cpu limit", "interrupt", "stopped", "lost"
]
"""What made us end a child, or the kernel for us; empty when it ended by itself."""

_CAUSES: frozenset[str] = frozenset(get_args(Cause))

_TOLD_AS = {
    "timeout": "ran into its timeout",
    "memory limit": "went over its memory limit",
    "out of memory": "was ended by the kernel, which had no memory left",
    "cpu limit": "went over its cpu limit",
    "interrupt": "was interrupted",
    "stopped": "was stopped and did not go on",
}

# The signals by which a program says that it is broken. The others were sent.
_CRASHES = frozenset(
    {"SIGABRT", "SIGBUS", "SIGEMT", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"}
)

# What strsignal(3) says of these repeats their names.
_PLAIN = frozenset({"SIGHUP", "SIGINT", "SIGKILL", "SIGTERM"})

# Of rusage: KiB on Linux and the BSDs, bytes on macOS.
_MAXRSS_BYTES = 1 if os.uname().sysname == "Darwin" else 1024


class Usage(NamedTuple):
    """What a process and the descendants it waited for have used, as the kernel counted it.

    ``peak_memory_bytes`` is the peak of what was resident. A forked child
    starts with what its parent had resident at the fork.
    """

    user_seconds: float
    system_seconds: float
    peak_memory_bytes: int
    minor_faults: int
    major_faults: int

    @classmethod
    def from_rusage(cls, rusage: resource.struct_rusage) -> Usage:
        """Make one from what :func:`os.wait4` returned."""
        return cls(
            user_seconds=rusage.ru_utime,
            system_seconds=rusage.ru_stime,
            peak_memory_bytes=rusage.ru_maxrss * _MAXRSS_BYTES,
            minor_faults=rusage.ru_minflt,
            major_faults=rusage.ru_majflt,
        )


class Ending(NamedTuple):
    """How one process ended.

    Either ``exit_status`` (0 to 255) or ``signal`` is there; neither, when
    nobody could tell: the process was reaped by someone else.
    """

    pid: int
    exit_status: int | None
    signal: int | None
    core_dumped: bool
    usage: Usage | None
    cause: Cause = ""

    @classmethod
    def from_wait(cls, pid: int, wait_status: int, rusage: resource.struct_rusage | None) -> Ending:
        """Make one from what :func:`os.wait4` returned.

        :raises ValueError: The status is that of a process that was stopped or
            continued: it has not ended.
        """
        usage = None if rusage is None else Usage.from_rusage(rusage)
        if os.WIFEXITED(wait_status):
            return cls(pid, os.WEXITSTATUS(wait_status), None, False, usage)
        if os.WIFSIGNALED(wait_status):
            signum, core_dumped = os.WTERMSIG(wait_status), os.WCOREDUMP(wait_status)
            return cls(pid, None, signum, core_dumped, usage)
        raise ValueError(f"process {pid} has not ended: wait status {wait_status:#x}")

    @classmethod
    def lost(cls, pid: int) -> Ending:
        """Make the one of a process of which nobody can tell how it ended."""
        return cls(pid, None, None, False, None, "lost")

    def with_cause(self, cause: Cause) -> Ending:
        """Return this ending, told as ``cause``."""
        return self._replace(cause=cause)

    def as_message(self) -> tuple[object, ...]:
        """Return it as a tuple of builtins, for a frame."""
        usage = self.usage
        return (
            self.pid,
            self.exit_status,
            None if self.signal is None else int(self.signal),
            self.core_dumped,
            None if usage is None else tuple(getattr(usage, field) for field in _USAGE),
            self.cause,
        )

    @classmethod
    def from_message(cls, message: object) -> Ending:
        """Return what :meth:`as_message` was called on.

        :raises ValueError: It is not such a message. The sender may be a
            corrupted process; nothing of the message is believed unchecked.
        """
        match message:
            case (pid, exit_status, signum, core_dumped, usage, str(cause)) if (
                _is_number(pid)
                and (exit_status is None or _is_number(exit_status, 255))
                and (signum is None or _is_number(signum, 127))
                and (exit_status is None or signum is None)
                and type(core_dumped) is bool
                and cause in _CAUSES
            ):
                told_usage = None if usage is None else _usage_from_message(usage)
                return cls(pid, exit_status, signum, core_dumped, told_usage, cause)  # type: ignore[arg-type]  # cause is in _CAUSES
        raise ValueError("not an ending")

    @property
    def signal_name(self) -> str | None:
        """The signal's name (``SIGSEGV``, ``SIGRTMIN+3``, ``signal 33``); None without one."""
        return None if self.signal is None else name_signal(self.signal)

    def describe(self) -> str:
        """Return what a sentence says of the process: ``exited with status 3``."""
        if self.cause == "":
            return self._describe_status()
        if self.cause == "lost":
            return "was lost: nobody could tell how it ended"
        return f"{_TOLD_AS[self.cause]} ({self._describe_status()})"

    def _describe_status(self) -> str:
        if self.exit_status is not None:
            return f"exited with status {self.exit_status}"
        if self.signal is None:
            return "ended in a way that nobody could tell"
        name = name_signal(self.signal)
        verb = "crashed with" if name in _CRASHES else "was killed by"
        details = []
        words = None if name in _PLAIN else _words_for_signal(self.signal)
        if words is not None:
            details.append(words)
        if self.core_dumped:
            details.append("core dumped")
        return f"{verb} {name}" + (f" ({', '.join(details)})" if details else "")


_USAGE = Usage._fields


def name_signal(number: int) -> str:
    """Return the name of a signal, real-time signals and unknown ones too."""
    try:
        return signal.Signals(number).name
    except ValueError:
        pass
    first = getattr(signal, "SIGRTMIN", None)
    if first is not None and first < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - first}"
    return f"signal {number}"


def _words_for_signal(number: int) -> str | None:
    """Return what the C library says of a signal, if that is more than its number."""
    try:
        words = signal.strsignal(number)
    except ValueError:
        return None
    if words is None or words.startswith(("Real-time signal", "Unknown signal")):
        return None
    # "Segmentation fault", but "CPU time limit exceeded" and "I/O possible".
    return words[0].lower() + words[1:] if words[1:2].islower() else words


def _is_number(value: object, highest: int = 1 << 31) -> bool:
    return type(value) is int and 0 <= value <= highest


def _usage_from_message(message: object) -> Usage:
    match message:
        case (float(user), float(system), int(peak), int(minor), int(major)):
            return Usage(user, system, peak, minor, major)
    raise ValueError("not an ending: its usage is not one")
