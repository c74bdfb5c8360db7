"""This process's SIGCHLD and wakeup descriptor, shared by all who want to hear of deaths.

Whose death it was, and what follows, is left to :mod:`.waiting`.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from pytest_procrastinate.process.unpatched import os, socket


class User(Protocol):
    """Who wants to hear of deaths."""

    def keep_endings(self) -> None:
        """Reap who is dead of its own, before the handler that was found is called."""


class Sigchld:
    """This process's SIGCHLD and wakeup descriptor, shared by all waiters that are open.

    The first of them changes what it finds, the last one puts it back; what
    somebody else has set in the meantime stays, and may go on calling us.
    """

    def __init__(self) -> None:
        self._users: dict[User, Callable[[], None] | None] = {}
        self._found: Handler = signal.SIG_DFL
        self._installed: Handler = signal.SIG_DFL
        self._pipe: tuple[socket.socket, socket.socket] | None = None
        self._found_descriptor = -1
        self._was_blocked = False

    @property
    def descriptor(self) -> int | None:
        return None if self._pipe is None else self._pipe[0].fileno()

    def subscribe(self, user: User, wakeup: Callable[[], None]) -> None:
        """Call ``wakeup`` at each SIGCHLD until ``user`` unsubscribes."""
        if not in_main_thread():
            name = threading.current_thread().name
            raise RuntimeError(
                f"SIGCHLD can be handled in the main thread only, and this is {name!r}"
            )
        if signal.getsignal(signal.SIGCHLD) is None:
            raise RuntimeError("SIGCHLD has a handler that is not Python's; it cannot be put back")
        if self._pipe is None:
            self._take_wakeup_descriptor()
        self._add(user, wakeup)

    def stop_ignoring(self, user: User) -> None:
        """See that children leave a status, until ``user`` unsubscribes."""
        if in_main_thread():
            self._add(user, None)
        elif signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise RuntimeError(
                "SIGCHLD is ignored, so no child leaves a status, and only the main thread "
                "can change that: open the waiter there, or set SIGCHLD to SIG_DFL before"
            )

    def unsubscribe(self, user: User) -> None:
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

    def _add(self, user: User, wakeup: Callable[[], None] | None) -> None:
        if not self._users:
            self._found = self._installed = signal.getsignal(signal.SIGCHLD)
        self._users[user] = wakeup
        self._install()

    def _install(self) -> None:
        """Set the handler that the present users need, unless somebody has set another."""
        if signal.getsignal(signal.SIGCHLD) is not self._installed:
            return
        wanted = self._found
        if self._wakeups() or (self._users and callable(self._found)):
            # One that is in place stays: somebody may have chained to it.
            wanted = self._installed if self._is_ours() else self._make_handler(self._found)
        elif self._users and self._found is signal.SIG_IGN:
            wanted = signal.SIG_DFL
        if wanted is not self._installed:
            signal.signal(signal.SIGCHLD, wanted)
            self._installed = wanted

    def _is_ours(self) -> bool:
        return getattr(self._installed, "waiters", None) is self

    def _make_handler(self, found: Handler) -> Handler:
        def handle_sigchld(signum: int, frame: FrameType | None) -> None:
            self.drain()
            if callable(found):  # it may reap whoever is dead
                for user in list(self._users):
                    user.keep_endings()
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


Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

sigchld = Sigchld()


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
