"""What every test needs to run, and its child need not copy."""

from __future__ import annotations

import sys

import pytest

from pytest_procrastinate.process.immortal import make_definitions_immortal, make_immortal
from pytest_procrastinate.pytest_private import hook_machinery

PAYS_FROM = 30  # children: to make much immortal takes some 50 ms, and saves some 2 ms with each
PACKAGES = ("_pytest", "pytest", "pluggy", "execnet", "pytest_procrastinate")


class Machinery:
    """The definitions of pytest and the standard library, and pluggy's calls, in a fork server."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pays_from = PAYS_FROM

    def share(self) -> None:
        """Have children share it, once many are ordered: also those that narrower servers will fork."""
        self._pays_from -= 1
        if self._pays_from == 0:
            make_definitions_immortal({*PACKAGES, *sys.stdlib_module_names})
            make_immortal(hook_machinery(self._config))
