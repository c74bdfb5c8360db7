"""A test's child: wait for the gate, run the item's protocol, tell how it went, leave."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import pytest

from pytest_procrastinate.child.capture import OwnCapture
from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.streams import flush_output
from pytest_procrastinate.child.supervised import (
    INTERRUPT,
    TimedPhases,
    begin_child,
    wait_at_gate,
)
from pytest_procrastinate.child.telling import Teller, tell_what_is_noted
from pytest_procrastinate.options import SETTINGS, stop_is_found_outside
from pytest_procrastinate.process.child import BROKEN_STATUS, Channel
from pytest_procrastinate.process.cleanup import SignalState, lead_own_group
from pytest_procrastinate.pytest_private import (
    Inherited,
    is_pytests_own_failure,
    may_skip,
    place_of,
    stack_of,
    tear_down_all,
    tear_down_scopes,
)

GATE = struct.Struct("!HHI")  # what opens a gate: slot, slot in the group, tests failed so far
SLOT, GROUP_SLOT = "FORKED_SLOT", "FORKED_GROUP_SLOT"  # environment variables


class Prepared(NamedTuple):
    """What a fork server has ready for all of its children."""

    session: pytest.Session
    teller: Teller
    marker: TimedPhases
    capture: OwnCapture
    inherited: Inherited
    signals: SignalState
    flush_c: Callable[[], None]
    live: bool
    processes: set[int]
    """What shared fixtures have started."""

    def call_hook(self, name: str, item: pytest.Item, **arguments: object) -> None:
        """Call one of our own hooks; where nobody implements it, without the cost of a call."""
        if getattr(self.session.config.hook, name).get_hookimpls():
            getattr(item.ihook, name)(item=item, **arguments)


class ChildProgram(NamedTuple):
    """What a test's child runs; where broader fixtures are missing, its fork server begins it.

    :ivar position: The item's, among all of the session.
    :ivar number: The number that the pytest process knows the files by.
    :ivar scopes_end: No test comes after this one that shares a scope with it.
    :ivar turn: Which of its unit's tests it is; the first is 1.
    :ivar following: What the same child runs after this.
    :ivar fresh: It sets up all that it needs, though some of it may be set up already.
    """

    prepared: Prepared
    item: pytest.Item
    position: int
    nextitem: pytest.Item | None
    files: ChildFiles
    number: int
    scopes_end: bool = True
    fresh: bool = False
    turn: int = 1
    following: ChildProgram | None = None

    @property
    def may_be_skipped(self) -> bool:
        """Whether marks may skip the item: its fork server begins it then, and that costs no fork."""
        return self.following is None and may_skip(self.item)

    def run(self, channel: Channel, word: bytes | None = None) -> None:
        """Run the test, in its child. Returns when all is told; the caller leaves.

        :param word: What opened its gate, if that is open already.
        """
        wait_at_gate()
        if not channel.is_heard():
            return
        self.point_here()
        self.become_child()
        if word is None:
            word = channel.wait()
        if len(word) != GATE.size:
            return  # the pytest process has gone, or wants this test no more
        self.begin(channel, word)
        try:
            self.start_child(channel)
        except KeyboardInterrupt as error:
            self.go_on(channel, told_exception(error))
        else:
            self.go_on(channel, self.run_protocol())

    def go_on(self, channel: Channel, raised: tuple[object, ...] | None) -> None:
        """Finish this item, in the child, and run those of the same child after it."""
        program, session = self, self.prepared.session
        while (following := program.following) is not None:
            if raised is not None or session.shouldfail or session.shouldstop:
                break
            program.tell_end(None)
            program = following
            program.begin_next(channel)
            raised = program.run_protocol()
        program.finish_child(raised, stops=program.following is not None)

    def begin_next(self, channel: Channel) -> None:
        """Begin to speak for this test, in a child that has run another one."""
        self.files.page.begin_next()
        self.prepared.marker.begin(self.item, self.files)
        self.prepared.teller.speak_for(channel, self.files.page, live=self.prepared.live)

    def set_up_fresh(self) -> ChildProgram:
        """Return the same program, setting up all that it needs."""
        following = None if self.following is None else self.following.set_up_fresh()
        return self._replace(fresh=True, following=following)

    def point_here(self, *, serves: bool = False) -> None:
        """Have output, log and the stack of a crash written into this test's files.

        :param serves: This is a fork server, not the test's own child.
        """
        self.prepared.capture.point_at(self.files)
        self.files.page.note_pid(serves=serves)

    def begin(self, channel: Channel, word: bytes) -> None:
        """Begin to speak for this test, its turn has come."""
        prepared = self.prepared
        slot, group_slot, prepared.session.testsfailed = GATE.unpack(word)
        for name, number in ((SLOT, slot), (GROUP_SLOT, group_slot)):
            if os.environ.get(name) != str(number):
                os.environ[name] = str(number)
        prepared.marker.begin(self.item, self.files)
        self.files.page.begin(turn=self.turn)
        prepared.teller.speak_for(channel, self.files.page, live=prepared.live)

    def become_child(self) -> None:
        """Make this process, just forked, the test's own."""
        lead_own_group()
        prepared = self.prepared
        prepared.inherited.become_child(
            self.item, self.tell_leaving, stays=not self.scopes_end, fresh=self.fresh
        )

    def start_child(self, channel: Channel) -> None:
        """Do what only a child whose turn has come does before its test.

        Leaves where its fork server has died before it could tell of it: then another one runs it.
        """
        if not channel.is_heard():  # the page may be the other one's by now
            os._exit(BROKEN_STATUS)
        self.files.page.note_pid()
        if not channel.is_heard():  # who gives it up looks for the note after that
            os._exit(BROKEN_STATUS)
        begin_child(self.prepared.signals)
        if self.prepared.processes:
            from pytest_procrastinate.process.inherited import tell_the_truth_about

            tell_the_truth_about(self.prepared.processes)
        settings = self.item.config.stash[SETTINGS][self.item]
        self.prepared.marker.watch_things(settings)
        if self.files.page.asked() == INTERRUPT:  # until now its signal was not heard
            raise KeyboardInterrupt
        self.prepared.call_hook(
            "pytest_forked_child_started", self.item, tell=self._tell_for_plugin
        )

    def run_protocol(self) -> tuple[object, ...] | None:
        """Run the item's protocol; return what it raised, as the pytest process needs it.

        See :func:`told_exception`; or ``broken``, where pytest itself has failed, by what the test
        has done to it in this process.
        """
        item = self.item
        tell_what_is_noted(self.prepared.teller, item)
        self.prepared.inherited.goes_on = self.following is not None
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.nextitem)
        except PassOn:
            raise
        except BaseException as error:
            told = told_exception(error)
            if told[0] == "error" and is_pytests_own_failure(error, item):
                return ("broken", *told[1:])
            return told
        return None

    def finish_child(self, raised: tuple[object, ...] | None, *, stops: bool) -> None:
        """Tell the rest, in the child, after the protocol.

        :param stops: The run ends, though more would follow in this child.
        """
        if raised is not None and raised[0] == "broken":
            self.leave_broken(raised)
        if raised is not None or stops:
            # Plain pytest tears down what is left when the session finishes.
            self.prepared.inherited.ends_run = True
            tear_down_rest(self.prepared)
        elif stack_of(self.prepared.session):
            # Somebody's hook raised before pytest's own teardown: the next test's does it, plainly.
            tear_down_rest(self.prepared, self.nextitem)
        self.prepared.marker.end()
        self.prepared.call_hook("pytest_forked_child_ending", self.item)
        flush_output(self.prepared.flush_c)
        if left := self.prepared.marker.things_left():
            # Before, what several tests of this child share would seem to be left.
            self.prepared.teller.tell("left", left)
        self.tell_end(raised)
        if self.prepared.teller.failed and stop_is_found_outside(self.item.config):
            settings = self.item.config.stash[SETTINGS][self.item]
            if stops or not settings.waits_for_end:
                self.prepared.teller.wait_for_verdict()

    def leave_broken(self, raised: tuple[object, ...]) -> NoReturn:
        """Leave a child in which pytest itself does not work any more; undo what can be undone."""
        self.tell_end(raised)
        try:
            tear_down_all(self.prepared.session)
        except BaseException:
            pass  # as much as the broken pytest can
        self.prepared.call_hook("pytest_forked_child_ending", self.item)
        flush_output(self.prepared.flush_c)
        raise SystemExit(BROKEN_STATUS)

    def tell_end(self, raised: tuple[object, ...] | None) -> None:
        """Tell that all is told, or that nothing more can be."""
        teller = self.prepared.teller
        if raised is not None and raised[0] == "broken":
            teller.tell("broken", raised)
            teller.flush()
            return
        if raised is not None:
            teller.tell("raised", raised)
        else:
            tell_stop(self.prepared)
        self.files.page.enter("")
        teller.end()

    def _tell_for_plugin(self, name: str, payload: object) -> None:
        self.prepared.teller.tell("told", (name, payload))

    def tell_leaving(self, *, all_scopes: bool) -> None:
        """Tell that shared scopes end with this test, which its fork server has to tear down."""
        self.prepared.teller.tell("leaves", all_scopes)


def leave_scopes(
    prepared: Prepared, item: pytest.Item, nextitem: pytest.Item | None, live_log: int = 0
) -> bytes:
    """Tear down what an item is within and the next is not; return the frames of what is told.

    :param live_log: What live logs have shown of it.
    """
    with prepared.teller.collecting() as frames:
        try:
            marker = prepared.marker
            report = tear_down_scopes(item, nextitem, marker=marker, live_log=live_log)
            tell_stop(prepared)
            # Whether it is one failure too many is known where it is merged with the test's own.
            plugins = item.config.pluginmanager
            log = plugins.subset_hook_caller("pytest_runtest_logreport", [prepared.session])
            log(report=report)
        except (pytest.exit.Exception, KeyboardInterrupt) as error:
            prepared.teller.tell("raised", told_exception(error))
    return b"".join(frames)


def tell_stop(prepared: Prepared) -> None:
    """Tell that somebody has asked for the end of the run, if so."""
    session = prepared.session
    if session.shouldstop or session.shouldfail:
        prepared.teller.tell("stop", (session.shouldstop, session.shouldfail))


def tear_down_rest(prepared: Prepared, nextitem: pytest.Item | None = None) -> None:
    """Tear down all that is left here, as plain pytest does when the session finishes.

    What fails is told: it is raised then, in the pytest process.

    :param nextitem: What the scopes of other processes are left for, if the run goes on.
    """
    try:
        tear_down_all(prepared.session, nextitem)
    except BaseException as error:
        prepared.teller.tell("at_end", told_exception(error))


class PassOn(pytest.exit.Exception):  # type: ignore[misc, name-defined]  # made by a decorator
    """Unwinds the protocol in a fork server: a child has taken the item over.

    A subclass of pytest's own: ``CallInfo.from_call`` makes a failed report of any other.
    """

    def __init__(self) -> None:
        super().__init__("taken over by a child")


class StartOver(PassOn):
    """Unwinds the protocol in a fork server: a child begins the item from its beginning."""


def told_exception(error: BaseException) -> tuple[object, ...]:
    """Return what the pytest process needs to raise the same."""
    where = place_of(error)
    if isinstance(error, pytest.exit.Exception):
        status = error.returncode
        return ("exit", *where, str(error.msg), None if status is None else int(status))
    if isinstance(error, KeyboardInterrupt):
        return ("interrupt", *where, str(error))
    text = str(pytest.ExceptionInfo.from_exception(error).getrepr(style="native"))
    return ("error", *where, f"{type(error).__name__}: {error}", text)
