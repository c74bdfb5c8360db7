"""Beside syrupy: a child writes the snapshots that its tests update; nobody looks for unused ones.

Which snapshots a test has used is known in its child only. In the pytest process syrupy would take
all of them for unused: it would fail the run, and with ``--snapshot-update`` delete them. Names used
of it (from 4.5): ``config._syrupy``, ``SnapshotSession.flush_snapshot_write_queue``; from 7 the option
``--snapshot-disable-unused``.
"""

from __future__ import annotations

import fcntl
import tempfile
from typing import Any

import pytest

from pytest_procrastinate.options import SETTINGS


class Snapshots:
    """Does so where tests are forked; a plugin."""

    def __init__(self) -> None:
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115  # closed as the run ends

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Have it look for no unused snapshots."""
        settings: Any = session.config.stash.get(SETTINGS, None)
        if settings is not None and any(settings[item].forked for item in session.items):
            session.config.option.disable_unused_snapshots = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, config: pytest.Config) -> None:
        """Have it say so only where tests have snapshots."""
        session: Any = config.pluginmanager.get_plugin("session")
        names = (getattr(item, "fixturenames", ()) for item in getattr(session, "items", ()))
        if not any("snapshot" in each for each in names):
            config.option.disable_unused_snapshots = False

    @pytest.hookimpl
    def pytest_forked_child_ending(self, item: pytest.Item) -> None:
        """Write what this child's tests have updated: no other child may, to the same file."""
        session: Any = item.config._syrupy  # type: ignore[attr-defined]
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        session.flush_snapshot_write_queue()
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """Let go of the lock."""
        self._lock.close()
