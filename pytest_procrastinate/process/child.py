"""One child as its manager sees it: new, running, stopped, removable.

Leaves to :mod:`.manager` all that concerns several children: forking, waiting, the selector.
"""

from __future__ import annotations

import enum
import os as os_as_it_is
import sys
import termios
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import Decoder, FrameError, encode
from pytest_procrastinate.process.log_handlers import log_handlers_at_rest
from pytest_procrastinate.process.own_pid import own_pid
from pytest_procrastinate.process.task import Result
from pytest_procrastinate.process.unpatched import fcntl, os, socket

CHUNK_BYTES = 1 << 18  # one read empties a full socket buffer (208 KiB by default on Linux)
MAX_TOLD_BYTES = 1 << 30  # what one child may tell; more is a child that writes for ever
# Numbers: to combine members of an enum takes longer than the call that they are for.
NO_SIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0))  # else SIGPIPE ends who talks to the dead
NO_WAIT = int(socket.MSG_DONTWAIT)
PEEK = int(socket.MSG_PEEK)
BROKEN_STATUS = 70  # EX_SOFTWARE of sysexits.h: the task raised, or its parent went away


class State(enum.Enum):
    """Where a child is on its way: the states of Ruby's ``ProcessManager::ChildProcess``."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"  # reaped, its channel may still hold messages
    REMOVABLE = "removable"  # reaped and drained: nothing more can come of it


class Channel:
    """The child's end of its socket pair: messages go up, the parent's word comes down.

    A socket pair and not a pipe, since one descriptor then serves for both ways and can carry
    others (SCM_RIGHTS). It is callable, as :class:`.task.Endpoint` asks.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._identity = _identity(end.fileno())

    def __call__(self, message: object) -> None:
        """Send one message.

        :raises FrameError: It is too large or not made of builtins; nothing was sent.
        :raises OSError: The parent has gone, or the descriptor is no longer ours.
        """
        self.send(encode(message))

    def send(self, frames: bytes) -> None:
        """Send encoded frames in one write where the socket takes them.

        :raises OSError: As for a call. The test may have closed or reused our descriptor: then
            nothing is written, for what it names now belongs to the test.
        """
        if not self.is_ours():
            raise OSError("the report channel was closed or replaced")
        self._socket.sendall(frames, NO_SIGNAL)

    def is_ours(self) -> bool:
        """Tell whether the descriptor still names the socket that it named at the start."""
        try:
            return _identity(self._socket.fileno()) == self._identity
        except OSError:
            return False

    def wait(self) -> bytes:
        """Wait for the parent's next word: at most 64 bytes; empty when the parent has gone."""
        try:
            return self._socket.recv(64)
        except OSError:
            return b""

    def is_heard(self) -> bool:
        """Whether the parent still holds its end, and has not said its last word."""
        try:
            return bool(self._socket.recv(1, PEEK | NO_WAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Channel:
        """Take over the descriptor of a socket."""
        # Named, since Python would ask the kernel for each of them.
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor))

    @property
    def end(self) -> socket.socket:
        """The socket itself, for who passes descriptors along."""
        return self._socket

    def close(self) -> None:
        """Close this end; the parent sees the end of the messages."""
        self._socket.close()


class InChild(NamedTuple):
    """What :meth:`.ProcessManager.fork` returns in the child: its way up, if it has one."""

    channel: Channel | None


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _unread_bytes(channel: socket.socket) -> int:
    number = fcntl.ioctl(channel, termios.FIONREAD, bytes(4))
    return int.from_bytes(number, sys.byteorder)


class ChildProcess:
    """A forked process, from before its fork until nothing more can come of it.

    What its task's result and its completion handler hear comes in one order: each message, then
    one :class:`.Ending`, then the handler. All calls are made by the manager, in its thread.
    """

    def __init__(
        self,
        result: Result | None,
        completion_handler: Callable[[ChildProcess], None] | None,
        channel: socket.socket | None = None,
    ) -> None:
        self.number = 0
        """The manager's number for it."""
        self.pid: int | None = None
        self.parent_pid: int | None = None
        """Who may reap it: this process, or a fork server."""
        self.state = State.NEW
        self.is_orphan = False
        """Whether the fork server died that it ran below."""
        self.ending: Ending | None = None
        self.refusal: str | None = None
        """Why it was never forked, if a fork server could not."""
        self.error: FrameError | None = None
        """Why its messages could not be read to the end, if they could not."""
        self.start_handler: Callable[[ChildProcess], None] | None = None
        self.result = result
        self.channel = channel
        self._completion_handler = completion_handler
        self._decoder = Decoder()
        self._told_bytes = 0
        self._told_all = False

    def __repr__(self) -> str:
        return f"<ChildProcess {self.pid} {self.state.value}>"

    @property
    def removable(self) -> bool:
        """Whether nothing more can come of it."""
        return self.state is State.REMOVABLE

    def keeps_its_pid(self) -> bool:
        """Whether its process id still names it: nobody has reaped it.

        A child of a fork server may have been reaped there, and its number given away since.
        """
        if self.state is not State.RUNNING or self.pid is None:
            return False
        here = os.getpid()
        if self.parent_pid == here or not os.path.isdir("/proc/self"):
            return True  # without procfs nobody can tell: it runs as far as we have heard
        parent = parent_of(self.pid)
        return parent == here or (parent == self.parent_pid and descends_from_here(parent))

    def start(self, pid: int) -> None:
        """Note its process id (new -> running)."""
        self.pid = pid
        self.state = State.RUNNING
        if self.start_handler is not None:
            self.start_handler(self)

    def tell(self, data: bytes) -> bool:
        """Send bytes down its channel; False when it no longer listens.

        One byte opens its gate. Never blocks: what does not fit is refused as if it had gone.
        """
        if self.channel is None:
            return False
        try:
            return self.channel.send(data, NO_WAIT | NO_SIGNAL) == len(data)
        except OSError:
            return False

    def receive(self) -> bool:
        """Read what its channel holds now, at most a chunk; False when nothing more will come."""
        data = self._read()
        if data:
            self._decode(data)
        return data is None or bool(data)

    def _read(self) -> bytes | None:
        """Return the next bytes: None when there are none now, empty when none will come."""
        assert self.channel is not None
        try:
            data = self.channel.recv(CHUNK_BYTES, NO_WAIT)
        except BlockingIOError:
            return None
        except OSError:  # ECONNRESET: it left without reading our last word, see unix(7)
            data = b""
        self._told_all = not data
        self._told_bytes += len(data)
        if self._told_bytes > MAX_TOLD_BYTES and self.error is None:
            self.error = FrameError(f"told more than {MAX_TOLD_BYTES} bytes")
        return data

    def _decode(self, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            messages = self._decoder.feed(data)
        except FrameError as error:
            messages = error.messages
            self.error = error
        if self.result is None:
            return
        try:
            for message in messages:
                self.result.incoming_message(message)
        except FrameError as error:
            self.error = error

    def stop(self, ending: Ending) -> None:
        """Note how it ended (running -> stopped)."""
        self.ending = ending
        self.state = State.STOPPED

    def drain(self) -> None:
        """Read the rest of its messages, when it is stopped.

        All that it wrote is in the channel by now, and no more is read: a descendant may hold the
        channel open, and write, for ever.
        """
        if self.channel is None:
            return
        left = 0 if self._told_all else _unread_bytes(self.channel)
        while left > 0 and self.error is None and (data := self._read()):
            left -= len(data)
            self._decode(data)
        if self.error is None and self._decoder.pending:
            self.error = FrameError(
                f"ends within a frame, after {self._decoder.pending} bytes of it"
            )
        self.channel.close()

    def finalize(self) -> None:
        """Tell its ending (stopped -> removable)."""
        assert self.ending is not None
        self.state = State.REMOVABLE
        try:
            if self.result is not None:
                self.result.process_died(self.ending)
        finally:
            if self._completion_handler is not None:
                self._completion_handler(self)


def fork_quietly() -> int:
    """Fork; as :func:`os.fork`, without a warning, and while no other thread writes a log record."""
    # Python 3.12 warns of a fork beside threads. Nothing that a test did is wrong here.
    quiet = ("ignore", None, DeprecationWarning, None, 0)
    # Not by warnings.catch_warnings: with that, Python forgets which lines have given a warning.
    filters: Any = warnings.filters
    filters.insert(0, quiet)
    try:
        if threading.active_count() == 1:
            return _fork()
        with log_handlers_at_rest():
            return _fork()
    finally:
        filters.remove(quiet)


def _fork() -> int:
    """Fork by what is in the place of ``os.fork`` now: gevent's sees to its loop.

    What a fixture has put there, so that nothing forks what is tested, is not for us.
    """
    here = own_pid()
    try:
        pid: object = os_as_it_is.fork()
    except OSError:
        raise
    except Exception:
        if own_pid() != here:
            raise
        pid = None
    return pid if isinstance(pid, int) else os.fork()


def leave(
    run: Callable[[], None], *, leave_process: Callable[[int], NoReturn] = os._exit
) -> NoReturn:
    """Call ``run`` and end this process by :func:`os._exit`: nothing of the caller runs twice.

    :param leave_process: Bound before ``run`` may have put something else in its place.
    """
    status = BROKEN_STATUS
    try:
        run()
        status = 0
    except SystemExit as error:
        status = _status_of(error)
    except BaseException:
        traceback.print_exc()
    finally:
        leave_process(status)


def _status_of(error: SystemExit) -> int:
    """Return the status with which Python itself would exit; print a text, as it does."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr, flush=True)
    return 1


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent (proc(5)), None where it cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def is_stopped(pid: int | None) -> bool:
    """Whether nothing but a signal makes a process go on (proc(5)): no debugger has stopped it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, *_ = file.read().rpartition(b")")[2].split()
        if state != b"t":
            return state == b"T"
        with open(f"/proc/{pid}/status", "rb") as file:
            # By PTRACE_TRACEME the parent, which is no debugger, is to let it go on at each signal.
            return b"\nTracerPid:\t%s\n" % parent in file.read()
    except (OSError, ValueError):
        return False


def descends_from_here(pid: int | None) -> bool:
    """Whether a process is one of ours: its number was told by who may lie."""
    for _ in range(8):
        if pid is None or pid <= 1:
            return False
        pid = parent_of(pid)
        if pid == os.getpid():
            return True
    return False
