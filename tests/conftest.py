"""What every test of this suite gets: pytester, and a watch on what it leaves."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = "pytester"

GRACE_SECONDS = 5.0  # for a child that is on its way out when the test ends


@dataclasses.dataclass(frozen=True)
class Belongings:
    """What this process holds that a test could forget: keys, and how to name them."""

    children: dict[int, str]
    descriptors: dict[tuple[int, str], str]
    handlers: dict[str, str]


def children_of_this_process() -> dict[int, str]:
    """Name each child, zombies too, by its pid. Empty where there is no Linux /proc."""
    children: dict[int, str] = {}
    for task in Path("/proc/self/task").glob("*"):
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # that thread has ended meanwhile
            continue
        for pid in map(int, pids):
            try:
                comm = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            children[pid] = f"child {pid} ({comm})"
    return children


def open_descriptors() -> dict[tuple[int, str], str]:
    """Name each open descriptor, by its number and what it is open on."""
    descriptors: dict[tuple[int, str], str] = {}
    for name in os.listdir("/dev/fd"):
        number = int(name)
        try:
            os.fstat(number)
        except OSError:  # the one that listdir itself had open
            continue
        target = os.readlink(f"/dev/fd/{name}") if sys.platform == "linux" else ""
        descriptors[number, target] = f"descriptor {number} {target}".rstrip()
    return descriptors


def signal_handlers() -> dict[str, str]:
    """Describe each signal's handler, what is blocked, and the wakeup descriptor."""
    handlers = {
        f"handler of {number.name}": repr(signal.getsignal(number)) for number in signal.Signals
    }
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers["blocked signals"] = repr(sorted(blocked))
    if threading.current_thread() is threading.main_thread():
        wakeup_fd = signal.set_wakeup_fd(-1)
        if wakeup_fd != -1:
            signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        handlers["wakeup descriptor"] = str(wakeup_fd)
    return handlers


def take_stock() -> Belongings:
    return Belongings(children_of_this_process(), open_descriptors(), signal_handlers())


def what_was_left(before: Belongings, after: Belongings) -> list[str]:
    """Name what is there after the test and was not before, or is not as it was."""
    left = [name for key, name in after.children.items() if key not in before.children]
    left += [name for key, name in after.descriptors.items() if key not in before.descriptors]
    left += [
        f"{name}: {now}, was {before.handlers.get(name)}"
        for name, now in after.handlers.items()
        if before.handlers.get(name) != now
    ]
    return left


def end_new_children(before: Belongings) -> None:
    """Kill and reap what the test left running, so that one test fails for it only."""
    for pid in children_of_this_process().keys() - before.children.keys():
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a child, a descriptor or a handler in this process."""
    before = take_stock()
    yield
    left = what_was_left(before, take_stock())
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        gc.collect()  # an unreachable file object is closed, with its own warning
        time.sleep(0.05)
        left = what_was_left(before, take_stock())
    end_new_children(before)
    if left:
        pytest.fail("the test left behind: " + "; ".join(left), pytrace=False)
