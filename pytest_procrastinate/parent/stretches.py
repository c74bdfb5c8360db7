"""pytest's loop over the items, in stretches: neighbours that run in children, or in this process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_procrastinate.options import Settings
from pytest_procrastinate.parent.loop import ForkedRun


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
                rest = items[end:]
                here = next(
                    (i for i, item in enumerate(rest) if not settings[item].forked), len(rest)
                )
                last = items[end - 1]
                stretch[-1] = last, _shallowest(last, rest[: here + 1])
                for item, nextitem in stretch:
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
                    _stop_if_asked(session)
            start = end


def _stop_if_asked(session: pytest.Session) -> None:
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


def _shallowest(item: pytest.Item, later: Sequence[pytest.Item]) -> pytest.Item | None:
    """Return the one of the later items that shares least with ``item``; None where there is none.

    Named as the next item, it has pytest tear down each scope that one of them is outside of:
    this process does not take part again before the last of them.
    """
    chain = item.listchain()

    def shared(other: pytest.Item) -> int:
        return sum(own is others for own, others in zip(chain, other.listchain(), strict=False))

    return min(later, key=shared, default=None)
