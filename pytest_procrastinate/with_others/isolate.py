"""Beside pytest-isolate, which knows ``--forked`` and its mark as well: a test is isolated once, here."""

from __future__ import annotations

import pytest


@pytest.hookimpl
def pytest_forked_server_started(session: pytest.Session) -> None:
    """Have it leave the tests of this fork server alone, as its own option ``--no-isolate`` does."""
    session.config.option.noisolate = True
