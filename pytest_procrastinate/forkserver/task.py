"""The task of a fork server: made in the pytest process, makes ready what all children need, serves."""

from __future__ import annotations

import pytest

from pytest_procrastinate.child.capture import OwnCapture
from pytest_procrastinate.child.foreground import Foreground
from pytest_procrastinate.child.run import Prepared
from pytest_procrastinate.child.streams import c_flusher
from pytest_procrastinate.child.supervised import TimedPhases
from pytest_procrastinate.child.telling import Teller
from pytest_procrastinate.forkserver.announcing import announce
from pytest_procrastinate.forkserver.server import Server
from pytest_procrastinate.forkserver.sharing import Sharing
from pytest_procrastinate.process.child import Channel
from pytest_procrastinate.process.cleanup import SignalState, high_duplicate
from pytest_procrastinate.process.remote import RemoteForker
from pytest_procrastinate.process.task import Endpoint
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import Inherited


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
        Server(prepared, self._items, Sharing(self._session), endpoint, self._parent_pid).serve()
