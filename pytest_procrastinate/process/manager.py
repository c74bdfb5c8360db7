"""The process manager: forks children, hears them, reaps them. The one selector, the only reaper.

A descendant of Ruby's ``Procrastinate::ProcessManager``, "only low level unixy manipulation here,
no strategy": how many children are right, and which comes next, is not its business.
"""

from __future__ import annotations

import contextlib
import signal
import weakref
from collections.abc import Callable
from selectors import EVENT_READ, BaseSelector, DefaultSelector

from pytest_procrastinate.process.child import (
    BROKEN_STATUS,
    Channel,
    ChildProcess,
    InChild,
    State,
    fork_quietly,
    leave,
)
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.own_pid import own_pid
from pytest_procrastinate.process.task import Result, Task
from pytest_procrastinate.process.unpatched import os, socket, time
from pytest_procrastinate.process.waiting import Waiter, default_waiter

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL when nobody says otherwise
LOOK_SECONDS = 0.1  # between looks at a child whose end nothing announces

Source = int | socket.socket

_set_up: weakref.WeakSet[ProcessManager] = weakref.WeakSet()


class ForkError(OSError):
    """No process, memory or descriptor was left for another child."""


class ProcessManager:
    """Forks a child for each task and looks after it until nothing more can come of it.

    From outside one calls :meth:`setup`, :meth:`step`, :meth:`wakeup`, :meth:`create_process`,
    :meth:`kill_processes` and :meth:`shutdown`; the other methods are its own, and those of the
    rooms above it. All but :meth:`wakeup` belong to one thread; with pidfds (Linux) that may be
    any thread, and a process may hold several managers.

    :param waiter: How a death is noticed; by default the best that this system has.
    """

    def __init__(self, waiter: Waiter | None = None) -> None:
        self.children: dict[int, ChildProcess] = {}
        """The children that are not removable yet, by a number of our own."""
        self.before_fork: list[Callable[[], None]] = []
        """Called in the process that forks, right before each fork."""
        self.in_child: list[Callable[[], None]] = []
        """Called in each child, right after the fork: closes what is the forking process's own."""
        self.woken = False
        """Set when somebody, or a signal, called :meth:`wakeup`; who waits for that resets it."""
        self.control_pipe: tuple[socket.socket, socket.socket] | None = None
        self.deadline: float | None = None
        """When :meth:`step` returns at the latest, in seconds of :func:`time.monotonic`."""
        self._waiter = default_waiter() if waiter is None else waiter
        self._selector: BaseSelector | None = None
        self._watched: dict[object, Callable[[], None]] = {}
        self._last_number = 0
        self._maybe_dead: set[int] = set()
        self._local: set[int] = set()
        self._pidfds: dict[int, int] = {}

    @property
    def process_count(self) -> int:
        """How many children are not removable yet."""
        return len(self.children)

    # --- life ---------------------------------------------------------------------------------

    def setup(self) -> None:
        """Get ready to look after children. Call it from the thread that will call :meth:`step`.

        :raises RuntimeError: It is set up already; or its waiter needs the main thread, see there.
        :raises OSError: No descriptor was left. Nothing stays open.
        """
        if self._selector is not None:
            raise RuntimeError("this manager is set up already")
        try:
            self._selector = DefaultSelector()
            self.control_pipe = socket.socketpair()
            for end in self.control_pipe:
                end.setblocking(False)
            self.watch(self.control_pipe[0], self._hear_wakeup)
            self.register_signals()
        except BaseException:
            self.teardown()
            raise
        _set_up.add(self)

    def step(self, timeout: float | None = None) -> None:
        """Sleep until something happens, then read, reap and finalize what there is.

        :param timeout: Seconds at most; else only an event or :attr:`deadline` ends the sleep.
        :raises RuntimeError: Before :meth:`setup` or after :meth:`shutdown`.
        """
        self.wait_for_event(timeout)
        self.reap_children()
        self.finalize_children()

    def wakeup(self) -> None:
        """End the sleep of :meth:`step`; from any thread or signal handler."""
        if self.control_pipe is not None:
            with contextlib.suppress(OSError):  # full: a wake-up is under way already
                self.control_pipe[1].send(b".")

    def shutdown(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Wait for all children, then give back all that :meth:`setup` took.

        :param grace_seconds: How long they may take; then SIGTERM, as long again, then SIGKILL.
        """
        if self._selector is None:
            return
        for signum in (None, signal.SIGTERM, signal.SIGKILL):
            if signum is not None:
                self.kill_processes(signum)
            if self.wait_for_all_children(time.monotonic() + grace_seconds):
                break
        self.teardown()

    def teardown(self) -> None:
        """Give back descriptors and signal handlers; children that still run are forgotten."""
        if self._selector is not None:
            self.unregister_signals()
            self._let_go()

    # --- children -----------------------------------------------------------------------------

    def create_process(
        self,
        task: Task,
        completion_handler: Callable[[ChildProcess], None] | None = None,
    ) -> ChildProcess:
        """Fork a child that runs ``task`` and look after it until it is reaped.

        Returns in the parent only. The child runs ``task.run(endpoint)`` and leaves by
        :func:`os._exit`: the caller's ``finally`` blocks and exit handlers do not run twice.
        Call it from the thread that calls :meth:`step`.

        :param task: Its ``result``, unless None, hears each message in the order sent, then
            ``process_died(ending)``, exactly once. With None there is no channel.
        :param completion_handler: Called after that, from :meth:`step`: the child is reaped and
            its channel drained, nothing more can come of it.
        :returns: The child, ``running``.
        :raises ForkError: No process, memory or descriptor was left (EAGAIN, ENOMEM: fork(2);
            EMFILE: socketpair(2)). Nothing stays open.
        :raises RuntimeError: Before :meth:`setup` or after :meth:`shutdown`.

        After Ruby's ``ProcessManager#create_process``, whose handler ran before the pipe was
        drained.
        """
        here = own_pid()
        try:
            forked = self.fork(task.result, completion_handler)
            if isinstance(forked, InChild):
                channel = forked.channel
                leave(lambda: task.run(channel))
            return forked
        finally:
            if own_pid() != here:  # Ctrl-C came before the task began
                os._exit(BROKEN_STATUS)

    def fork(
        self,
        result: Result | None = None,
        completion_handler: Callable[[ChildProcess], None] | None = None,
    ) -> ChildProcess | InChild:
        """Fork right here: as :meth:`create_process`, but the child returns as well.

        For a caller that splits in the middle of its work. The child must leave by
        :func:`os._exit`; its managers are as before :meth:`setup`.

        :returns: The child in the parent, an :class:`InChild` in the child.
        :raises ForkError: As for :meth:`create_process`.
        :raises RuntimeError: As for :meth:`create_process`.
        """
        if self._selector is None:
            raise RuntimeError("set up the manager first")
        ours = theirs = None
        try:
            if result is not None:
                ours, theirs = socket.socketpair()
            for callback in self.before_fork:
                callback()
            pid = fork_quietly()
        except OSError as error:
            for end in filter(None, (ours, theirs)):
                end.close()
            raise ForkError(error.errno, error.strerror) from error
        if pid == 0:
            self.cleanup()
            if ours is None or theirs is None:
                return InChild(None)
            ours.close()
            return InChild(Channel(theirs))
        if theirs is not None:
            theirs.close()
        child = ChildProcess(result, completion_handler, ours)
        child.start(pid)
        self.look_after(child, local=True)
        return child

    def look_after(self, child: ChildProcess, *, local: bool) -> None:
        """Hear a child until it is removable.

        :param local: It is a child of this process, to be reaped here. Otherwise somebody says
            how it ended by :meth:`.ChildProcess.stop`, and :meth:`adopt` makes it local.
        """
        self._last_number += 1
        number = child.number = self._last_number
        self.children[number] = child
        if child.channel is not None:
            self.watch(child.channel, lambda: self._hear(child))
        if local:
            self.adopt(child)

    def adopt(self, child: ChildProcess) -> None:
        """Reap this child here from now on: it is ours, or has become ours (subreaper)."""
        number = child.number
        assert child.pid is not None
        self._local.add(number)
        child.parent_pid = own_pid()
        try:
            pidfd = self._waiter.watch(child.pid)
        except OSError:  # no descriptor is left: see wait_for_event
            pidfd = None
        if pidfd is not None:
            self._pidfds[number] = pidfd
            self.watch(pidfd, lambda: self._maybe_dead.add(number))
        else:
            self._maybe_dead.add(number)

    def kill_processes(self, signum: int) -> None:
        """Send a signal to each child that runs."""
        for child in list(self.children.values()):
            self.kill_process(child, signum)

    def kill_process(self, child: ChildProcess, signum: int) -> None:
        """Send a signal to one child; nothing happens when it is dead already."""
        if child.pid is not None and child.keeps_its_pid():
            self._waiter.send_signal(child.pid, signum)

    def kill_group(self, child: ChildProcess, signum: int) -> None:
        """Send a signal to one child and to the group it leads, wherever it may be itself."""
        if child.pid is None or not child.keeps_its_pid():
            return
        try:
            # Its number is its group's as long as that has members.
            os.killpg(child.pid, signum)
            if os.getpgid(child.pid) == child.pid:
                return
        except (ProcessLookupError, PermissionError):  # it leads no group, yet or any more
            pass
        self.kill_process(child, signum)

    def hang_up(self, child: ChildProcess) -> None:
        """Say the last word to a child: it sees the end of what comes down its channel."""
        if child.channel is not None and child.state in (State.NEW, State.RUNNING):
            with contextlib.suppress(OSError):
                child.channel.shutdown(socket.SHUT_WR)

    # --- internal -----------------------------------------------------------------------------

    def watch(self, source: Source, callback: Callable[[], None], event: int = EVENT_READ) -> None:
        """Call ``callback`` from :meth:`step` whenever ``source`` can be read, or written."""
        assert self._selector is not None
        self._selector.register(source, event, callback)
        self._watched[source] = callback

    def unwatch(self, source: Source) -> None:
        """Forget a source; unknown ones too. Its callback is not called any more."""
        assert self._selector is not None
        if source in self._watched:  # a selector would say at length that it knows nothing of it
            del self._watched[source]
            try:
                self._selector.unregister(source)
            except (KeyError, ValueError):
                pass

    def register_signals(self) -> None:
        """Have deaths noticed."""
        self._waiter.open(self.wakeup)
        if self._waiter.descriptor is not None:
            self.watch(self._waiter.descriptor, self._hear_waiter)

    def unregister_signals(self) -> None:
        """Put signal handling back as it was."""
        self._waiter.close()

    def wait_for_event(self, timeout: float | None = None) -> None:
        """Sleep until a source can be read, and hear it."""
        if self._selector is None:
            raise RuntimeError("set up the manager first")
        if self.deadline is not None:
            left = max(0.0, self.deadline - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        # Where no descriptor was left for a pidfd, and no signal tells of deaths either:
        if self._waiter.descriptor is None and self._local - self._pidfds.keys():
            timeout = LOOK_SECONDS if timeout is None else min(timeout, LOOK_SECONDS)
        if any(child.state is State.STOPPED for child in self.children.values()):
            timeout = 0.0  # a handler has raised before its turn came; nothing else would wake us
        for key, _ in self._selector.select(timeout):
            callback = self._watched.get(key.fileobj)
            if callback is not None and callback is key.data:  # none before it has taken it away
                callback()

    def reap_children(self) -> None:
        """Ask after each child that may be dead: by its own pid, other people's are not touched."""
        for number in list(self._maybe_dead):
            child = self.children.get(number)
            if child is None or child.state is not State.RUNNING:
                self._maybe_dead.discard(number)
                continue
            assert child.pid is not None
            event = self._waiter.poll(child.pid)
            if isinstance(event, Ending):
                child.stop(event)
            elif number in self._pidfds:
                self._maybe_dead.discard(number)

    def finalize_children(self) -> None:
        """Drain each child that is stopped, let go of it, and tell its end."""
        # One at a time: a handler may step, and the end of a fork server stops its children.
        while child := next((c for c in self.children.values() if c.state is State.STOPPED), None):
            self._unwatch_child(child)
            child.drain()
            if self.children.pop(child.number, None) is not None:
                child.finalize()

    def wait_for_all_children(self, deadline: float) -> bool:
        """Step until no child is left; False when ``deadline`` (monotonic seconds) came first."""
        while self.children and (left := deadline - time.monotonic()) > 0:
            self.step(left)
        return not self.children

    def cleanup(self) -> None:
        """Let go, in a child, of all that belongs to the managers above it, this and others."""
        for manager in list(_set_up):
            manager._waiter.after_fork()
            manager._let_go()
            for callback in manager.in_child:
                callback()

    def _let_go(self) -> None:
        """Close what is open and forget the children. In a child, too: nothing is unregistered.

        The selector may be an epoll instance, which a fork shares.
        """
        _set_up.discard(self)
        for child in self.children.values():
            if child.channel is not None:
                child.channel.close()
        for known in (self.children, self._local, self._maybe_dead, self._pidfds, self._watched):
            known.clear()
        if self._selector is not None:
            self._selector.close()
        for end in self.control_pipe or ():
            end.close()
        self._selector = self.control_pipe = None

    def _hear(self, child: ChildProcess) -> None:
        if not child.receive():
            self.unwatch(child.channel or -1)
        elif child.error is not None:
            # Nothing more of it can be believed, and it may write for ever.
            self.unwatch(child.channel or -1)
            self.kill_process(child, signal.SIGKILL)

    def _hear_wakeup(self) -> None:
        assert self.control_pipe is not None
        with contextlib.suppress(BlockingIOError):
            self.control_pipe[0].recv(4096)
        self.woken = True
        self._doubt()

    def _hear_waiter(self) -> None:
        self._waiter.drain()
        self._doubt()

    def _doubt(self) -> None:
        # Perhaps a SIGCHLD: children that no pidfd watches are asked one by one.
        self._maybe_dead |= self._local - self._pidfds.keys()

    def _unwatch_child(self, child: ChildProcess) -> None:
        self.unwatch(child.channel or -1)
        self.unwatch(self._pidfds.pop(child.number, -1))
        self._maybe_dead.discard(child.number)
        if child.number in self._local and child.pid is not None:
            self._local.discard(child.number)
            self._waiter.forget(child.pid)
