"""The fork server: walks the items, keeps broader fixtures set up, forks each test's child.

It handles an item in one of two ways. Nothing broader is missing: it forks, and the child runs the
whole protocol. Otherwise it begins the protocol itself, when the item's turn has come, and forks
where the test's own set-up begins: the child goes on as if nothing had happened, the server unwinds.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.child.run import (
    GATE,
    ChildProgram,
    Prepared,
    leave_scopes,
    tear_down_rest,
)
from pytest_procrastinate.child.streams import flush_output
from pytest_procrastinate.forkserver.announcing import announce
from pytest_procrastinate.forkserver.beginning import Beginning
from pytest_procrastinate.forkserver.machinery import Machinery, note_where_modules_are
from pytest_procrastinate.forkserver.narrower import Narrower
from pytest_procrastinate.forkserver.programs import Programs
from pytest_procrastinate.forkserver.sharing import Sharing
from pytest_procrastinate.forkserver.supervised import become_server, end_children, end_stray_fork
from pytest_procrastinate.forkserver.turns import Turns
from pytest_procrastinate.forkserver.watchdogs import Watchdogs
from pytest_procrastinate.process.child import Channel, ChildProcess, InChild
from pytest_procrastinate.process.cleanup import high_duplicate
from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.manager import ForkError, ProcessManager
from pytest_procrastinate.process.remote import Order, RemoteService
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import (
    anything_to_tear_down,
    forget_unraisable,
    leave_item,
    pop_scopes,
    repeat_registrations,
)


class Way(enum.Enum):
    """How an item comes to its child, once nothing holds it up."""

    NARROWER = 1  # a narrower server, which has its scope, sees to it
    FORK = 2  # a fork: all that it shares is set up
    FORK_FRESH = 3  # a fork: what it would share is torn down, so it sets up all that it needs
    BEGIN = 4  # begun here: something that it shares is missing, or it may be skipped


class Leaving(NamedTuple):
    """Scopes to be left.

    :ivar next_index: The item that is told next, for which they stay; None: no scope stays.
    :ivar failed: How many failures a plain run would know of.
    """

    program: ChildProgram
    next_index: int | None
    failed: int


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
        self.prepared = prepared
        self.session = prepared.session
        self.items = items
        self.sharing = sharing
        self._programs = Programs(prepared, items, sharing)
        self._running: dict[int, int] = {}
        self._leaving: dict[int, Leaving] = {}
        self._passed, self._ends = -1, False
        self._last_told: int | None = None
        self.machinery = Machinery(self.session.config, self)
        self._left_below: dict[int, tuple[bytes, object]] = {}
        self.narrowers: list[Narrower] = []
        self.node: Any = prepared.session
        self.pid = parent_pid
        self._listen(channel)
        prepared.capture.point_at(self._programs.idle_files)
        self._beginning = Beginning(self)

    def _listen(self, channel: Channel) -> None:
        self.manager = ProcessManager()
        self.manager.setup()
        become_server(self.manager, self.pid, lambda: self._beginning.interrupt())
        self.pid = os.getpid()
        self._turns = Turns(self.manager)
        self.service = RemoteService(self.manager, channel.end, self._fork_ordered, self._obey)

    def serve(self) -> None:
        """Serve until the owner has gone, then tear down what is left."""
        while self.service.open:
            self.manager.step()
            while self._leaving and self._leave(min(self._leaving)):
                pass  # in order: a later one may end the scope that an earlier one is within
            while (order := self._turns.first_given_up()) is not None:
                self._turns.take(order)
                self._lose(order)
                self._pass_on()
            while (turn := self._turns.first_open()) and (way := self._way(turn[1])):
                self._turns.take(turn[0])
                self._take_up(*turn, way)
                self._pass_on()
        for narrower in self.narrowers:
            narrower.dismiss(self._last_told, self.session.testsfailed)
        end_children(self.manager, [narrower.server for narrower in self.narrowers])
        self.manager.shutdown()
        if self._last_told is not None:
            self._beginning.leave_after(self._last_told)
        with self.prepared.teller.collecting() as frames:
            tear_down_rest(self.prepared)
        if frames:
            self.service.tell(("last", b"".join(frames)))
        self.session.config.hook.pytest_forked_server_ending(session=self.session)
        flush_output(self.prepared.flush_c)

    def _runs_before(self, index: int) -> bool:
        """Whether a child of this server, or of a narrower one, runs a test before that index."""
        below = (each for narrower in self.narrowers for each in narrower.running())
        return any(running < index for running in (*self._running.values(), *below))

    def _way(self, program: ChildProgram) -> Way | None:
        """Return how an item comes to its child now; None: tests before it use what it changes or ends."""
        self._pop_empty_scopes(program.item)
        if self._narrower_for(program) is not None:
            return Way.NARROWER
        if not self.sharing.fits(program.item):
            # Its scopes have been left: the rest of a unit whose child died beside others.
            return Way.FORK_FRESH if program.position < self._passed else None
        if self.sharing.is_complete(program.item) and not program.may_be_skipped:
            return Way.FORK
        # One that is skipped is torn down here, with the scopes that end with it.
        ends = program.may_be_skipped and anything_to_tear_down(self.session, program.nextitem)
        changes = ends or self.sharing.changes(program.item)
        return None if changes and self._runs_before(program.position) else Way.BEGIN

    def _narrower_for(self, program: ChildProgram) -> Narrower | None:
        return next((each for each in self.narrowers if program.position in each.tests), None)

    def _pop_empty_scopes(self, item: pytest.Item) -> None:
        """Forget scopes that the item is not in, where there is nothing to tear down."""
        if not anything_to_tear_down(self.session, item):
            pop_scopes(self.session, item)

    # --- orders -------------------------------------------------------------------------------

    def _fork_ordered(self, order: Order) -> None:
        self.machinery.share()
        program = self._programs.of_order(order)
        if self._goes(program, [each for _, each in self._turns]):
            self._go(order, program)
        else:
            self._turns.wait(order, program)

    def _pass_on(self) -> None:
        """Have those forked that wait and need not any more, now that one more item is begun."""
        before: list[ChildProgram] = []
        for order, program in self._turns:
            if self._goes(program, before):
                self._turns.take(order)
                self._go(order, program)
            else:
                before.append(program)

    def _goes(self, program: ChildProgram, before: list[ChildProgram]) -> bool:
        """Whether an item needs not wait for its turn, nor for those that wait ``before`` it."""
        if not all(self._is_ready_for(each.item) for each in before):
            return False  # what they set up, or end, it inherits: from a narrower server as well
        return self._way(program) in (Way.NARROWER, Way.FORK)

    def _go(self, order: Order, program: ChildProgram) -> None:
        if (narrower := self._narrower_for(program)) is not None:
            narrower.fork(order, program)
        else:
            self.fork(order, program)

    def _is_ready_for(self, item: pytest.Item) -> bool:
        """Whether a child forked now would find all that it shares, and nothing else."""
        return self.sharing.fits(item) and self.sharing.is_complete(item)

    def _take_up(self, order: Order, program: ChildProgram, way: Way) -> None:
        """Run an item whose turn has come."""
        if way is Way.NARROWER:  # since it was ordered: somebody else begins it
            self._go(order, program)
            return
        channel = Channel.from_descriptor(os.dup(order.descriptors[0]))
        word = channel.wait()
        if len(word) != GATE.size:  # the pytest process has gone, or wants this test no more
            channel.close()
            self._lose(order)
            return
        if way is Way.BEGIN:
            self._passed = max(self._passed, program.position)
            self._beginning.begin(order, program, channel, word)
        else:
            channel.close()
            self.fork(order, program if way is Way.FORK else program.set_up_fresh(), word)

    def _lose(self, order: Order) -> None:
        os.close(order.descriptors[0])
        self.service.ended(order, Ending.lost(0))

    def _obey(self, order: object) -> None:
        match order:
            case (
                "leave",
                int(index),
                (int() | None) as next_index,
                int(number),
                int(failed),
                bool(stops),
            ):
                program = self._programs.of_leaving(index, next_index, number)
                self._leaving[index] = Leaving(program, next_index, failed)
                if stops:
                    if not self._ends:
                        self._ends, self._last_told = True, index
                    self._turns.forget()
            case ("ends", int(last_told), int(failed)):
                self._last_told, self.session.testsfailed = last_told, failed
            case ("tracebacks",):
                for narrower in self.narrowers:
                    narrower.forker.order(order)
                note_where_modules_are()
            case _:
                raise ValueError(f"not an order: {order!r}")

    # --- forking ------------------------------------------------------------------------------

    def fork(self, order: Order, program: ChildProgram, word: bytes | None = None) -> None:
        """Fork a child that runs the whole protocol."""
        repeat_registrations(program.item)
        if self.fork_child(order, program, begun=False):
            channel = self.channel_in_child(order, program)
            self.machinery.leave_child(lambda: program.run(channel, word))

    def fork_child(self, order: Order, program: ChildProgram, *, begun: bool) -> bool:
        """Fork; whether this is the child. In the server all is told to the owner.

        :param begun: The item's protocol is under way.
        """
        self._programs.note_others(program.number)
        watchdogs = Watchdogs()
        watchdogs.disarm()
        self.prepared.call_hook("pytest_forked_before_fork", program.item)

        def relay(child: ChildProcess) -> None:
            assert child.ending is not None
            self._running.pop(order.number, None)
            self.service.ended(order, child.ending)

        try:
            forked = self.manager.fork(completion_handler=relay)
        except ForkError as error:
            self.service.refused(order, str(error))
            os.close(order.descriptors[0])
            return False
        if isinstance(forked, InChild):
            watchdogs.arm(program.item.config, begun=begun)
            return True
        forget_unraisable(self.session.config)  # which the child tells
        self._running[order.number] = program.position
        os.close(order.descriptors[0])
        self.service.forked(order, forked)
        return False

    def channel_in_child(self, order: Order, program: ChildProgram) -> Channel:
        """Let go of all that belongs to the server and to other tests; return the test's channel."""
        self.service.after_fork()
        self._turns.close()
        self._programs.close_others(program.number)
        return Channel.from_descriptor(high_duplicate(order.descriptors[0], close=True))

    def let_go(self) -> None:
        """Speak for no test any more, write into none of its files."""
        self.prepared.marker.page = None
        self.prepared.teller.mute()
        self.prepared.capture.point_at(self._programs.idle_files)

    # --- narrower servers ---------------------------------------------------------------------

    def narrower(self, node: Any, index: int) -> Narrower:
        """Return what stands for a narrower server, before its fork, for a test of its scope."""
        return Narrower(
            self._programs.in_a_row(node, index),
            self.manager,
            self.service,
            set(self._programs.files),
            left=self._narrower_left,
            died=self._narrower_died,
        )

    def become_narrower(
        self, node: Any, channel: Channel, item: pytest.Item, idle_files: ChildFiles
    ) -> None:
        """Become a server for ``node``, in its process; ``item`` is being set up."""
        self.service.after_fork()
        self._turns.close()
        self.node = node
        self.narrowers, self._running, self._leaving, self._left_below = [], {}, {}, {}
        self._programs.renew_idle_files(idle_files)
        self.prepared.inherited.disown(but=item)
        self._listen(channel)
        announce(self.session, channel)

    def _narrower_left(self, narrower: Narrower, index: int, frames: bytes, died: object) -> None:
        """Go on leaving, now that a narrower server has left its scopes."""
        if self._leaving[index].next_index in narrower.tests:
            del self._leaving[index]  # only scopes below its own have ended
            self.service.tell(("left", index, frames, died))
        else:
            narrower.dismiss()
            self.narrowers.remove(narrower)
            self._left_below[index] = frames, died

    def _narrower_died(self, narrower: Narrower, ending: Ending) -> None:
        """Serve its tests here again; if it died while it left its scopes, that is told."""
        if narrower in self.narrowers:
            self.narrowers.remove(narrower)
        for index in narrower.leaving:
            self._left_below[index] = b"", ending.as_message()

    # --- leaving scopes -----------------------------------------------------------------------

    def _leave(self, index: int) -> bool:
        """Tear down the scopes that ended with a test; tell the report, to be merged with its own.

        Once no test runs any more that may use them: False as long as one does.
        """
        leaving = self._leaving[index]
        program, nextitem = leaving.program, leaving.program.nextitem
        narrower = self._narrower_for(program)
        if narrower is not None and index not in self._left_below:  # else it began after the test
            if index not in narrower.leaving:
                order = index, leaving.next_index, program.number, leaving.failed, self._ends
                narrower.leave(index, order)
            return False
        if self._runs_before(index + 1):
            return False
        del self._leaving[index]
        if self._passed > index:  # others have begun meanwhile
            if nextitem is None:
                self._beginning.leave_after(index)
            else:
                nextitem = self.items[self._passed]  # what is set up here is its own
        self._passed = max(self._passed, index)
        told, died = self._left_below.pop(index, (b"", None))
        if anything_to_tear_down(self.session, nextitem):
            if died is None:  # otherwise the test's files hold what the dead one wrote
                program.point_here(serves=True)
                program.files.page.begin(turn=0)
                self.prepared.marker.begin(program.item, program.files)
            self.prepared.call_hook("pytest_forked_leaving_scopes", program.item)
            self.session.testsfailed = leaving.failed
            shown = program.files.page.live_log()
            told += leave_scopes(self.prepared, program.item, nextitem, shown)
            end_stray_fork(self.pid)
            self.let_go()
            leave_item(self.session, program.item)
        else:
            pop_scopes(self.session, nextitem)
        self.service.tell(("left", index, told, died))
        return True
