"""How a death is noticed: a pidfd per child where there are pidfds, SIGCHLD elsewhere.

Each child is asked for by its own pid, never ``waitpid(-1)``: that would steal
the children of others. Who may be dead, and what follows from it, is the
manager's affair; this room tells it when to ask, and asks.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.sigchld import sigchld
from pytest_procrastinate.process.unpatched import os


class Stopped(NamedTuple):
    """A child that has not ended but is stopped, by ``signal`` (job control or ptrace)."""

    pid: int
    signal: int


class Waiter(Protocol):
    """Notices what becomes of the children of one manager.

    All methods are called by the manager, in its thread.
    """

    @property
    def descriptor(self) -> int | None:
        """A descriptor for the selector; call :meth:`drain` when it can be read. May be None.

        Known from :meth:`open` on. Without it in the selector, a SIGCHLD that
        the kernel gives to another thread than the sleeping one is noticed late.
        """

    def open(self, wakeup: Callable[[], None]) -> None:
        """Begin to notice.

        :param wakeup: Called, also from a signal handler, when any child may
            have died or stopped and no descriptor says so: each is to be polled.
        :raises RuntimeError: It is open already, or needs the main thread and
            this is another, or cannot get along with the SIGCHLD handler it finds.
        """

    def watch(self, pid: int) -> int | None:
        """Return a descriptor that can be read once ``pid`` is dead, if there is one.

        None: ``wakeup`` is called instead. It stays open until :meth:`forget`.

        :raises OSError: No descriptor was left (EMFILE, ENFILE).
        """

    def poll(self, pid: int) -> Ending | Stopped | None:
        """Return what became of ``pid`` since the last call, without waiting; None if nothing.

        An Ending reaps it: the next call would tell it as lost. So does one
        that somebody else has reaped.
        """

    def send_signal(self, pid: int, signum: int) -> bool:
        """Send a signal; False when the process is dead already, or no longer ours to signal."""

    def forget(self, pid: int) -> None:
        """Close what :meth:`watch` opened; unregister it from the selector before."""

    def drain(self) -> None:
        """Read :attr:`descriptor` empty."""

    def close(self) -> None:
        """Stop noticing and put all back as :meth:`open` found it. In the thread that opened it."""

    def after_fork(self) -> None:
        """Let go, in a forked child, of all that is its parent's. The first thing it does."""


def default_waiter(*, notice_stops: bool = False) -> PidfdWaiter | SigchldWaiter:
    """Return the best waiter that this system has.

    :param notice_stops: Whether ``wakeup`` must be called for a child that is stopped.
    """
    if have_pidfds():
        return PidfdWaiter(notice_stops=notice_stops)
    return SigchldWaiter()


def have_pidfds() -> bool:
    """Return whether this kernel and this Python have pidfds (Linux 5.3, not all sandboxes)."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def poll_child(pid: int) -> Ending | Stopped | None:
    """Return what became of a child of this process; see :meth:`Waiter.poll`."""
    stopped = None
    while True:
        try:
            # The usage comes with the status, here and nowhere else.
            waited, status, rusage = os.wait4(pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return Ending.lost(pid)
        if waited == 0:
            return stopped
        if os.WIFSTOPPED(status):
            # Go on asking: its end may be behind the stop, and was announced once only.
            # A traced child (PTRACE_TRACEME) reports stops even without WUNTRACED.
            stopped = Stopped(pid, os.WSTOPSIG(status))
            continue
        return Ending.from_wait(pid, status, rusage)


class _SignalledWaiter:
    """What both ways have in common: the state of being open, and SIGCHLD where it is used."""

    def __init__(self, *, notice_sigchld: bool) -> None:
        self._notice_sigchld = notice_sigchld
        self._wakeup: Callable[[], None] | None = None
        self._watched: set[int] = set()
        self._kept: dict[int, Ending] = {}

    @property
    def descriptor(self) -> int | None:
        """The descriptor that SIGCHLD, and any other handled signal, makes readable."""
        return sigchld.descriptor if self._notice_sigchld else None

    def open(self, wakeup: Callable[[], None]) -> None:
        """Begin to notice; see :class:`Waiter`."""
        if self._wakeup is not None:
            raise RuntimeError("this waiter is open already")
        if self._notice_sigchld:
            sigchld.subscribe(self, wakeup)
        else:
            sigchld.stop_ignoring(self)
        self._wakeup = wakeup

    def watch(self, pid: int) -> int | None:
        """Look after ``pid``; see :class:`Waiter`. None: SIGCHLD does not say whose it is."""
        self._watched.add(pid)
        return None

    def keep_endings(self) -> None:
        """Reap who is dead, before a handler of somebody else does that with all there are."""
        for pid in list(self._watched):
            event = poll_child(pid)
            if isinstance(event, Ending) and event.cause != "lost":
                self._kept[pid] = event

    def poll(self, pid: int) -> Ending | Stopped | None:
        """Return what became of ``pid``; see :class:`Waiter`."""
        event = self._kept.pop(pid, None) or poll_child(pid)
        if isinstance(event, Ending) and event.cause == "lost":
            return self._kept.pop(pid, event)  # reaped by a handler, while we asked
        return event

    def send_signal(self, pid: int, signum: int) -> bool:
        """Send a signal. A child that is not reaped keeps its number, so it is not another's."""
        return pid not in self._kept and _kill(pid, signum)

    def forget(self, pid: int) -> None:
        """Look after ``pid`` no more."""
        self._watched.discard(pid)

    def drain(self) -> None:
        """Read :attr:`descriptor` empty."""
        if self._notice_sigchld:
            sigchld.drain()

    def close(self) -> None:
        """Put SIGCHLD and the wakeup descriptor back as they were, after the last waiter."""
        if self._wakeup is not None:
            sigchld.unsubscribe(self)
            self._wakeup = None
            self._watched.clear()

    def after_fork(self) -> None:
        """Put SIGCHLD back; see :class:`Waiter`."""
        self._wakeup = None
        self._watched.clear()
        sigchld.after_fork()


class SigchldWaiter(_SignalledWaiter):
    """SIGCHLD, for systems without pidfds. Only in the main thread, where Python has handlers.

    Several may be open at once: they share one handler, which calls the one
    that it found, and one wakeup descriptor, which forwards to the one it found.
    """

    def __init__(self) -> None:
        super().__init__(notice_sigchld=True)


class PidfdWaiter(_SignalledWaiter):
    """One pidfd per child: Linux, in any thread, beside any number of other managers.

    A pidfd cannot be read when its process *stops*: only SIGCHLD tells that.
    Without ``notice_stops`` a :class:`Stopped` is found when somebody polls for
    another reason; with it, the main thread's SIGCHLD calls ``wakeup``, too.

    SIGCHLD ignored would make the kernel reap each child untold. In the main
    thread that is changed while a waiter is open; in another, :meth:`open`
    raises RuntimeError. A handler that is found may call ``waitpid(-1)``: in
    the main thread it is called when our children have been asked.

    :param notice_stops: Needs :meth:`open` in the main thread.
    """

    def __init__(self, *, notice_stops: bool = False) -> None:
        super().__init__(notice_sigchld=notice_stops)
        self._pidfds: dict[int, int] = {}

    def watch(self, pid: int) -> int | None:
        """Return a pidfd for ``pid``."""
        super().watch(pid)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # Somebody has reaped it already: have it polled, which tells it as lost.
            if self._wakeup is not None:
                self._wakeup()
            return None
        self._pidfds[pid] = pidfd
        return pidfd

    def send_signal(self, pid: int, signum: int) -> bool:
        """Send a signal, to nobody else if ``pid`` is watched, whoever has its number now."""
        pidfd = self._pidfds.get(pid)
        if pidfd is None:
            return super().send_signal(pid, signum)
        try:
            signal.pidfd_send_signal(pidfd, signum)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def forget(self, pid: int) -> None:
        """Close the pidfd of ``pid``, if it has one."""
        super().forget(pid)
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None:
            os.close(pidfd)

    def close(self) -> None:
        """Close all pidfds, and put SIGCHLD back as it was."""
        self._close_pidfds()
        super().close()

    def after_fork(self) -> None:
        """Close what was inherited; see :class:`Waiter`."""
        # They are closed by exec, but a fork copies them.
        self._close_pidfds()
        super().after_fork()

    def _close_pidfds(self) -> None:
        while self._pidfds:
            os.close(self._pidfds.popitem()[1])


def _kill(pid: int, signum: int) -> bool:
    if pid <= 0:
        raise ValueError(f"{pid} is not one process")
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True
