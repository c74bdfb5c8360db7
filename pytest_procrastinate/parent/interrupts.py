"""Signals to the pytest process while items run in children: noted, then acted on in the loop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from pytest_procrastinate.parent.supervisor import Supervisor
from pytest_procrastinate.process.cleanup import SignalState, signal_state

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPORT = tuple(
    signum for name in ("SIGUSR1", "SIGINFO") if (signum := getattr(signal, name, None)) is not None
)
CHANGED = (*INTERRUPTS, *REPORT, signal.SIGTSTP)


def signals_found() -> SignalState:
    """Return how signals are handled that this room and fork servers change: for the children."""
    return signal_state(*CHANGED)


class Interrupts:
    """A context manager: while it is entered, signals are noted. Handlers of others stay.

    Off the main thread, where Python has no handlers, nothing is changed.

    :param wakeup: Ends the sleep of the loop; called from a signal handler.
    """

    def __init__(self, wakeup: Callable[[], None]) -> None:
        self.count = 0
        """How often an interrupt was asked for."""
        self.signum = 0
        """The signal that asked first."""
        self.stop_asked = False
        """Whether Ctrl-Z was typed."""
        self.report_asked = False
        """Whether somebody wants to know what runs."""
        self._noticed = 0
        self._wakeup = wakeup
        self._found: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for signum in INTERRUPTS:
            self._take_over(signum, self._interrupt)
        for signum in REPORT:
            self._take_over(signum, self._report)
        self._take_over(signal.SIGTSTP, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Have each raise KeyboardInterrupt, as Ctrl-C does: the run is over, and no loop acts on it."""
        for signum in INTERRUPTS:
            self._take_over(signum, signal.default_int_handler)
        try:
            yield
        finally:
            self._put_back()

    def _put_back(self) -> None:
        while self._found:
            signum, handler = self._found.popitem()
            signal.signal(signum, handler)

    def _take_over(self, signum: int, handler: Callable[[int, FrameType | None], None]) -> None:
        found = signal.getsignal(signum)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and found in (signal.SIG_DFL, signal.default_int_handler):
            self._found[signum] = found
            signal.signal(signum, handler)

    def notice(self) -> int:
        """Return the count: the loop acts on it from now on."""
        self._noticed = self.count
        return self.count

    def serve(self, supervisor: Supervisor) -> None:
        """Do what was asked for: stop with all that runs, tell what runs."""
        if self.stop_asked or supervisor.stop_asked:
            self.stop_asked = False
            with supervisor.paused():
                signal.signal(signal.SIGTSTP, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTSTP)  # until SIGCONT
                self._take_over(signal.SIGTSTP, self._stop)
        if self.report_asked:
            self.report_asked = False
            supervisor.tell_what_runs()

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True  # the summary names the place where that hook hangs
        self.count += 1
        self.signum = self.signum or signum
        if self.count > self._noticed + 1:
            # The loop does not come round: a hook of somebody hangs.
            raise KeyboardInterrupt
        self._wakeup()

    def _report(self, signum: int, frame: FrameType | None) -> None:
        self.report_asked = True
        self._wakeup()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop_asked = True
        self._wakeup()
