"""Tell pytest what a child told: messages back into calls of pytest's own hooks."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_procrastinate.messages import TELLING
from pytest_procrastinate.pytest_private import add_junit_notes, write_to_terminal


class ChildInternalError(Exception):
    """An exception left the item's protocol in its child: pytest's ``INTERNALERROR``."""


def replay(item: pytest.Item, name: str, payload: Any) -> None:
    """Tell one message.

    :raises pytest.exit.Exception: The test or a hook called :func:`pytest.exit`.
    :raises KeyboardInterrupt: It was raised in the child.
    :raises ChildInternalError: The protocol failed in the child.
    """
    telling = TELLING.get(name)
    if telling is not None:
        arguments = telling.decode(item.config, payload)
        hook = getattr(item.ihook, name)
        if telling.historic:
            hook.call_historic(kwargs=arguments)
        else:
            hook(**arguments)
    elif name == "terminal":
        with write_to_terminal(item.config) as writer:
            if writer is not None:
                writer.write(payload, flush=True)
    elif name == "junit":
        add_junit_notes(item.config, payload)
    elif name == "stop":
        stop, fail = payload
        item.session.shouldstop = item.session.shouldstop or stop
        item.session.shouldfail = item.session.shouldfail or fail
    elif name == "raised":
        _raise(*payload)


def _raise(kind: str, path: str, line: int, *details: Any) -> None:
    if kind == "exit":
        message, status = details
        raise pytest.exit.Exception(message, status)
    if kind == "interrupt":
        # The summary names the place of the exception: it must be where the child raised it.
        exec(compile("\n" * (line - 1) + "raise KeyboardInterrupt", path, "exec"))
    summary, text = details
    raise ChildInternalError(f"{summary}\nin the child, at {path}:{line}\n{text}")
