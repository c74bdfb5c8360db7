"""How a death is noticed: a pidfd per child where there are pidfds, SIGCHLD elsewhere.

Each child is asked for by its own pid, never ``waitpid(-1)``: that would steal
the children of others. Who may be dead, and what follows from it, is the
manager's affair; this room tells it when to ask, and asks.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.unpatched import os, socket


@dataclass(frozen=True)
class Stopped:
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

    @property
    def descriptor(self) -> int | None:
        """The descriptor that SIGCHLD, and any other handled signal, makes readable."""
        return _sigchld.descriptor if self._notice_sigchld else None

    def open(self, wakeup: Callable[[], None]) -> None:
        """Begin to notice; see :class:`Waiter`."""
        if self._wakeup is not None:
            raise RuntimeError("this waiter is open already")
        if self._notice_sigchld:
            _sigchld.subscribe(self, wakeup)
        else:
            _sigchld.stop_ignoring(self)
        self._wakeup = wakeup

    def poll(self, pid: int) -> Ending | Stopped | None:
        """Return what became of ``pid``; see :class:`Waiter`."""
        return poll_child(pid)

    def send_signal(self, pid: int, signum: int) -> bool:
        """Send a signal. A child that is not reaped keeps its number, so it is not another's."""
        return _kill(pid, signum)

    def forget(self, pid: int) -> None:
        """Do nothing: nothing was opened."""

    def drain(self) -> None:
        """Read :attr:`descriptor` empty."""
        if self._notice_sigchld:
            _sigchld.drain()

    def close(self) -> None:
        """Put SIGCHLD and the wakeup descriptor back as they were, after the last waiter."""
        if self._wakeup is not None:
            _sigchld.unsubscribe(self)
            self._wakeup = None

    def after_fork(self) -> None:
        """Put SIGCHLD back; see :class:`Waiter`."""
        self._wakeup = None
        _sigchld.after_fork()


class SigchldWaiter(_SignalledWaiter):
    """SIGCHLD, for systems without pidfds. Only in the main thread, where Python has handlers.

    Several may be open at once: they share one handler, which calls the one
    that it found, and one wakeup descriptor, which forwards to the one it found.
    """

    def __init__(self) -> None:
        super().__init__(notice_sigchld=True)

    def watch(self, pid: int) -> int | None:
        """Return None: SIGCHLD does not say whose it is."""
        return None


class PidfdWaiter(_SignalledWaiter):
    """One pidfd per child: Linux, in any thread, beside any number of other managers.

    A pidfd cannot be read when its process *stops*: only SIGCHLD tells that.
    Without ``notice_stops`` a :class:`Stopped` is found when somebody polls for
    another reason; with it, the main thread's SIGCHLD calls ``wakeup``, too.

    SIGCHLD ignored would make the kernel reap each child untold. In the main
    thread that is changed while a waiter is open; in another, :meth:`open`
    raises RuntimeError.

    :param notice_stops: Needs :meth:`open` in the main thread.
    """

    def __init__(self, *, notice_stops: bool = False) -> None:
        super().__init__(notice_sigchld=notice_stops)
        self._pidfds: dict[int, int] = {}

    def watch(self, pid: int) -> int | None:
        """Return a pidfd for ``pid``."""
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


class _Sigchld:
    """This process's SIGCHLD and wakeup descriptor, shared by all waiters that are open.

    The first of them changes what it finds, the last one puts it back; what
    somebody else has set in the meantime stays, and may go on calling us.
    """

    def __init__(self) -> None:
        self._users: dict[object, Callable[[], None] | None] = {}
        self._found: _Handler = signal.SIG_DFL
        self._installed: _Handler = signal.SIG_DFL
        self._pipe: tuple[socket.socket, socket.socket] | None = None
        self._found_descriptor = -1
        self._was_blocked = False

    @property
    def descriptor(self) -> int | None:
        return None if self._pipe is None else self._pipe[0].fileno()

    def subscribe(self, user: object, wakeup: Callable[[], None]) -> None:
        """Call ``wakeup`` at each SIGCHLD until ``user`` unsubscribes."""
        if not _in_main_thread():
            name = threading.current_thread().name
            raise RuntimeError(
                f"SIGCHLD can be handled in the main thread only, and this is {name!r}"
            )
        if signal.getsignal(signal.SIGCHLD) is None:
            raise RuntimeError("SIGCHLD has a handler that is not Python's; it cannot be put back")
        if self._pipe is None:
            self._take_wakeup_descriptor()
        self._add(user, wakeup)

    def stop_ignoring(self, user: object) -> None:
        """See that children leave a status, until ``user`` unsubscribes."""
        if _in_main_thread():
            self._add(user, None)
        elif signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise RuntimeError(
                "SIGCHLD is ignored, so no child leaves a status, and only the main thread "
                "can change that: open the waiter there, or set SIGCHLD to SIG_DFL before"
            )

    def unsubscribe(self, user: object) -> None:
        if user not in self._users:
            return
        del self._users[user]
        self._install()
        if self._pipe is not None and not self._wakeups():
            self._give_wakeup_descriptor_back()

    def drain(self) -> None:
        """Read what the C signal handler wrote; it is meant for whom we replaced as well."""
        if self._pipe is None:
            return
        try:
            while data := self._pipe[0].recv(4096):
                if self._found_descriptor != -1:
                    os.write(self._found_descriptor, data)
        except OSError:  # empty; or the other descriptor is full or closed, and nothing is lost
            pass

    def after_fork(self) -> None:
        """Put all back, except a wakeup descriptor found: it still leads to the parent's loop."""
        self._users.clear()
        if self._installed is not self._found:
            self._install()
        if self._pipe is not None:
            self._found_descriptor = -1
            self._give_wakeup_descriptor_back()

    def _wakeups(self) -> list[Callable[[], None]]:
        return [wakeup for wakeup in self._users.values() if wakeup is not None]

    def _add(self, user: object, wakeup: Callable[[], None] | None) -> None:
        if not self._users:
            self._found = self._installed = signal.getsignal(signal.SIGCHLD)
        self._users[user] = wakeup
        self._install()

    def _install(self) -> None:
        """Set the handler that the present users need, unless somebody has set another."""
        if signal.getsignal(signal.SIGCHLD) is not self._installed:
            return
        wanted = self._found
        if self._wakeups():
            # One that is in place stays: somebody may have chained to it.
            wanted = self._installed if self._is_ours() else self._make_handler(self._found)
        elif self._users and self._found is signal.SIG_IGN:
            wanted = signal.SIG_DFL
        if wanted is not self._installed:
            signal.signal(signal.SIGCHLD, wanted)
            self._installed = wanted

    def _is_ours(self) -> bool:
        return getattr(self._installed, "waiters", None) is self

    def _make_handler(self, found: _Handler) -> _Handler:
        def handle_sigchld(signum: int, frame: FrameType | None) -> None:
            self.drain()
            for wakeup in self._wakeups():
                wakeup()
            if callable(found):
                found(signum, frame)

        handle_sigchld.waiters = self  # type: ignore[attr-defined]
        return handle_sigchld

    def _take_wakeup_descriptor(self) -> None:
        self._pipe = socket.socketpair()
        for end in self._pipe:
            end.setblocking(False)
        self._found_descriptor = signal.set_wakeup_fd(
            self._pipe[1].fileno(), warn_on_full_buffer=False
        )
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        self._was_blocked = signal.SIGCHLD in blocked

    def _give_wakeup_descriptor_back(self) -> None:
        assert self._pipe is not None
        pipe, self._pipe = self._pipe, None
        if self._was_blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        current = signal.set_wakeup_fd(-1)
        is_ours = current == pipe[1].fileno()
        # Its owner may have closed it in the meantime.
        with contextlib.suppress(OSError, ValueError):
            signal.set_wakeup_fd(self._found_descriptor if is_ours else current)
        for end in pipe:
            # Somebody who has set theirs may put ours back one day: its number stays taken.
            end.close() if is_ours else end.detach()


_Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

_sigchld = _Sigchld()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
