"""pytest's hooks in this process, and the frames of ours among its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import _pytest
import pytest
from pluggy import HookImpl

OUTCOMES = (Exception, pytest.skip.Exception, pytest.fail.Exception)
"""What a test, a fixture or a condition may raise; pytest's own outcomes are no :class:`Exception`."""

F = TypeVar("F", bound=Callable[..., Any])


def among_pytests_own(function: F) -> F:
    """Have a function's frames left out of tracebacks as pytest's own are: by where they are.

    ``Function._traceback_filter`` goes by the file. Hiding them by ``__tracebackhide__`` is not the
    same: pytest says so where a traceback has no frame that it may show. Where there are only
    pytest's own it shows them all: a function needs both then.
    """
    plain: Any = function
    name = os.path.join(os.path.dirname(_pytest.__file__), "pytest_procrastinate")
    plain.__code__ = plain.__code__.replace(co_filename=name)
    return function


def divert_hook(
    config: pytest.Config,
    name: str,
    receive: Callable[[dict[str, Any]], None],
    keep: Collection[str],
) -> None:
    """Have a hook of this process call ``receive(arguments)``, and nobody else but ``keep``.

    ``HookCaller._hookimpls`` is pluggy's: unregistering the other plugins would take them away
    from those who ask the plugin manager for them. Callers for a part of the plugins (``ihook``)
    read the same list.

    :param keep: Names of plugins whose implementation still runs.
    """
    caller = getattr(config.hook, name)
    argument_names = tuple(caller.spec.argnames)

    def diverted(*arguments: object) -> None:
        receive(dict(zip(argument_names, arguments, strict=True)))

    kept = [impl for impl in caller._hookimpls if impl.plugin_name in keep]
    options = dict.fromkeys(
        ("hookwrapper", "wrapper", "optionalhook", "tryfirst", "trylast"), False
    )
    impl = HookImpl(None, "forked-telling", diverted, {**options, "specname": None})  # type: ignore[typeddict-item]
    object.__setattr__(impl, "argnames", argument_names)
    caller._hookimpls[:] = [impl, *kept]


def _is_pytests_own(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return str(module).startswith("_pytest.")
