"""pytest's loop over the items, in stretches: neighbours that run in children, or in this process."""

from __future__ import annotations

import pytest

from pytest_procrastinate.options import Settings
from pytest_procrastinate.parent.loop import ForkedRun
from pytest_procrastinate.pytest_private import tear_down_all


def run_items(session: pytest.Session, settings: dict[pytest.Item, Settings]) -> None:
    """Run the session's items as pytest's own loop does, the forked ones in children.

    :raises pytest.Session.Interrupted: Collection failed, or something asked for the end.
    :raises pytest.Session.Failed: ``-x``, ``--maxfail``.
    """
    items = session.items
    forked = [settings[item].forked for item in items]
    with ForkedRun(session, settings) as run:
        start = 0
        while start < len(items):
            end = start + 1
            while end < len(items) and forked[end] == forked[start]:
                end += 1
            following = items[end] if end < len(items) else None
            stretch = list(zip(items[start:end], [*items[start + 1 : end], following], strict=True))
            if forked[start]:
                run.run(stretch)
                run.end_stretch()
                _stop_if_asked(session)
            else:
                # Nothing is left to tear down, but pytest wants to find no other scopes.
                tear_down_all(session, items[start])
                for item, nextitem in stretch:
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
                    _stop_if_asked(session)
            start = end


def _stop_if_asked(session: pytest.Session) -> None:
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
