"""Let plugins know that this process is a fork server now."""

from __future__ import annotations

import contextlib

import pytest

from pytest_procrastinate.process.child import Channel


def announce(session: pytest.Session, channel: Channel) -> None:
    """Call the hook for a new fork server, with a way to tell the pytest process something.

    :param channel: What leads there, through the servers above.
    """

    def tell(name: str, payload: object) -> None:
        with contextlib.suppress(OSError):  # the pytest process has gone
            channel(("told", name, payload))

    session.config.hook.pytest_forked_server_started(session=session, tell=tell)
