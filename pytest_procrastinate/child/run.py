"""A test's child: wait for the gate, run the item's protocol, tell how it went, leave."""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.telling import PhaseMarker, Teller
from pytest_procrastinate.process.child import Channel
from pytest_procrastinate.pytest_private import (
    Inherited,
    capture_into,
    log_into,
    tear_down_all,
    tear_down_all_after_each_test,
)

GATE = struct.Struct("!HI")  # what opens a gate: the slot, how many tests have failed so far


@dataclasses.dataclass(frozen=True)
class ChildProgram:
    """What a test's child runs. Made in the fork server, run in the child.

    :ivar fault_descriptor: Where the interpreter writes the stack of a crash: a number that a
        test hardly closes or reuses, see :mod:`faulthandler`.
    """

    item: pytest.Item
    nextitem: pytest.Item | None
    files: ChildFiles
    teller: Teller
    marker: PhaseMarker
    inherited: Inherited
    fault_descriptor: int
    live: bool
    on_interrupt: Any
    flush_c: Callable[[], None]

    def run(self, channel: Channel) -> None:
        """Run the test. Returns when all is told; the caller leaves by :func:`os._exit`."""
        item, session = self.item, self.item.session
        os.dup2(self.files.faults, self.fault_descriptor, inheritable=False)
        capture_into(item.config, self.files.out, self.files.err)
        log_into(item.config, self.files.log)
        self.inherited.leave_scopes_outside(item)
        tear_down_all_after_each_test(session)
        stops = session.shouldstop, session.shouldfail

        word = channel.wait()
        if len(word) != GATE.size:
            return  # the pytest process has gone, or wants this test no more
        _, session.testsfailed = GATE.unpack(word)
        signal.signal(signal.SIGINT, self.on_interrupt)
        self.marker.page = self.files.page
        self.files.page.begin()
        self.teller.speak_for(channel, self.files.page, live=self.live)
        item.ihook.pytest_forked_child_started(item=item)
        raised = self._run_protocol()
        item.ihook.pytest_forked_child_ending(item=item)
        if raised is not None:
            self.teller.tell("raised", raised)
        elif (session.shouldstop, session.shouldfail) != stops:
            self.teller.tell("stop", (session.shouldstop, session.shouldfail))
        self.files.page.enter("")
        self._flush_output()
        self.teller.tell("done", None)
        self.teller.flush()

    def _run_protocol(self) -> tuple[object, ...] | None:
        """Return what was raised, as the pytest process needs it to raise the same."""
        item = self.item
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.nextitem)
        except BaseException as error:
            told = _raised(error)
            # Plain pytest tears down what is left when the session finishes.
            tear_down_all(item.session)
            return told
        return None

    def _flush_output(self) -> None:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                pass  # closed or replaced by the test
        self.flush_c()


def _raised(error: BaseException) -> tuple[object, ...]:
    place = pytest.ExceptionInfo.from_exception(error)
    crash = place._getreprcrash()
    where = (str(crash.path), int(crash.lineno)) if crash is not None else ("", 0)
    if isinstance(error, pytest.exit.Exception):
        return ("exit", *where, str(error.msg), error.returncode)
    if isinstance(error, KeyboardInterrupt):
        return ("interrupt", *where)
    text = str(place.getrepr(style="native"))
    return ("error", *where, f"{type(error).__name__}: {error}", text)


def enable_faulthandler(descriptor: int) -> None:
    """Have the stack of a crash written to a descriptor, never to the terminal."""
    faulthandler.enable(file=descriptor, all_threads=True)
