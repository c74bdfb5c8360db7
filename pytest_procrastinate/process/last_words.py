"""Run a Python function in a process that a fatal signal is about to end.

:mod:`faulthandler` writes the stack from C alone. Here Python itself runs once more, in a process
that may be corrupted: what it says needs checking as everything a child says, and a timer of the
kernel's sends the signal again when it takes too long, so that the process dies as it would have.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import signal
import sys
from collections.abc import Callable

from pytest_procrastinate.process.unpatched import os

FATAL = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
SECONDS_AT_MOST = 2
STACK_BYTES = 1 << 20  # faulthandler's own alternate stack, 16 KiB, is too small for Python

_SA_NODEFER, _SA_RESETHAND, _SA_ONSTACK = 0x40000000, 0x80000000, 0x08000000  # linux/signal.h
_CLOCK_MONOTONIC = 1
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


class _Action(ctypes.Structure):  # struct sigaction of glibc and musl, 64 bit
    _fields_ = (
        ("handler", _HANDLER),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Stack(ctypes.Structure):  # stack_t
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class _TimerEvent(ctypes.Structure):  # struct sigevent; 64 bytes
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signum", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _TimerTimes(ctypes.Structure):  # struct itimerspec
    _fields_ = (("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2))


class LastWords:
    """Has ``speak`` called when a fatal signal ends this process, or a fork of it.

    Made before faulthandler is enabled, which then writes its stack first and hands on to us. A
    program that replaces the handlers, or a signal that cannot be caught (SIGKILL), is not heard.
    """

    def __init__(self, speak: Callable[[], None]) -> None:
        self._speak = speak
        self._handler = _HANDLER(self._die)
        self._timer = ctypes.c_void_p()
        self._event = _TimerEvent(notify=0)  # SIGEV_SIGNAL
        self._times = _TimerTimes(value=(SECONDS_AT_MOST, 0))
        self._libc: ctypes.CDLL | None = None
        self._memory: mmap.mmap | None = None

    def prepare(self) -> bool:
        """Install the handlers; faulthandler is off then, to be enabled by the caller.

        :returns: False where this platform's structures are not known to us: nothing is done.
        """
        if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8:
            return False
        libc = ctypes.CDLL(None)
        if not all(hasattr(libc, name) for name in ("sigaction", "sigaltstack", "timer_create")):
            return False
        self._libc = libc
        faulthandler.disable()
        action = _Action(handler=self._handler, flags=_SA_NODEFER | _SA_RESETHAND | _SA_ONSTACK)
        for signum in FATAL:
            if signal.getsignal(signum) is signal.SIG_DFL:
                libc.sigaction(signum, ctypes.byref(action), None)
        return True

    def make_room(self) -> None:
        """Give this thread, and its forks, a larger stack for signal handlers; once.

        After faulthandler was enabled, which brings one of its own.
        """
        if self._libc is not None and self._memory is None:
            self._memory = mmap.mmap(-1, STACK_BYTES)
            start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            self._libc.sigaltstack(ctypes.byref(_Stack(start=start, size=STACK_BYTES)), None)

    def _die(self, signum: int) -> None:
        assert self._libc is not None
        self._event.signum = signum
        if (
            self._libc.timer_create(
                _CLOCK_MONOTONIC, ctypes.byref(self._event), ctypes.byref(self._timer)
            )
            == 0
        ):
            self._libc.timer_settime(self._timer, 0, ctypes.byref(self._times), None)
        try:
            self._speak()
        finally:
            # The default action by now: SA_RESETHAND. Returning would go on after a kill(2).
            os.kill(os.getpid(), signum)
