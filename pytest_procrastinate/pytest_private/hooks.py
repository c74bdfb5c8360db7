"""pytest's hooks in this process, and the frames of ours among its own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any

import _pytest
import pluggy
import pytest
from _pytest import runner
from pluggy import HookImpl

OUTCOMES = (Exception, pytest.skip.Exception, pytest.fail.Exception)
"""What a test, a fixture or a condition may raise; pytest's own outcomes are no :class:`Exception`."""

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_PLUGGY = os.path.dirname(pluggy.__file__) + os.sep
_PYTEST = os.path.dirname(_pytest.__file__) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep


def cut_own_frames(error: BaseException) -> None:
    """Take our frames out of the tracebacks of an exception and of all that it came from.

    So that each ``--tb`` shows what a plain run shows: pytest leaves out its own frames by where
    their files are, and tells so where ``__tracebackhide__`` has left it none to show.
    """
    found: dict[int, BaseException] = {}
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in found:
            found[id(each)] = each
            each.__traceback__ = _without_ours(each.__traceback__)
            todo += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    before: TracebackType | None = None
    while traceback is not None:
        if not _lies_in(traceback, _OURS):
            entries.append(traceback)
        # pluggy's frame has an entry of its own for each wrapper that it throws the exception into
        elif before is not None and _lies_in(before, _PLUGGY) and _is_wrapper(traceback):
            entries.pop()
        before, traceback = traceback, traceback.tb_next
    for entry, following in zip(entries, [*entries[1:], None], strict=False):
        entry.tb_next = following
    return entries[0] if entries else None


def _lies_in(entry: TracebackType, folder: str) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(folder)


def _is_wrapper(entry: TracebackType) -> bool:
    return bool(entry.tb_frame.f_code.co_flags & inspect.CO_GENERATOR)


def is_pytests_own_failure(error: BaseException, item: pytest.Item) -> bool:
    """Whether an exception that left an item's protocol is nobody's but pytest's own.

    No hook of a plugin or conftest raised it, or called what did: then the test has broken pytest in
    its process. What wraps a hook and lets the exception pass does not count, nor who runs pytest's own
    protocol (``_pytest.runner``), nor the test's own file: what it defines may stand in for pytest now.
    """
    entries: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    return not any(
        _is_at_work(each, following, os.fspath(item.path))
        for each, following in zip(entries, [*entries[1:], None], strict=True)
    )


def _is_at_work(entry: TracebackType, following: TracebackType | None, test_file: str) -> bool:
    """Whether code of a plugin or conftest is at work in a frame, and does not only let others."""
    file = entry.tb_frame.f_code.co_filename
    if file.startswith((_PYTEST, _PLUGGY, _OURS, "<")) or file == test_file:
        return False
    if file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file:
        return False
    if following is None:
        return True
    if _is_wrapper(entry) and _lies_in(following, _PLUGGY):
        # what it calls itself begins with a method of HookCaller
        return following.tb_frame.f_code.co_name in ("__call__", "call_extra", "call_historic")
    return following.tb_frame.f_code.co_filename != runner.__file__


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


def hook_machinery(config: pytest.Config) -> list[object]:
    """Return what pluggy keeps of a run's hooks: callers, what is specified, what implements it.

    ``HookRelay`` has the callers as its attributes.
    """
    found: list[object] = []
    for caller in vars(config.pluginmanager.hook).values():
        found += (caller, caller._hookimpls)
        if caller.spec is not None:  # somebody implements what nobody specifies
            found += (caller.spec, caller.spec.argnames, caller.spec.opts)
        for impl in caller._hookimpls:
            found += (impl, impl.argnames, impl.function)
    return found


def has_other_listeners(config: pytest.Config, names: Collection[str]) -> bool:
    """Whether anybody but pytest, and xdist in a worker, implements one of these hooks."""
    return any(
        not _is_pytests_own(impl.plugin) and type(impl.plugin).__module__ != "xdist.remote"
        for name in names
        for impl in getattr(config.hook, name).get_hookimpls()
    )


def _is_pytests_own(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return str(module).startswith("_pytest.")
