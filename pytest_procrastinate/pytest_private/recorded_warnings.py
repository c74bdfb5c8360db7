"""Warnings as pytest records them while a test runs."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from _pytest.warnings import catch_warnings_for_item


class Recorder:
    """Stands in for ``item.ihook`` where warnings are recorded: they go to ``record``."""

    def __init__(self, record: Callable[[dict[str, Any]], None]) -> None:
        self.pytest_warning_recorded = self
        self._record = record

    def call_historic(self, kwargs: dict[str, Any]) -> None:
        self._record(kwargs)


def is_told_once(item: pytest.Item, warning: warnings.WarningMessage) -> bool:
    """Whether a line that gives this warning again, in the same test, is not heard.

    So it is by Python's default action, not by ``always``: Python notes it with the module of the
    line. Where there is none, it was given in the name of another file.
    """
    files = ((name, getattr(module, "__file__", None)) for name, module in [*sys.modules.items()])
    module = next((name for name, file in files if file == warning.filename), None)
    heard: list[dict[str, Any]] = []
    recorder: Any = Recorder(heard.append)
    message: Any = warning.message  # the types of Python 3.10 ask for a text
    noted: dict[str | tuple[str, type[Warning], int], int] | None = {} if module else None
    with (
        contextlib.suppress(Warning),  # of a test that takes it for an error
        catch_warnings_for_item(item.config, recorder, when="runtest", item=item),
    ):
        for _ in range(2):
            warnings.warn_explicit(
                *(message, warning.category, warning.filename, warning.lineno),
                module=module or warning.filename,
                registry=noted,
            )
    return len(heard) == 1
