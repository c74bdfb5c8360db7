"""What nobody could catch: pytest keeps it, and tells it with the test that runs next."""

from __future__ import annotations

import sys

import pytest

_KEYS = (
    ("_pytest.unraisableexception", "unraisable_exceptions"),
    ("_pytest.threadexception", "thread_exceptions"),
)


def forget_unraisable(config: pytest.Config) -> None:
    """Forget the exceptions that are kept, from 8.4 on: a child that has just been forked tells them.

    Private: the stash keys ``unraisable_exceptions`` and ``thread_exceptions``.
    """
    for module, name in _KEYS:
        key = getattr(sys.modules.get(module), name, None)
        if key is not None and (kept := config.stash.get(key, None)):
            kept.clear()
