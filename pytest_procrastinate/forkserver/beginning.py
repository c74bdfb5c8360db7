"""An item that a fork server begins itself: where its protocol is split, and who goes on with what.

The fork happens in the middle of pytest's set-up: the child goes on as if nothing had happened, the
server raises :class:`.PassOn`, is mute until the protocol has unwound, and lets go of the item.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.run import ChildProgram, PassOn, StartOver, leave_scopes
from pytest_procrastinate.child.streams import silenced
from pytest_procrastinate.forkserver.safety import Snapshot
from pytest_procrastinate.forkserver.supervised import end_stray_fork
from pytest_procrastinate.forkserver.watchdogs import Watchdogs
from pytest_procrastinate.process.child import Channel, InChild
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.manager import ForkError
from pytest_procrastinate.process.remote import Order
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import (
    OUTCOMES,
    anything_to_tear_down,
    anything_within,
    forget_result,
    forget_unraisable,
    leave_item,
    on_set_up,
    parameter_index,
    repeat_registrations,
    set_up_now,
)

if TYPE_CHECKING:
    from pytest_procrastinate.forkserver.server import Server


@dataclasses.dataclass
class Begun:
    """An item whose protocol is under way in this process.

    :ivar order: What was ordered; in a narrower server it has another number.
    :ivar channel: The test's own; its child has a descriptor of its own of it.
    """

    order: Order
    program: ChildProgram
    channel: Channel


class Beginning:
    """The item that a server has begun, if any; a plugin.

    :param server: Forks, and knows what is shared.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begun: Begun | None = None
        """The item begun here. None where there is none, as in its child, which goes on with it."""
        self._asking = 0  # shared fixtures under way, each of which asked for the next
        self._is_orphan = False  # our parent has gone
        self._set_up: dict[Any, tuple[int, Any]] = {}  # for which item, by which request
        server.session.config.pluginmanager.register(self, "forked-beginning")
        on_set_up(server.session, begins=self._share_and_split, ended=self._split_for_test)

    def begin(self, order: Order, program: ChildProgram, channel: Channel, word: bytes) -> None:
        """Begin an item's protocol in this process; a child goes on with it."""
        begun = self._begun = Begun(order, program, channel)
        program.point_here(serves=True)
        program.begin(channel, word)
        unwound: PassOn | None = None
        try:
            raised = program.run_protocol()
        except PassOn as how:
            unwound = how
        # Not in the handler: what a child raises would have been raised "during handling" of ours.
        if unwound is not None:
            leave_item(self._server.session, program.item)
            if not isinstance(unwound, StartOver):
                channel.close()
                return
            del unwound
            program.files.clear()
            if self._server.sharing.is_complete(program.item):
                channel.close()
                self._server.fork(begun.order, program, word)
            else:  # what else it shares is still to be set up here
                self.begin(begun.order, program, channel, word)
            return
        if self._is_child:
            self._server.machinery.leave_child(lambda: program.go_on(begun.channel, raised))
        # It ended before anything of its own was set up: a skip.
        self._begun = None
        program.tell_end(raised)
        self._server.let_go()
        leave_item(self._server.session, program.item)
        channel.close()
        if program.following is not None and raised is None:
            self._server.fork(begun.order, program.following, word)
            return
        os.close(begun.order.descriptors[0])
        self._server.service.ended(begun.order, Ending(os.getpid(), 0, None, False, None))

    @property
    def _is_child(self) -> bool:
        """Whether this is the child, in which the protocol has run to its end: a server unwinds it."""
        return self._begun is None

    def interrupt(self) -> None:
        """End the set-up of a shared fixture, if one is under way: our parent has gone.

        Nothing is told of it: where the pytest process is there, another server begins the item anew.

        :raises KeyboardInterrupt: One is.
        """
        self._is_orphan = True
        if self._asking:
            self._server.let_go()
            raise KeyboardInterrupt

    def _share_and_split(self, item: pytest.Item) -> None:
        """Fork here, once all is set up that can be shared."""
        if self._begun is None:
            return
        while missing := self._missing_beside(self._begun.program):
            set_up_now(item, missing[0])
            if self._missing_beside(self._begun.program) == missing:
                break
        for definition in self._server.sharing.to_end_first(item):
            definition.finish(item._request)  # type: ignore[attr-defined]
        self._split_for_test(item)

    def _missing_beside(self, program: ChildProgram) -> list[Any]:
        """Return what is still to be set up: once for an item, though a parameter differ from itself."""
        missing = self._server.sharing.missing_beside(program.item)
        done = {each for each, (index, _) in self._set_up.items() if index == program.position}
        return [each for each in missing if each not in done or each.cached_result is None]

    def _split_for_test(self, item: pytest.Item) -> None:
        """Fork here: the child goes on, the server unwinds the protocol and lets go of the item."""
        begun = self._begun
        if begun is None or begun.program.item is not item:
            return
        if self._is_orphan:
            self._unwind(PassOn())
        program = begun.program
        if self._server.fork_child(begun.order, program, begun=True):
            self._begun = None  # in the child, which goes on as any other test does
            begun.channel.close()
            begun.channel = self._server.channel_in_child(begun.order, program)
            program.prepared.teller.move_to(begun.channel)
            program.become_child()
            program.start_child(begun.channel)
            return
        self._unwind(PassOn())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: Any, request: Any
    ) -> Generator[None, object, object]:
        """Split where the first fixture of the test's own is set up, or one that is not shared."""
        begun = self._begun
        if begun is None:
            return (yield)
        program, item = begun.program, begun.program.item
        shared = request.node is not item and self._server.sharing.is_shared(item, fixturedef)
        try:
            if not shared:
                if self._asking:
                    self._unwind(StartOver())
                self._share_and_split(item)
            elif self._narrows(program, request):
                self._split_for_scope(begun, request.node)
        except PassOn:
            forget_result(fixturedef)
            raise
        if not shared:
            return (yield)
        self._server.prepared.inherited.definitions.append(fixturedef)
        self._set_up[fixturedef] = program.position, request
        page = program.files.page
        asked_by = page.read_note()  # by a fixture that runs, if any
        page.note(fixturedef.argname, request.node.nodeid, parameter_index(item, fixturedef))
        before = Snapshot.take()
        self._asking += 1
        try:
            value = yield
        except StartOver:  # it asked for what is not shared: neither is it
            self._leave_to_children(fixturedef, request)
            raise
        except PassOn:
            forget_result(fixturedef)  # pytest keeps what a set-up raised, for the next test
            raise
        except BaseException:
            page.note(*asked_by)
            raise
        finally:
            self._asking -= 1
            end_stray_fork(self._server.pid)
        after = Snapshot.take()
        danger = after.danger_since(before)
        page.note(*asked_by)
        if danger is None or not self._server.sharing.must_check(item, fixturedef):
            self._server.prepared.processes.update(after.children - before.children)
            # The last added runs first: should its teardown kill this process, it is no other's deed.
            fixturedef.addfinalizer(functools.partial(self._note_end, fixturedef, request.node))
            return value
        self._server.service.tell(("fresh", fixturedef.argname, danger))
        self._begun = None
        self._leave_to_children(fixturedef, request)
        self._unwind(StartOver())

    def _note_end(self, fixturedef: Any, node: Any) -> None:
        if self._begun is not None:  # another item needs it with another parameter
            self._begun.program.files.page.note(fixturedef.argname, node.nodeid, -1)

    def leave_after(self, last: int) -> None:
        """Tear down what was set up for items after that one: the run ends, and does not come to them."""
        server = self._server
        item = server.items[last]
        later = [each for each, (index, _) in self._set_up.items() if index > last]
        if not later and not anything_to_tear_down(server.session, item):
            return
        with silenced(server.prepared.flush_c):
            for fixturedef in reversed(later):
                with contextlib.suppress(*OUTCOMES, pytest.exit.Exception, KeyboardInterrupt):
                    fixturedef.finish(self._set_up[fixturedef][1])
            leave_scopes(server.prepared, item, item)

    def _leave_to_children(self, fixturedef: Any, request: Any) -> None:
        """Have a fixture set up in each child, from its beginning."""
        self._server.sharing.set_up_fresh(fixturedef)
        # The child sets it up again, and tells it if this teardown fails there as well.
        with contextlib.suppress(*OUTCOMES):
            fixturedef.finish(request)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Tell, ahead of the report of a skip's teardown, that others have to leave scopes.

        Those set up here are torn down with the skip; but of a narrower server's own scope, its owner
        has to know that it ended.
        """
        if self._begun is None:
            return
        program = self._begun.program
        stays = None if program.scopes_end else program.nextitem
        if program.following is None and (
            stays is None
            or self._server.node not in stays.listchain()
            or self._server.prepared.inherited.end_above(stays)
            or anything_to_tear_down(self._server.session, stays)
        ):
            program.tell_leaving(all_scopes=stays is None)

    def _narrows(self, program: ChildProgram, request: Any) -> bool:
        """Whether a module's or class's fixture gets a server of its own, forked from this one.

        If it crashes there, what is set up here is not lost. Not where a test of that scope needs
        something broader that is missing: it could not be set up there for those outside. Nor where
        something of that scope, or of one within, is set up here already: it could not be ended
        there, by another parameter or as the scope within ends.
        """
        return (
            request.scope in ("module", "class")
            and request.node is not self._server.node
            and not anything_within(self._server.session, request.node)
            and anything_to_tear_down(self._server.session, None, but=request.node)
            and self._server.sharing.has_all_broader(
                itertools.islice(self._server.items, program.position, None),
                request.node,
                request.scope,
            )
        )

    def _split_for_scope(self, begun: Begun, node: Any) -> None:
        """Fork here: the child is a server for ``node`` and sets it up, this server unwinds."""
        server, order, program = self._server, begun.order, begun.program
        try:
            idle_files = ChildFiles.make()
        except OSError:
            return  # set up here, then: there is no room for what a server needs
        narrower = server.narrower(node, program.position)
        number = narrower.expect(order)
        watchdogs = Watchdogs()
        watchdogs.disarm()
        try:
            forked = server.manager.fork(result=narrower.forker)
        except ForkError:
            narrower.forget(number)
            idle_files.close()
            return
        if isinstance(forked, InChild):
            assert forked.channel is not None
            watchdogs.arm(program.item.config, begun=True)
            self._set_up.clear()
            server.become_narrower(node, forked.channel, program.item, idle_files)
            program.files.page.note_pid(serves=True)
            begun.order = order._replace(number=number)
            return
        idle_files.close()
        forget_unraisable(server.session.config)
        narrower.forker.server = forked
        os.close(order.descriptors[0])
        server.narrowers.append(narrower)
        repeat_registrations(program.item)
        self._unwind(PassOn())

    def _unwind(self, how: PassOn) -> NoReturn:
        """Let go of the item, in the server: its protocol unwinds."""
        self._begun = None
        self._server.let_go()
        raise how
