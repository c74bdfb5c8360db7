"""What a child writes so that its parent can read it when the child is dead.

Files without a name, and a page of shared memory: writing to it costs no system call and survives
any death. The pytest process makes them, a child writes, the pytest process reads.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import tempfile
from collections.abc import Sequence

from pytest_procrastinate.process.cleanup import high_duplicate
from pytest_procrastinate.process.own_pid import own_pid
from pytest_procrastinate.process.unpatched import fcntl, os, time

PHASES = ("", "setup", "call", "teardown")
PAGE_BYTES = 1 << 18
MOST_READ_BYTES = 64 << 20  # of a file: a child may make one of any size, with nothing in it
# phase, which of the child's tests, bytes of untold frames, when the test and the phase began
_HEAD = struct.Struct("=BxHIdd")
_TURNS = 1 << 16  # of which that tells as many apart
_ASKED_AT, _TAKEN_AT = 32, 33  # a byte each: why the parent signals; the child has noticed
_DEBUGGER_AT, _DEBUGGER = 34, 0xDB  # a byte: a person is at work in the child, not just any garbage
_SERVES_AT = 35  # a byte: who is at work is a fork server
_PID_AT = 36  # four bytes: who is at work
_ASKED_TURN_AT = 40  # four bytes: which of a child's tests is meant, the first is 1
_LIVE_LOG_AT = 44  # a byte: what live logs have shown of the test
_NOTE_AT, _NOTE_BYTES = 64, 448
_FRAMES_AT = _NOTE_AT + _NOTE_BYTES


class Page:
    """The shared page of one child: the phase it is in, and the frames it has not sent yet."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, PAGE_BYTES)
        self._phase = 0
        self._untold = 0
        self._owner = 0
        self.turn = 1
        """Which of its child's tests it speaks of, in the child; the first is 1."""
        self._began = self._phase_began = 0.0

    def begin(self, *, turn: int = 1) -> None:
        """Start over, in the child, as the turn of one of its tests comes; 0: of any."""
        self.turn = turn
        self._untold = self._phase = 0
        self.note("", "", 0)
        self._began = self._phase_began = time.monotonic()
        self._write()

    def enter(self, phase: str) -> None:
        """Note that a phase begins; an empty one: none is under way."""
        if not self.is_ours():
            return
        self._phase = PHASES.index(phase)
        self._phase_began = time.monotonic()
        self._write()

    def note(self, name: str, nodeid: str, index: int | str) -> None:
        """Note which broader fixture is being set up, for which node and parameter; '' for none."""
        text = f"{name}\0{nodeid}\0{index}\0".encode("utf-8", "replace") if name else b"\0"
        if len(text) <= _NOTE_BYTES:
            self._memory[_NOTE_AT : _NOTE_AT + len(text)] = text

    def read_note(self) -> tuple[str, str, str]:
        """Return what was noted, in the parent: name, node and index, '' for none."""
        text = bytes(self._memory[_NOTE_AT : _NOTE_AT + _NOTE_BYTES]).decode("utf-8", "replace")
        name, nodeid, index, *_ = (*text.split("\0"), "", "", "")
        return name, nodeid, index

    def add(self, frames: bytes) -> bool:
        """Keep frames that will be sent later; False where there is no room."""
        start = _FRAMES_AT + self._untold
        if start + len(frames) > PAGE_BYTES:
            return False
        self._memory[start : start + len(frames)] = frames
        self._untold += len(frames)
        self._write()
        return True

    def sent(self) -> None:
        """Forget the kept frames: they are on their way."""
        self._untold = 0
        self._write()

    def read(self) -> tuple[str, float, float, bytes]:
        """Return, in the parent: phase, when the test and the phase began, frames never sent.

        Seconds of :func:`time.monotonic`, 0 where nothing has begun. The child may have written
        anything here: the frames need checking as any others.
        """
        phase, _, untold, began, phase_began = _HEAD.unpack_from(self._memory)
        if phase >= len(PHASES):  # it was written over, by the test itself in all likelihood
            return "call", 0.0, 0.0, b""
        frames = self._memory[_FRAMES_AT : min(_FRAMES_AT + untold, PAGE_BYTES)]
        return PHASES[phase], began, phase_began, bytes(frames)

    def begin_next(self) -> None:
        """Start over, in the child, as it goes on with another test."""
        self._memory[_TAKEN_AT] = 0
        self.begin(turn=self.turn + 1)

    def is_of(self, turn: int) -> bool:
        """Whether what is read is of this test of the child, or of none that has begun."""
        phase, of, _, began, _ = _HEAD.unpack_from(self._memory)
        return of in (0, turn % _TURNS) or not began or phase >= len(PHASES)

    def ask(self, why: int, turn: int) -> None:
        """Note, in the parent, why a signal follows, and which of the child's tests is meant."""
        self._memory[_ASKED_TURN_AT : _ASKED_TURN_AT + 4] = turn.to_bytes(4, "little")
        self._memory[_ASKED_AT] = why

    def asked(self, turn: int | None = None) -> int:
        """Return why a signal comes; 0 where none was asked for, or for another test."""
        turn = self.turn if turn is None else turn
        asked = self._memory[_ASKED_TURN_AT : _ASKED_TURN_AT + 4]
        return self._memory[_ASKED_AT] if turn in (0, int.from_bytes(asked, "little")) else 0

    def ever_asked(self) -> bool:
        """Whether a signal was ever asked for: one for a test before may come late."""
        return self._memory[_ASKED_AT] != 0

    def note_taken(self) -> None:
        """Note, in the child, that the signal has been noticed."""
        self._memory[_TAKEN_AT] = 1

    def note_debugger(self, is_open: bool) -> None:
        """Note that a person is at work in the child, or no more."""
        self._memory[_DEBUGGER_AT] = _DEBUGGER if is_open else 0

    def debugger_is_open(self) -> bool:
        """Whether a person is at work in the child."""
        return self._memory[_DEBUGGER_AT] == _DEBUGGER and self._memory[0] < len(PHASES)

    def note_live_log(self, shown: int) -> None:
        """Note what live logs have shown of the test, with its teardown: its scopes' logs follow."""
        if self.is_ours():
            self._memory[_LIVE_LOG_AT] = shown

    def live_log(self) -> int:
        """Return what was noted, 0 for nothing."""
        return self._memory[_LIVE_LOG_AT]

    def note_pid(self, *, serves: bool = False) -> None:
        """Note that this process is at work for the test; a fork server, or the test's own child."""
        self._owner = own_pid()
        self._memory[_SERVES_AT] = serves
        self._memory[_PID_AT : _PID_AT + 4] = self._owner.to_bytes(4, "little")

    def is_ours(self) -> bool:
        """Whether it is this process that is at work for the test, and not one that it forked."""
        return self._owner == own_pid()

    def pid(self) -> int:
        """Return the process that is at work for the test, if it is to be believed."""
        return int.from_bytes(self._memory[_PID_AT : _PID_AT + 4], "little")

    def child_pid(self) -> int:
        """Return the same, 0 where a fork server is at work."""
        return 0 if self._memory[_SERVES_AT] else self.pid()

    def taken(self) -> bool:
        """Whether the child has noticed the signal."""
        return self._memory[_TAKEN_AT] != 0

    def clear(self) -> None:
        """Make it as new."""
        self._untold = self._phase = 0
        self._began = self._phase_began = 0.0
        self._write()
        self._memory[_ASKED_AT:_NOTE_AT] = bytes(_NOTE_AT - _ASKED_AT)
        self.note("", "", 0)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _write(self) -> None:
        turn = self.turn % _TURNS
        # Not by pack_into: that fills the place with zeros first, and the parent may read them.
        self._memory[: _HEAD.size] = _HEAD.pack(
            self._phase, turn, self._untold, self._began, self._phase_began
        )


class ChildFiles:
    """Captured output, that which the test's own fixtures hold, log, the stack of a crash, the page.

    :raises OSError: No descriptor or memory was left.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        self.descriptors = tuple(descriptors)
        self.out, self.err, self.held_out, self.held_err, self.log, self.faults, page = descriptors
        self.page = Page(page)

    @classmethod
    def make(cls) -> ChildFiles:
        """Make new ones, empty."""
        descriptors: list[int] = []
        try:
            for name in ("out", "err", "held-out", "held-err", "log", "faults", "page"):
                descriptors.append(_nameless_file(name))
            os.ftruncate(descriptors[-1], PAGE_BYTES)
            _seal(descriptors[-1])
            return cls(descriptors)
        except OSError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def clear(self) -> None:
        """Empty them for the next child."""
        for descriptor in self.descriptors[:-1]:
            # Most are empty: one call for each of these.
            if os.lseek(descriptor, 0, os.SEEK_END):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
        self.page.clear()

    @classmethod
    def received(cls, descriptors: Sequence[int]) -> ChildFiles:
        """Take files over that another process has made; side by side, to be closed at once."""
        return cls([high_duplicate(descriptor, close=True) for descriptor in descriptors])

    def close(self) -> None:
        """Give descriptors and memory back."""
        self.page.close()
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def read_text(descriptor: int) -> str:
    """Return what a file holds, wherever its offset is; of a very large one the end."""
    size = os.fstat(descriptor).st_size
    if not size:
        return ""
    left_out = max(0, size - MOST_READ_BYTES)
    text = os.pread(descriptor, size - left_out, left_out).decode("utf-8", "replace")
    return f"[left out: the first {left_out} bytes]\n{text.strip(chr(0))}" if left_out else text


def _seal(page: int) -> None:
    """Fix the size: a child that truncates it would have its parent die of SIGBUS, see mmap(2)."""
    # From linux/fcntl.h; Python names these from 3.11 on.
    add_seals, shrink, grow = 1033, 0x0002, 0x0004
    with contextlib.suppress(OSError):  # not a memfd
        fcntl.fcntl(page, add_seals, shrink | grow)


def _nameless_file(name: str) -> int:
    # In memory: a full or read-only temporary folder does not matter then.
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"forked-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
