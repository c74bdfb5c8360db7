"""The fork server: walks the items, keeps broader fixtures set up, forks each test's child.

It handles an item in one of two ways. Nothing broader is missing: it forks, and the child runs the
whole protocol. Otherwise it begins the protocol itself, when the item's turn has come, and forks
where the test's own set-up begins: the child goes on as if nothing had happened, the server unwinds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_procrastinate.child.capture import OwnCapture
from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.foreground import Foreground
from pytest_procrastinate.child.run import (
    GATE,
    ChildProgram,
    PassOn,
    Prepared,
    StartOver,
    told_exception,
)
from pytest_procrastinate.child.supervised import TimedPhases
from pytest_procrastinate.child.telling import Teller
from pytest_procrastinate.forkserver.announcing import announce
from pytest_procrastinate.forkserver.narrower import Narrower
from pytest_procrastinate.forkserver.safety import Snapshot
from pytest_procrastinate.forkserver.sharing import Sharing
from pytest_procrastinate.child.streams import c_flusher, flush_output, high_duplicate
from pytest_procrastinate.forkserver.supervised import become_server, end_children
from pytest_procrastinate.forkserver.watchdogs import Watchdogs
from pytest_procrastinate.process.cleanup import SignalState
from pytest_procrastinate.process.child import Channel, ChildProcess
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.manager import ForkError, InChild, ProcessManager
from pytest_procrastinate.process.remote import Order, RemoteForker, RemoteService
from pytest_procrastinate.process.task import Endpoint
from pytest_procrastinate.pytest_private import (
    Inherited,
    among_pytests_own,
    anything_to_tear_down,
    leave_item,
    may_skip,
    on_set_up,
    parameter_index,
    pop_scopes,
    repeat_registrations,
    set_up_now,
    skips_now,
    tear_down_all,
    tear_down_scopes,
)


LOCATED_AT_ONCE = 200  # items; more at a time would hold up the first test


class ForkServer:
    """The task of a fork server. Made in the pytest process, runs in the server.

    :param items: All items of the session, known to both sides by their index.
    :param live: Tests tell as they run, see :class:`.Teller`.
    """

    def __init__(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        result: RemoteForker,
        *,
        live: bool,
        signals: SignalState,
    ) -> None:
        self.result = result
        self._session = session
        self._items = items
        self._live = live
        self._signals = signals
        self._parent_pid, self._parent_group = os.getpid(), os.getpgrp()

    def run(self, endpoint: Endpoint | None) -> None:
        """Serve until the pytest process has gone or closes the channel."""
        assert isinstance(endpoint, Channel)
        announce(self._session, endpoint)
        inherited = Inherited(self._session)
        inherited.disown()
        fault_descriptor = high_duplicate(2)
        prepared = Prepared(
            session=self._session,
            teller=Teller(self._session.config),
            marker=TimedPhases(fault_descriptor),
            capture=OwnCapture(self._session.config, fault_descriptor),
            inherited=inherited,
            signals=self._signals,
            flush_c=c_flusher(),
            processes=set(),
            live=self._live,
        )
        plugins = self._session.config.pluginmanager
        plugins.register(prepared.marker, "forked-phases")
        plugins.register(Foreground(prepared.marker, self._parent_group), "forked-foreground")
        prepared.teller.warm_up()
        sharing = Sharing(self._session)
        Server(prepared, self._items, sharing, endpoint, self._parent_pid).serve()


class Server:
    """A fork server, in its own process."""

    def __init__(
        self,
        prepared: Prepared,
        items: list[pytest.Item],
        sharing: Sharing,
        channel: Channel,
        parent_pid: int,
    ) -> None:
        self._prepared = prepared
        self._session = prepared.session
        self._items = items
        self._sharing = sharing
        self._files: dict[int, ChildFiles] = {}
        self._idle_files = ChildFiles.make()
        self._running: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._ready: list[tuple[Order, ChildProgram]] = []
        self._leaving: dict[int, tuple[ChildProgram, pytest.Item | None, int | None]] = {}
        self._left_below: dict[int, tuple[bytes, object]] = {}
        self._narrowers: list[Narrower] = []
        self._beginning: tuple[Order, ChildProgram] | None = None
        self._located = 0
        self._node: Any = prepared.session
        self._pid = parent_pid
        self._listen(channel)
        prepared.capture.point_at(self._idle_files)
        prepared.session.config.pluginmanager.register(self, "forked-server")
        on_set_up(self._session, self._split_for_test)

    def _listen(self, channel: Channel) -> None:
        self._manager = ProcessManager()
        self._manager.setup()
        become_server(self._manager, parent_pid=self._pid)
        self._pid = os.getpid()
        self._service = RemoteService(self._manager, channel.end, self._fork_ordered, self._obey)

    def serve(self) -> None:
        """Serve until the owner has gone, then tear down what is left."""
        while self._service.open:
            self._manager.step()
            while self._ready and self._is_free_for(self._ready[0][1]):
                self._take_up(*self._ready.pop(0))
            for index in list(self._leaving):
                self._leave(index)
        end_children(self._manager)
        self._manager.shutdown()
        tear_down_all(self._session)
        self._session.config.hook.pytest_forked_server_ending(session=self._session)
        flush_output(self._prepared.flush_c)

    def _runs_before(self, index: int) -> bool:
        """Whether a child of this server, or of a narrower one, runs a test before that index."""
        below = (each for narrower in self._narrowers for each in narrower.running())
        return any(running < index for running in (*self._running.values(), *below))

    def _is_free_for(self, program: ChildProgram) -> bool:
        """Whether an item can be begun here: not while tests before it use what it changes."""
        if self._narrower_for(program.item) is not None:
            return True
        self._pop_empty_scopes(program.item)
        return self._sharing.fits(program.item) and not (
            (self._sharing.changes(program.item) or may_skip(program.item))
            and self._runs_before(program.index)
        )

    def _narrower_for(self, item: pytest.Item) -> Narrower | None:
        return next((each for each in self._narrowers if each.serves(item)), None)

    def _pop_empty_scopes(self, item: pytest.Item) -> None:
        """Forget scopes that the item is not in, where there is nothing to tear down."""
        if not anything_to_tear_down(self._session, item):
            pop_scopes(self._session, item)

    # --- orders -------------------------------------------------------------------------------

    def _fork_ordered(self, order: Order) -> None:
        program = self._program(order)
        self._pop_empty_scopes(program.item)
        narrower = self._narrower_for(program.item)
        if narrower is not None:
            narrower.fork(order, program)
        elif (
            self._sharing.fits(program.item)
            and self._sharing.is_complete(program.item)
            and (program.following is not None or not may_skip(program.item))
        ):
            self._fork(order, program)
        else:
            self._wait_for_turn(order, program)

    def _program(self, order: Order) -> ChildProgram:
        match order.message:
            case (int(index), int(count), next_index, int(number), bool(scopes_end)):
                if index >= self._located:
                    self._located = locate(self._items, index)
                if len(order.descriptors) > 1:
                    if number in self._files:
                        self._files[number].close()
                    self._files[number] = ChildFiles(order.descriptors[1:])
                program: ChildProgram | None = None
                nextitem = self._items[next_index] if isinstance(next_index, int) else None
                for at in reversed(range(index, index + count)):
                    item = self._items[at]
                    program = ChildProgram(
                        prepared=self._prepared,
                        item=item,
                        index=at,
                        nextitem=nextitem,
                        files=self._files[number],
                        number=number,
                        scopes_end=scopes_end,
                        fresh=self._sharing.mode(item) == "fresh",
                        following=program,
                    )
                    nextitem = item
                if program is not None:
                    return program
        raise ValueError(f"not an order: {order.message!r}")

    def _wait_for_turn(self, order: Order, program: ChildProgram) -> None:
        """Have the item begun once its gate opens: the test before it has ended by then."""
        gate = self._waiting[order.number] = order.descriptors[0]

        def opened() -> None:
            self._manager.unwatch(gate)
            del self._waiting[order.number]
            self._ready.append((order, program))

        self._manager.watch(gate, opened)

    def _take_up(self, order: Order, program: ChildProgram) -> None:
        """Run an item whose turn has come: by now somebody else may be the one to begin it."""
        narrower = self._narrower_for(program.item)
        if narrower is not None:
            narrower.fork(order, program)
            return
        channel = Channel.from_descriptor(os.dup(order.descriptors[0]))
        word = channel.wait()
        if len(word) != GATE.size:  # the pytest process has gone, or wants this test no more
            channel.close()
            os.close(order.descriptors[0])
            self._service.ended(order, Ending.lost(0))
            return
        if self._sharing.is_complete(program.item) and not skips_now(program.item):
            channel.close()
            self._fork(order, program, word)
        else:
            self._begin(order, program, channel, word)

    def _obey(self, order: object) -> None:
        match order:
            case ("leave", int(index), next_index, int(number)):
                nextitem = self._items[next_index] if isinstance(next_index, int) else None
                program = ChildProgram(
                    self._prepared, self._items[index], index, nextitem, self._files[number], number
                )
                self._leaving[index] = program, nextitem, next_index
            case _:
                raise ValueError(f"not an order: {order!r}")

    # --- forking ------------------------------------------------------------------------------

    def _fork(self, order: Order, program: ChildProgram, word: bytes | None = None) -> None:
        """Fork a child that runs the whole protocol."""
        repeat_registrations(program.item)
        if self._fork_child(order, program):
            channel = self._channel_in_child(order, program)
            try:
                program.run(channel, word)
            except BaseException:
                _leave_badly()
            os._exit(0)

    def _fork_child(self, order: Order, program: ChildProgram) -> bool:
        """Fork; whether this is the child. In the server all is told to the owner."""
        watchdogs = Watchdogs()
        watchdogs.disarm()
        self._prepared.call_hook("pytest_forked_before_fork", program.item)

        def relay(child: ChildProcess) -> None:
            assert child.ending is not None
            self._running.pop(order.number, None)
            self._service.ended(order, child.ending)

        try:
            forked = self._manager.fork(completion_handler=relay)
        except ForkError as error:
            self._service.refused(order, str(error))
            os.close(order.descriptors[0])
            return False
        if isinstance(forked, InChild):
            watchdogs.arm(program.item.config, begun=self._beginning is not None)
            return True
        self._running[order.number] = program.index
        os.close(order.descriptors[0])
        self._service.forked(order, forked.pid)
        return False

    def _channel_in_child(self, order: Order, program: ChildProgram) -> Channel:
        """Let go of all that belongs to the server and to other tests; return the test's channel."""
        self._service.after_fork()
        for descriptor in self._waiting.values():
            os.close(descriptor)
        for files in (*self._files.values(), self._idle_files):
            if files is not program.files:
                files.let_go()
        return Channel.from_descriptor(high_duplicate(order.descriptors[0], close=True))

    # --- beginning an item here, passing it on to a child --------------------------------------

    def _begin(self, order: Order, program: ChildProgram, channel: Channel, word: bytes) -> None:
        """Begin an item's protocol in this process; a child goes on with it."""
        self._beginning = order, program
        self._order_here, self._channel_here = order, channel
        program.point_here()
        program.begin(channel, word)
        try:
            raised = program.run_protocol()
        except StartOver:
            channel.close()
            leave_item(self._session, program.item)
            program.files.clear()
            self._fork(self._order_here, program, word)
            return
        except PassOn:
            channel.close()
            leave_item(self._session, program.item)
            return
        if self._beginning is None:  # the child
            try:
                program.go_on(self._channel_here, raised)
            except BaseException:
                _leave_badly()
            os._exit(0)
        # It ended before anything of its own was set up: a skip.
        order = self._order_here
        self._beginning = None
        stays = None if program.scopes_end else program.nextitem
        if program.following is None and (
            self._prepared.inherited.end_above(stays) or anything_to_tear_down(self._session, stays)
        ):
            program.tell_leaving(all_scopes=stays is None)
        program.tell_end(raised)
        self._let_go()
        leave_item(self._session, program.item)
        channel.close()
        if program.following is not None and raised is None:
            self._fork(order, program.following, word)
            return
        os.close(order.descriptors[0])
        self._service.ended(order, Ending(pid=os.getpid(), exit_status=0, signal=None, core_dumped=False, usage=None))

    def _split_for_test(self, item: pytest.Item) -> None:
        """Fork here: the child goes on, the server unwinds the protocol and lets go of the item."""
        if self._beginning is None or self._beginning[1].item is not item:
            return
        order, program = self._beginning
        if self._fork_child(order, program):
            self._beginning = None
            self._channel_here.close()
            self._channel_here = self._channel_in_child(order, program)
            program.prepared.teller.move_to(self._channel_here)
            program.become_child()
            program.start_child()
            return
        self._beginning = None
        self._let_go()
        raise PassOn

    def _let_go(self) -> None:
        """Speak for no test any more, write into none of its files."""
        self._prepared.marker.page = None
        self._prepared.teller.mute()
        self._prepared.capture.point_at(self._idle_files)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    @among_pytests_own
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[object]:
        """Split where the first fixture of the test's own is set up, or one that is not shared."""
        if self._beginning is None:
            return (yield)
        order, program = self._beginning
        item = program.item
        if request.node is item or not self._sharing.is_shared(item, fixturedef):
            while names := self._sharing.missing_beside(item):
                set_up_now(item, names[0])
                if self._sharing.missing_beside(item) == names:
                    break
            if self._beginning is None:
                return (yield)
            self._split_for_test(item)
            return (yield)
        if self._narrows(program, request):
            self._split_for_scope(order, program, request.node)
        self._prepared.inherited.definitions.append(fixturedef)
        program.files.page.note(fixturedef.argname, request.node.nodeid, parameter_index(item, fixturedef))
        before = Snapshot.take()
        value = yield
        after = Snapshot.take()
        danger = after.danger_since(before)
        program.files.page.note("", "", 0)
        if danger is None or not self._sharing.must_check(item, fixturedef):
            self._prepared.processes.update(after.children - before.children)
            return value
        self._sharing.set_up_fresh(fixturedef)
        self._service.tell(("fresh", fixturedef.argname, danger))
        self._beginning = None
        # The child sets it up again, and tells it if this teardown fails there as well.
        with contextlib.suppress(Exception):
            fixturedef.finish(request)
        self._let_go()
        raise StartOver

    # --- narrower servers ---------------------------------------------------------------------

    def _narrows(self, program: ChildProgram, request: Any) -> bool:
        """Whether a module's or class's fixture gets a server of its own, forked from this one.

        If it crashes there, what is set up here is not lost. Not where a test of that scope needs
        something broader that is missing: it could not be set up there for those outside.
        """
        return (
            request.scope in ("module", "class")
            and request.node is not self._node
            and anything_to_tear_down(self._session, None, but=request.node)
            and self._sharing.has_all_broader(
                self._items[program.index :], request.node, request.scope
            )
        )

    def _split_for_scope(self, order: Order, program: ChildProgram, node: Any) -> None:
        """Fork here: the child is a server for ``node`` and sets it up, this server unwinds."""
        narrower = Narrower(
            node,
            self._manager,
            self._service,
            set(self._files),
            left=self._narrower_left,
            died=self._narrower_died,
        )
        number = narrower.expect(order)
        watchdogs = Watchdogs()
        watchdogs.disarm()
        try:
            forked = self._manager.fork(result=narrower.forker)
        except ForkError:
            narrower.forget(number)
            return  # set up here, then
        if isinstance(forked, InChild):
            assert forked.channel is not None
            watchdogs.arm(program.item.config, begun=True)
            self._become_narrower(node, forked.channel, dataclasses.replace(order, number=number), program)
            return
        narrower.forker.server = forked
        os.close(order.descriptors[0])
        self._narrowers.append(narrower)
        self._beginning = None
        self._let_go()
        raise PassOn

    def _become_narrower(
        self, node: Any, channel: Channel, order: Order, program: ChildProgram
    ) -> None:
        self._service.after_fork()
        for descriptor in self._waiting.values():
            os.close(descriptor)
        self._node = node
        self._narrowers = []
        self._leaving, self._left_below = {}, {}
        self._running, self._waiting, self._ready = {}, {}, []
        self._idle_files = ChildFiles.make()
        self._prepared.inherited.disown(but=program.item)
        self._beginning = order, program
        self._order_here = order
        self._listen(channel)
        announce(self._session, channel)

    def _narrower_left(self, narrower: Narrower, index: int, frames: bytes, died: object) -> None:
        """Go on leaving, now that a narrower server has left its scopes."""
        nextitem = self._leaving[index][1]
        if nextitem is not None and narrower.serves(nextitem):
            del self._leaving[index]  # only scopes below its own have ended
            self._service.tell(("left", index, frames, died))
        else:
            narrower.dismiss()
            self._narrowers.remove(narrower)
            self._left_below[index] = frames, died

    def _narrower_died(self, narrower: Narrower, ending: Ending) -> None:
        """Serve its tests here again; if it died while it left its scopes, that is told."""
        if narrower in self._narrowers:
            self._narrowers.remove(narrower)
        for index in narrower.leaving:
            self._left_below[index] = b"", ending.as_message()

    # --- leaving scopes -----------------------------------------------------------------------

    def _leave(self, index: int) -> None:
        """Tear down the scopes that ended with a test; tell the report, to be merged with its own.

        Once no test runs any more that may use them.
        """
        program, nextitem, next_index = self._leaving[index]
        narrower = self._narrower_for(program.item)
        if narrower is not None:
            if index not in narrower.leaving:
                narrower.leave(index, next_index, program)
            return
        if self._runs_before(index + 1):
            return
        del self._leaving[index]
        below, died = self._left_below.pop(index, (b"", None))
        told = [below]
        if anything_to_tear_down(self._session, nextitem):
            if died is None:  # otherwise the test's files hold what the dead one wrote
                program.point_here()
            self._prepared.call_hook("pytest_forked_leaving_scopes", program.item)
            with self._prepared.teller.collecting() as frames:
                try:
                    report = tear_down_scopes(program.item, nextitem)
                    program.item.config.hook.pytest_runtest_logreport(report=report)
                except (pytest.exit.Exception, KeyboardInterrupt) as error:
                    self._prepared.teller.tell("raised", told_exception(error))
            self._let_go()
            leave_item(self._session, program.item)
            told += frames
        else:
            pop_scopes(self._session, nextitem)
        self._service.tell(("left", index, b"".join(told), died))


def locate(items: list[pytest.Item], start: int) -> int:
    """Have the next items find out where they are defined; return the index of the first left out.

    They keep it. Each child would have to find it out again, and copy many pages to do so.
    """
    end = start + LOCATED_AT_ONCE
    for item in items[start:end]:
        with contextlib.suppress(Exception):  # the item's own protocol will meet it again
            item.location  # noqa: B018
    return end


def _leave_badly() -> None:
    import traceback

    traceback.print_exc()
    os._exit(70)
