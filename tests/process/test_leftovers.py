"""Leftovers: real daemons, groups and deaf processes are found, ended, and nobody else is."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from watching import HANG_SECONDS, fork

from pytest_procrastinate.process import pidfds, unpatched
from pytest_procrastinate.process.leftovers import (
    Leftover,
    Outcome,
    adopted,
    become_subreaper,
    children_of,
    descendants,
    end,
    group_members,
    known_children,
    look_at,
    set_subreaper,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's procfs")


@pytest.fixture
def subreaper() -> Iterator[None]:
    with become_subreaper():
        yield


def leave_behind(*actions: Callable[[], object]) -> None:
    """Fork a process that forks others, one per action, and has ended when this returns."""

    def leave() -> None:
        for action in actions:
            fork(action)
        os._exit(0)

    assert os.waitpid(fork(leave), 0)[1] == 0


def ignore_sigterm_then(action: Callable[[], object]) -> Callable[[], object]:
    def act() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        action()

    return act


def become_daemon_then(action: Callable[[], object]) -> Callable[[], object]:
    def act() -> None:
        os.setsid()
        if os.fork():
            os._exit(0)
        # The pipe of the test stays open, as its only witness.
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        os.environ.clear()
        action()

    return act


def end_now(
    processes: list[Leftover],
    *,
    settle_seconds: float = 0.0,
    grace_seconds: float = HANG_SECONDS,
    look_again: Callable[[], list[Leftover]] = list,
) -> dict[int, Outcome]:
    told = end(
        processes,
        settle_seconds=settle_seconds,
        grace_seconds=grace_seconds,
        look_again=look_again,
    )
    return {leftover.pid: outcome for leftover, outcome in told.items()}


def held(*pids: int) -> list[Leftover]:
    found = [look_at(pid) for pid in pids]
    assert None not in found
    return [leftover for leftover in found if leftover is not None]


def is_reaped(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_descendants_of_a_living_process_are_found(ready):
    def have_family() -> None:
        fork(lambda: (fork(ready.tell), ready.tell()))
        ready.tell()

    pid = fork(have_family)
    family = set(ready.hear(3))

    assert pid in children_of(os.getpid())
    assert {pid, *descendants(pid)} == family
    assert set(end_now(held(pid))) == family
    assert is_reaped(pid)


def test_nothing_descends_from_a_process_that_is_not_there():
    assert descendants(1 << 22) == []
    assert look_at(1 << 22) is None


def test_a_daemon_that_hides_is_adopted_and_ended(ready, subreaper):
    known = known_children()
    leave_behind(become_daemon_then(ready.tell))
    (daemon,) = ready.hear()

    told = end_now(adopted(known), look_again=lambda: adopted(known))

    assert told[daemon] is Outcome.TERMINATED
    assert is_reaped(daemon)
    assert adopted(known) == []


def test_children_known_before_and_children_of_the_manager_are_no_leftovers(ready, subreaper):
    fixtures_own = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = known_children()
    managers_own = fork(ready.tell)
    leave_behind(ready.tell)
    pids = ready.hear(2)

    found = adopted(known, own={managers_own})

    assert {leftover.pid for leftover in found} == {*pids} - {managers_own}
    end_now(found)
    assert fixtures_own.poll() is None
    assert fixtures_own.communicate(b"\n", HANG_SECONDS) == (None, None)
    assert fixtures_own.returncode == 0
    end_now(held(managers_own))


def test_an_orphan_that_has_ended_already_is_reaped_and_was_none(subreaper):
    known = known_children()
    leave_behind(lambda: os._exit(0))
    (orphan,) = adopted(known)
    os.waitid(os.P_PID, orphan.pid, os.WEXITED | os.WNOWAIT)

    told = end([orphan], settle_seconds=HANG_SECONDS, grace_seconds=0)

    assert told == {orphan: Outcome.SETTLED}
    assert is_reaped(orphan.pid)


def test_subreaping_is_put_back():
    before = set_subreaper(False)
    with become_subreaper():
        assert set_subreaper(True)
        with become_subreaper():
            pass
        assert set_subreaper(True)
    assert not set_subreaper(before)


def test_the_members_of_a_group_are_found_after_its_leader_has_ended(ready, subreaper):
    def lead() -> None:
        os.setpgid(0, 0)
        fork(ready.tell)
        os.waitid(os.P_PID, fork(lambda: os._exit(0)), os.WEXITED | os.WNOWAIT)
        os._exit(0)

    known = known_children()
    leader = fork(lead)
    (member,) = ready.hear()
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    assert group_members(leader) == [member]
    os.waitpid(leader, 0)

    assert group_members(leader) == [member]

    end_now(held(member))
    assert group_members(leader) == []
    end_now(adopted(known), settle_seconds=HANG_SECONDS)


@pytest.mark.parametrize(
    ("act", "grace_seconds", "outcome"),
    [
        (lambda: None, HANG_SECONDS, Outcome.TERMINATED),
        (ignore_sigterm_then(lambda: None), 0.0, Outcome.KILLED),
    ],
)
def test_a_process_is_asked_first_and_then_made_to_end(ready, act, grace_seconds, outcome):
    pid = fork(lambda: (act(), ready.tell()))
    ready.hear()

    assert end_now(held(pid), grace_seconds=grace_seconds) == {pid: outcome}
    assert is_reaped(pid)


def test_a_stopped_process_is_woken_to_hear_sigterm(ready):
    def leave(signum: int, frame: object) -> None:
        ready.tell()
        os._exit(0)

    def stop() -> None:
        signal.signal(signal.SIGTERM, leave)
        os.kill(os.getpid(), signal.SIGSTOP)

    pid = fork(stop)
    os.waitid(os.P_PID, pid, os.WSTOPPED)

    assert end_now(held(pid)) == {pid: Outcome.TERMINATED}
    assert ready.hear() == [pid]


def test_a_process_on_its_way_out_gets_time_and_no_signal(ready):
    gate, write_end = os.pipe()

    def leave_when_told() -> None:
        os.close(write_end)
        ready.tell()
        os.read(gate, 1)
        os._exit(0)

    pid = fork(leave_when_told)
    ready.hear()
    process = held(pid)
    os.close(write_end)

    assert end_now(process, settle_seconds=HANG_SECONDS) == {pid: Outcome.SETTLED}
    os.close(gate)


def test_a_whole_tree_is_ended_deaf_ones_too(ready, subreaper):
    def have_deaf_child() -> None:
        fork(ignore_sigterm_then(ready.tell))
        ready.tell()

    root = fork(have_deaf_child)
    deaf = (set(ready.hear(2)) - {root}).pop()

    told = end_now(held(root), grace_seconds=0.5)

    assert told == {root: Outcome.TERMINATED, deaf: Outcome.KILLED}
    assert is_reaped(deaf)


def test_a_child_forked_at_the_last_moment_is_ended_when_looked_for_again(ready, subreaper):
    def fork_and_leave(signum: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        fork(ready.tell)
        ready.hear()
        os._exit(0)

    def prepare() -> None:
        signal.signal(signal.SIGTERM, fork_and_leave)
        ready.tell()

    known = known_children()
    pid = fork(prepare)
    ready.hear()

    told = end_now(held(pid), look_again=lambda: adopted(known))

    assert told.pop(pid) is Outcome.TERMINATED
    ((late, outcome),) = told.items()
    assert outcome is Outcome.TERMINATED
    assert is_reaped(late)


def test_a_number_given_to_another_process_is_not_signalled(ready):
    pid = fork(ready.tell)
    ready.hear()
    (process,) = held(pid)
    earlier = Leftover(pid, process.started - 1, "earlier", "")

    assert end_now([earlier], grace_seconds=0) == {pid: Outcome.SETTLED}
    assert not is_reaped(pid)
    end_now([process])


def test_a_process_given_twice_is_ended_once(ready):
    pid = fork(ready.tell)
    ready.hear()

    assert end_now(held(pid, pid)) == {pid: Outcome.TERMINATED}


def test_a_resource_tracker_cleans_up_when_its_clients_have_ended(subreaper):
    known = known_children()
    script = (
        "import os, signal\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "memory = SharedMemory(create=True, size=100)\n"
        "if os.fork() == 0:\n"
        "    print(memory.name, os.getpid(), flush=True)\n"
        "    signal.pause()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        name, client = process.stdout.readline().decode().split()
        process.wait(HANG_SECONDS)
        found = adopted(known)
        (tracker,) = (process.pid for process in found if "resource_tracker" in process.command)

        told = end_now(found)

    assert told == {int(client): Outcome.TERMINATED, tracker: Outcome.SETTLED}
    assert not os.path.exists(f"/dev/shm/{name.lstrip('/')}")


def test_a_resource_tracker_that_is_still_in_use_is_left_alone():
    read_end, write_end = os.pipe()
    tracker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.stdout.write('x'); sys.stdout.flush()\n"
            f"from multiprocessing.resource_tracker import main;main({read_end})",
        ],
        pass_fds=[read_end],
        stdout=subprocess.PIPE,
    )
    os.close(read_end)
    assert tracker.stdout is not None
    tracker.stdout.read(1)

    assert end_now(held(tracker.pid), grace_seconds=0) == {tracker.pid: Outcome.LEFT}

    assert tracker.poll() is None
    os.close(write_end)
    tracker.communicate(timeout=HANG_SECONDS)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows one number of clone(2)")
def test_a_child_that_ends_without_sigchld_is_reaped():
    libc = ctypes.CDLL(None)
    pid = libc.syscall(56, 0, 0, 0, 0, 0)
    if pid == 0:
        libc.pause()
        libc._exit(0)

    assert end_now(held(pid)) == {pid: Outcome.TERMINATED}
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG | 0x40000000)


def test_where_python_knows_no_pidfds_the_kernel_is_asked(ready, monkeypatch):
    monkeypatch.delattr(unpatched.os, "pidfd_open", raising=False)
    monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)
    pid = fork(ready.tell)
    ready.hear()

    assert end_now(held(pid)) == {pid: Outcome.TERMINATED}
    with pytest.raises(ProcessLookupError):
        pidfds.open_pidfd(1 << 22)


def answering_cat(*arguments: bytes) -> subprocess.Popen[bytes]:
    """Start cat; it has answered, so its command line is no longer empty, as during exec."""
    process = subprocess.Popen(
        [b"/bin/cat", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    assert process.stdout.read(1) == b"x"
    return process


def test_a_leftover_is_described_by_its_command():
    with answering_cat(b"-") as process:
        (leftover,) = held(process.pid)
        end_now([leftover])

    assert leftover.name == "cat"
    assert leftover.describe() == f"process {process.pid} (/bin/cat -)"


def test_a_description_is_short_and_can_be_sent_whatever_the_arguments():
    with answering_cat(b"-", b"\xff a") as process:
        (leftover,) = held(process.pid)
        end_now([leftover])

    assert leftover.command == r"/bin/cat - '\xff a'"
    leftover.command.encode()
    odd = Leftover(7, 1, "python", "x" * 1000)
    assert odd.describe() == f"process 7 ({'x' * 200}...)"
    assert Leftover(7, 1, "sh", "").describe() == "process 7 (sh)"
