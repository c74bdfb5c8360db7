"""Every private name of pytest and pluggy that we use, in one room.

Each function says what is private in it. Checked on pytest 8.0.2, 8.4.2 and 9.2.0 and on pluggy
1.3 to 1.7; ``tests/test_pytest_private.py`` has a test for each.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from _pytest._code.code import (
    ReprEntryNative,
    ReprExceptionInfo,
    ReprFileLocation,
    ReprTraceback,
    TerminalRepr,
)
from _pytest.junitxml import xml_key
from _pytest.skipping import evaluate_condition, evaluate_xfail_marks
from pluggy import HookImpl

__all__ = ["ReprFileLocation", "TerminalRepr"]

# --- hooks ------------------------------------------------------------------------------------


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
    impl.argnames = argument_names
    caller._hookimpls[:] = [impl, *kept]


# --- set-up state and fixtures ----------------------------------------------------------------


class Inherited:
    """What a process was forked with and must not tear down: it belongs to its parent.

    Keeps references to all of it: a dropped suspended generator would run its ``finally`` here.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._kept: list[object] = []
        self._session = session

    def disown(self) -> None:
        """Forget the finalizers of all that is set up now; the values stay usable.

        ``session._setupstate.stack``: {node: (finalizers, exception)};
        ``FixtureDef._finalizers``.
        """
        for finalizers, _ in self._session._setupstate.stack.values():
            self._kept.append(list(finalizers))
            finalizers.clear()
        for definition in _fixture_definitions(self._session):
            if definition._finalizers:
                self._kept.append(list(definition._finalizers))
                definition._finalizers.clear()

    def leave_scopes_outside(self, item: pytest.Item) -> None:
        """Take nodes off the stack that ``item`` is not in: set-up asserts that there are none."""
        chain = item.listchain()
        stack = self._session._setupstate.stack
        while stack and list(stack) != chain[: len(stack)]:
            self._kept.append(stack.popitem())


def _fixture_definitions(session: pytest.Session) -> Iterator[Any]:
    """``FixtureManager._arg2fixturedefs``; by node as well from 9.2."""
    manager: Any = session._fixturemanager
    by_name = getattr(manager, "_arg2fixturedefs", None)
    if by_name is not None:
        for definitions in by_name.values():
            yield from definitions
    else:
        for by_node in manager._arg2node2fixturedefs.values():
            for definitions in by_node.values():
                yield from definitions


def tear_down_all(session: pytest.Session) -> None:
    """Tear down all that this process has set up (``SetupState.teardown_exact``)."""
    session._setupstate.teardown_exact(None)


def tear_down_all_after_each_test(session: pytest.Session) -> None:
    """Make each teardown a full one: in a child no test comes after this.

    Hooks still see the next item, as in a plain run.
    """
    state = session._setupstate
    whole = state.teardown_exact
    state.teardown_exact = lambda nextitem: whole(None)  # type: ignore[method-assign]


# --- capture and logging ----------------------------------------------------------------------


class _Mirror(io.BytesIO):
    """The buffer of ``--capture=sys`` that a parent can read when its process is dead."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def write(self, data: Any) -> int:
        os.write(self._descriptor, data)
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return super().truncate(size)


def capture_into(config: pytest.Config, out: int, err: int) -> None:
    """Have pytest's capture write into the files ``out`` and ``err`` from now on.

    ``CaptureManager._global_capturing.out.tmpfile``: at each phase pytest points descriptors 1
    and 2 at that file anew, so it is the file that is changed.
    """
    manager = config.pluginmanager.get_plugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    for capture, descriptor in (
        (getattr(capturing, "out", None), out),
        (getattr(capturing, "err", None), err),
    ):
        file = getattr(capture, "tmpfile", None)
        if file is None:
            continue
        if isinstance(getattr(file, "buffer", None), io.BytesIO):
            io.TextIOWrapper.__init__(
                file, _Mirror(descriptor), encoding="UTF-8", newline="", write_through=True
            )
        else:
            os.dup2(descriptor, file.fileno(), inheritable=False)


def before_capture_is_disabled(config: pytest.Config, call: Callable[[], None]) -> None:
    """Have a function called before a test writes past the capture, as ``capsys.disabled()`` does.

    ``CaptureManager.global_and_fixture_disabled``.
    """
    manager: Any = config.pluginmanager.get_plugin("capturemanager")
    if manager is None:
        return
    disabled = manager.global_and_fixture_disabled

    def call_first() -> Any:
        call()
        return disabled()

    manager.global_and_fixture_disabled = call_first


def log_into(config: pytest.Config, descriptor: int) -> None:
    """Have the log that goes into reports written into a file as well.

    ``LoggingPlugin.report_handler`` keeps it in memory; its ``reset`` begins a phase.
    """
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    handler = getattr(plugin, "report_handler", None)
    if handler is None:
        return
    emit, reset = handler.emit, handler.reset

    def emit_twice(record: Any) -> None:
        emit(record)
        with contextlib.suppress(OSError, ValueError):
            os.write(descriptor, (handler.format(record) + "\n").encode("utf-8", "replace"))

    def reset_twice() -> None:
        reset()
        if os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)

    handler.emit, handler.reset = emit_twice, reset_twice


def is_live(config: pytest.Config) -> bool:
    """Whether tests write to the terminal while they run (``-s``, live logs, ``--setup-show``)."""
    options = config.option
    logging_plugin = config.pluginmanager.get_plugin("logging-plugin")
    return (
        getattr(options, "capture", "no") in ("no", "tee-sys")
        or bool(getattr(options, "setupshow", False))
        or bool(logging_plugin is not None and logging_plugin._log_cli_enabled())
    )


class _TerminalText(io.TextIOBase):
    """Stands in for the terminal's file: what is written goes to ``tell``."""

    encoding = "utf-8"

    def __init__(self, tell: Callable[[str], None], file: Any) -> None:
        self._tell = tell
        self._file = file

    def write(self, text: str) -> int:
        self._tell(text)
        return len(text)

    def isatty(self) -> bool:
        return bool(self._file.isatty())

    def fileno(self) -> int:
        return int(self._file.fileno())


def divert_terminal(config: pytest.Config, tell: Callable[[str], None]) -> None:
    """Have what this process writes by pytest's terminal reporter go to ``tell``.

    ``TerminalReporter._tw._file``: only the pytest process knows where the cursor is.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw._file = _TerminalText(tell, reporter._tw._file)


def make_base_temp(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make the base of ``tmp_path`` once, where a test may ask for it.

    Each child would make its own, and remove those of others (``config._tmp_path_factory``).
    """
    factory = getattr(config, "_tmp_path_factory", None)
    askers = {"tmp_path_factory", "tmpdir_factory", "request"}
    if factory is not None and any(
        not askers.isdisjoint(getattr(item, "fixturenames", ())) for item in items
    ):
        factory.getbasetemp()


# --- reports ----------------------------------------------------------------------------------


class _Painter:
    """Notes what a longrepr does with a terminal writer."""

    hasmarkup = False
    fullwidth = 80

    def __init__(self) -> None:
        self.strokes: list[tuple[str, list[object], dict[str, object]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*args: object, **markup: object) -> None:
            self.strokes.append((name, list(args), markup))

        return note


def paint(longrepr: TerminalRepr) -> list[tuple[str, list[object], dict[str, object]]] | str:
    """Return what a longrepr writes, for :class:`Painted`; as text where that cannot be noted."""
    painter = _Painter()
    try:
        longrepr.toterminal(painter)  # type: ignore[arg-type]
    except Exception:
        return str(longrepr)
    return painter.strokes


class Painted(TerminalRepr):
    """A longrepr of which only what it writes is known (a doctest's, a missing fixture's)."""

    def __init__(self, strokes: list[tuple[str, list[object], dict[str, object]]]) -> None:
        self.strokes = strokes

    def toterminal(self, tw: Any) -> None:
        """Write what the original would have written."""
        for method, args, markup in self.strokes:
            if method in ("line", "sep", "write"):
                getattr(tw, method)(*args, **markup)


def is_paintable(longrepr: object) -> bool:
    """Whether pytest's own serializer would make mere text of it."""
    return hasattr(longrepr, "toterminal") and not (
        hasattr(longrepr, "reprtraceback") and hasattr(longrepr, "reprcrash")
    )


def crash_repr(path: str, line: int, message: str, text: list[str]) -> ReprExceptionInfo:
    """Return a longrepr as pytest's own are made: for the summary line, junitxml, xdist."""
    return ReprExceptionInfo(
        reprtraceback=ReprTraceback([ReprEntryNative([f"{row}\n" for row in text])], None, "native"),
        reprcrash=ReprFileLocation(path, line, message),
    )


def restore_subtest(config: pytest.Config, report: Any, sent: object) -> None:
    """Make a subtest's report what it was, and count it (``_pytest.subtests``, from 9.0).

    Its ``context`` reprs the arguments again as it is made, and the outcome of the whole test
    follows from a count in ``config.stash``.
    """
    context = getattr(report, "context", None)
    if context is None:
        return
    if isinstance(sent, dict) and isinstance(sent.get("kwargs"), dict):
        with contextlib.suppress(AttributeError, TypeError):
            object.__setattr__(context, "kwargs", sent["kwargs"])
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:
        return
    if report.failed:
        counts: Any = config.stash.get(failed_subtests_key, None)
        if counts is not None:
            counts[getattr(report, "id", report.nodeid)] += 1


def take_junit_notes(config: pytest.Config) -> dict[str, Any] | None:
    """Return what this process's test recorded for junitxml beside its reports, and forget it.

    ``record_xml_attribute`` and ``record_testsuite_property`` write into ``config.stash[xml_key]``.
    """
    xml: Any = config.stash.get(xml_key, None)
    if xml is None or not (xml.node_reporters or xml.global_properties):
        return None
    attributes = [
        (str(getattr(key[0], "nodeid", key[0])), {str(k): str(v) for k, v in reporter.attrs.items()})
        for key, reporter in xml.node_reporters.items()
    ]
    properties = [(str(name), str(value)) for name, value in xml.global_properties]
    xml.node_reporters.clear()
    xml.node_reporters_ordered.clear()
    xml.global_properties.clear()
    return {"attributes": attributes, "properties": properties}


def add_junit_notes(config: pytest.Config, notes: Any) -> None:
    """Record in this process what :func:`take_junit_notes` returned in another."""
    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return
    for nodeid, attributes in notes["attributes"]:
        xml.node_reporter(nodeid).attrs.update(attributes)
    for pair in notes["properties"]:
        if pair not in xml.global_properties:  # a session's fixture that each child sets up
            xml.global_properties.append(pair)


# --- marks ------------------------------------------------------------------------------------


def condition_holds(item: pytest.Item, mark: pytest.Mark, condition: object) -> bool:
    """Evaluate a mark's condition as ``skipif`` does: a string is evaluated, others are bools.

    :raises pytest.UsageError: It cannot be evaluated.
    """
    if not isinstance(condition, str):
        try:
            return bool(condition)
        except Exception as error:
            raise pytest.UsageError(f"{item.nodeid}: the condition of {mark.name}() fails: {error!r}") from error
    try:
        return evaluate_condition(item, mark, condition)[0]
    except pytest.fail.Exception as error:
        raise pytest.UsageError(f"{item.nodeid}: {error.msg}") from error


def expected_to_fail(item: pytest.Item, error: BaseException) -> str | None:
    """Return the reason of an xfail mark that ``error`` satisfies, None where there is none."""
    if item.config.option.runxfail:
        return None
    xfailed = evaluate_xfail_marks(item)
    if xfailed is None:
        return None
    raises: Any = xfailed.raises
    if raises is not None:
        matches = raises.matches(error) if hasattr(raises, "matches") else isinstance(error, raises)
        if not matches:
            return None
    return xfailed.reason


@contextlib.contextmanager
def write_to_terminal(config: pytest.Config) -> Iterator[Any]:
    """Give the terminal's writer, None where there is no terminal reporter."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    yield None if reporter is None else reporter._tw
