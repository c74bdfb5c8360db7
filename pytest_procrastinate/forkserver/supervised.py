"""A fork server's part in its supervision: deaf to stray signals, it does not outlive pytest."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Collection
from types import FrameType

from pytest_procrastinate.child.supervised import waits_at_gate
from pytest_procrastinate.process.child import BROKEN_STATUS, ChildProcess
from pytest_procrastinate.process.cleanup import die_with_parent, lead_own_group
from pytest_procrastinate.process.leftovers import descendants
from pytest_procrastinate.process.manager import ProcessManager
from pytest_procrastinate.process.own_pid import own_pid
from pytest_procrastinate.process.unpatched import os, time

DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ORPHAN_SECONDS = 10.0  # for shared fixtures to be torn down when the parent has gone
LEAVE_SECONDS = 0.3  # for a child that has told all


def become_server(manager: ProcessManager, parent_pid: int, orphaned: Callable[[], None]) -> None:
    """Make this process a fork server, in a group of its own.

    A signal to its group, by a test or by Ctrl-C, is not for it: the pytest process says what it
    means. With handlers, not SIG_IGN: what a fixture starts would inherit that.

    :param parent_pid: The pytest process, or another server. When it has gone, all children are
        killed, and shared fixtures have some seconds to be torn down.
    :param orphaned: Called then, wherever this process is: it may raise.
    """

    own_pid = os.getpid()

    def stay(signum: int, frame: FrameType | None) -> None:
        if waits_at_gate():
            return
        if os.getpid() != own_pid:  # a process that a shared fixture forked
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif os.getppid() != parent_pid:
            kill_children(manager)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_SECONDS)
            orphaned()

    lead_own_group()
    for signum in DEAF_TO:
        signal.signal(signum, stay)
    # The end of its channel says the same, but is not seen while a fixture is set up.
    die_with_parent(parent_pid, signal.SIGHUP)


def end_stray_fork(server_pid: int) -> None:
    """Leave, if a shared fixture has forked this process and let it run on: it is no server."""
    if own_pid() != server_pid:
        os._exit(BROKEN_STATUS)


def end_children(manager: ProcessManager, servers: Collection[ChildProcess]) -> None:
    """Kill the tests that still run, with all that they have started; who is about to leave, may.

    :param servers: Narrower servers, which end their own children, and then what is set up there.
    """
    manager.wait_for_all_children(time.monotonic() + LEAVE_SECONDS)
    kill_children(manager, servers)
    while any(not server.removable for server in servers):
        manager.step()


def kill_children(manager: ProcessManager, but: Collection[ChildProcess] = ()) -> None:
    """Kill what still runs, with all that it has started."""
    children = [child for child in manager.children.values() if child not in but]
    # Those in a session of their own, too; daemons are adopted by the pytest process.
    started = [pid for child in children if child.pid for pid in descendants(child.pid)]
    for child in children:
        manager.kill_group(child, signal.SIGKILL)
    for pid in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
