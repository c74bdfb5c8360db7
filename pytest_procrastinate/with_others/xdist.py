"""Inside a worker of pytest-xdist: its loop is its own, so each item comes in by the protocol hook.

Protocol wrappers are therefore entered twice: around our hook in the worker, and in the child.
What the summary says of a worker, the controller tells.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from pytest_procrastinate.options import FORKS, FRESH_FIXTURES, WORKER_SUMMARY, Settings
from pytest_procrastinate.parent.leftovers import LEFT, Account
from pytest_procrastinate.parent.loop import ForkedRun


class WorkerLoop:
    """Runs forked items of one worker in children; a plugin."""

    def __init__(self, settings: dict[pytest.Item, Settings]) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._run: ForkedRun | None = None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Have a fork server ready before the first protocol, whose wrappers change the process."""
        with ForkedRun(session, self._settings) as self._run:
            self._run.warm_up()
            return (yield)

    @pytest.hookimpl
    def pytest_forked_server_started(self, session: pytest.Session) -> None:
        """Let go of execnet's descriptors: held by a child, they keep the controller waiting."""
        for plugin in session.config.pluginmanager.get_plugins():
            gateway = getattr(getattr(plugin, "channel", None), "gateway", None)
            io = getattr(gateway, "_io", None)  # execnet's Popen2IO
            for file in (getattr(io, "infile", None), getattr(io, "outfile", None)):
                if file is not None:
                    # Not closed: the file object would close whatever gets that number next.
                    null = os.open(os.devnull, os.O_RDWR)
                    os.dup2(null, file.fileno(), inheritable=False)
                    os.close(null)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run a forked item; in its child, leave it to pytest."""
        if os.getpid() != self._pid or self._run is None or not self._settings[item].forked:
            return None
        self._run.run([(item, nextitem)])
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what there is to say in the summary, which a worker has none of."""
        if os.getpid() == self._pid:
            stash = session.config.stash
            summary = stash.get(LEFT, Account()).as_message(), stash.get(FRESH_FIXTURES, {})
            session.config.workeroutput[WORKER_SUMMARY] = summary  # type: ignore[attr-defined]  # of xdist


def take_summary(config: pytest.Config, summary: tuple[Any, dict[str, str]]) -> None:
    """Note, in the controller, what there is to say of a worker that has ended."""
    account, fresh = summary
    config.stash[FORKS] = True
    config.stash.setdefault(LEFT, Account()).add(account)
    config.stash.setdefault(FRESH_FIXTURES, {}).update(fresh)
