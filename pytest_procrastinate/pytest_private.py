"""Every private name of pytest and pluggy that we use, in one room.

Each function says what is private in it. Checked on pytest 8.0.2, 8.4.2 and 9.2.0 and on pluggy
1.3 to 1.7; ``tests/test_pytest_private.py`` has a test for each.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import _pytest
import pytest
from _pytest._code.code import (
    ReprEntryNative,
    ReprExceptionInfo,
    ReprFileLocation,
    ReprTraceback,
    TerminalRepr,
)
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.junitxml import xml_key
from _pytest.logging import caplog_records_key
from _pytest.skipping import evaluate_condition, evaluate_skip_marks, evaluate_xfail_marks, xfailed_key
from _pytest.warnings import catch_warnings_for_item
from pluggy import HookImpl

__all__ = ["ReprFileLocation", "TerminalRepr"]

F = TypeVar("F", bound=Callable[..., Any])


def among_pytests_own(function: F) -> F:
    """Have a function's frames left out of tracebacks as pytest's own are: by where they are.

    ``Function._traceback_filter`` goes by the file. Hiding them by ``__tracebackhide__`` is not the
    same: pytest says so where a traceback has no frame that it may show.
    """
    plain: Any = function
    name = os.path.join(os.path.dirname(_pytest.__file__), "pytest_procrastinate")
    plain.__code__ = plain.__code__.replace(co_filename=name)
    return function


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
        self._owned_above: set[Any] = set()
        self.goes_on = False
        """Whether this child runs the next item as well: then its teardown leaves what that needs."""
        self.ends_run = False
        """Whether the run ends with this test: its scopes are left without a report."""
        self.definitions = [d for d in _fixture_definitions(session) if d.cached_result is not None]
        """The fixtures that are set up, or have been."""

    def disown(self, but: pytest.Item | None = None) -> None:
        """Forget the finalizers of all that is set up now; the values stay usable.

        :param but: An item whose own finalizers stay.

        ``session._setupstate.stack``: {node: (finalizers, exception)};
        ``FixtureDef._finalizers``. ``finish`` is shadowed: 8.0 calls it in each process that uses
        the fixture.
        """
        state = self._session._setupstate
        for node, (finalizers, _) in state.stack.items():
            if node is not but:
                if _has_teardown(state, node):
                    self._owned_above.add(node)
                self._kept.append(list(finalizers))
                finalizers.clear()
        for definition in self.definitions:
            if definition.cached_result is not None:
                self._kept.append((list(definition._finalizers), definition.cached_result))
                definition._finalizers.clear()
                definition.finish = functools.partial(_forget, definition)
        self.definitions = []

    def become_child(
        self,
        item: pytest.Item,
        leaving: Callable[..., None],
        *,
        stays: bool,
        fresh: bool = False,
    ) -> None:
        """Make what is set up now inherited, in a child that runs ``item`` and nothing after it.

        Each teardown is a full one from now on; hooks still see the next item.

        :param leaving: Called as the test's teardown begins when a scope that was inherited, with
            something to tear down, ends with this test: its owner has to do it.
        :param stays: Whether scopes may outlive this test.
        :param fresh: Whether what was set up is to be set up anew.
        """
        state = self._session._setupstate
        chain = item.listchain()
        while state.stack and list(state.stack) != chain[: len(state.stack)]:
            self._kept.append(state.stack.popitem())
        self.disown(but=item)
        owned = self._owned_above.intersection(state.stack)
        if fresh:
            self._forget_all()
        whole = state.teardown_exact

        @among_pytests_own
        def teardown_all(nextitem: pytest.Item | None) -> None:
            if self.goes_on and nextitem is not None:
                whole(nextitem)
                return
            after = nextitem.listchain() if nextitem is not None and stays else []
            if not self.ends_run and any(node not in after for node in owned):
                leaving(all_scopes=not after)
            whole(None)

        state.teardown_exact = teardown_all  # type: ignore[method-assign]


    def end_above(self, nextitem: pytest.Item | None) -> bool:
        """Whether scopes end, before ``nextitem``, that a server above this one has to tear down."""
        after = nextitem.listchain() if nextitem is not None else []
        return any(node not in after for node in self._owned_above)

    def _forget_all(self) -> None:
        self._kept.append(dict(self._session._setupstate.stack))
        self._session._setupstate.stack.clear()
        for definition in _fixture_definitions(self._session):
            if definition.cached_result is not None:
                self._kept.append(definition.cached_result)
                _forget(definition, None)


def _forget(definition: Any, request: Any) -> None:
    """Finish an inherited fixture: what this process has added to it, not what it was made with."""
    while definition._finalizers:
        definition._finalizers.pop()()
    definition.cached_result = None
    definition.__dict__.pop("finish", None)


def _has_teardown(state: Any, node: Any) -> bool:
    """Whether something happens when the node is torn down."""
    finalizers, _ = state.stack[node]
    return any(getattr(f, "__func__", None) is not pytest.Item.teardown for f in finalizers)


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


def on_set_up(session: pytest.Session, call: Callable[[pytest.Item], None]) -> None:
    """Have a function called when an item is set up or has failed to be (``SetupState.setup``)."""
    state = session._setupstate
    set_up = state.setup

    @among_pytests_own
    def set_up_and_call(item: pytest.Item) -> None:
        try:
            set_up(item)
        except BaseException:
            call(item)
            raise
        call(item)

    state.setup = set_up_and_call  # type: ignore[method-assign]


def leave_item(session: pytest.Session, item: pytest.Item) -> None:
    """Forget, in a fork server, what it began to set up for an item that a child took over.

    The item's own entry of the stack, its request, which 8.0 forgets only at the end of a whole
    protocol, and what it registered with broader fixtures.
    """
    if hasattr(item, "_request"):
        item._request = False
        item.funcargs = None  # type: ignore[attr-defined]
    session._setupstate.stack.pop(item, None)
    item._report_sections.clear()  # type: ignore[attr-defined]
    for _, definition, _ in fixtures_of(item):
        if definition.cached_result is None:
            definition._finalizers.clear()
        else:
            definition._finalizers[:] = [f for f in definition._finalizers if not _is_void(f)]
    for finalizers, _ in session._setupstate.stack.values():
        finalizers[:] = [f for f in finalizers if not _is_void(f)]


def _is_void(finalizer: object) -> bool:
    """Whether a finalizer finishes a fixture that is not set up here, but in the child."""
    owner = _owner(finalizer)
    return getattr(owner, "scope", None) is not None and owner.cached_result is None  # type: ignore[attr-defined]


def fixtures_of(item: pytest.Item) -> Iterator[tuple[str, Any, Any]]:
    """Give name, definition and parameter of each fixture an item asks for, broad ones first.

    ``item._fixtureinfo``: what is asked for while the test runs is not in it. The parameter is
    :data:`NO_PARAMETER` where there is none.
    """
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    for name in getattr(item, "fixturenames", ()):
        definitions = info.name2fixturedefs.get(name)
        if definitions:
            yield name, definitions[-1], parameters.get(name, NO_PARAMETER)


def asked_for(item: pytest.Item, definition: Any) -> Iterator[Any]:
    """Give the fixtures that a fixture asks for by its arguments; an overridden one of its own name."""
    named = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for name in definition.argnames:
        definitions = named.get(name, ())
        if name == definition.argname:
            definitions = definitions[: list(definitions).index(definition)]
        if definitions:
            yield definitions[-1]


def set_up_now(item: pytest.Item, name: str) -> None:
    """Set up a fixture of an item ahead of its turn; a failure is met again at its turn."""
    try:
        item._request.getfixturevalue(name)  # type: ignore[attr-defined]
    except pytest.exit.Exception:
        raise
    except Exception:
        pass


def scope_of(item: pytest.Item, definition: Any) -> str:
    """Return the scope of a fixture for an item: ``parametrize(scope=...)`` may say another one.

    ``callspec._arg2scope``. That of a class, for a test outside of one, is the test.
    """
    scopes = getattr(getattr(item, "callspec", None), "_arg2scope", {})
    scope = scopes.get(definition.argname)
    name = str(definition.scope if scope is None else scope.value)
    return "function" if name == "class" and item.getparent(pytest.Class) is None else name


def repeat_registrations(item: pytest.Item) -> None:
    """Note, in a fork server, that a child uses what is set up here.

    8.0 tears down the fixtures of a scope in order of their last use: each use registers
    ``FixtureDef.finish`` with the scope's node again (``FixtureRequest._schedule_finalizers``).
    """
    if not hasattr(pytest.FixtureRequest, "_schedule_finalizers"):
        return
    stack = item.session._setupstate.stack
    for _, definition, _ in fixtures_of(item):
        for finalizers, _ in stack.values():
            own = next((f for f in finalizers if _owner(f) is definition), None)
            if own is not None:
                finalizers.append(own)


def _owner(finalizer: object) -> object:
    return getattr(getattr(finalizer, "func", None), "__self__", None)


def needs_fixture(item: pytest.Item, name: str, nodeid: str, index: str) -> bool:
    """Whether an item asks for the fixture of this name, node and parameter."""
    return any(
        each == name and str(parameter_index(item, definition)) == index
        for each, definition, _ in fixtures_of(item)
    ) and any(node.nodeid == nodeid for node in item.listchain())


NO_PARAMETER = object()


def is_set_up(definition: Any, parameter: object) -> bool:
    """Whether a fixture is set up, with this parameter.

    ``FixtureDef.cached_result`` and ``cache_key``; 8.0 compares by ``is``, later ones by ``==``.
    """
    result = definition.cached_result
    if result is None:
        return False
    key = definition.cache_key(_Asked(parameter))
    if result[1] is key:
        return True
    try:
        return bool(result[1] == key)
    except (ValueError, RuntimeError):
        return False


class _Asked:
    """As much of a request as ``FixtureDef.cache_key`` looks at."""

    param_index = 0

    def __init__(self, parameter: object) -> None:
        if parameter is not NO_PARAMETER:
            self.param = parameter


def stack_of(session: pytest.Session) -> list[Any]:
    """Return the nodes that are set up, the broadest first."""
    return list(session._setupstate.stack)


def needs_set_up(collector: Any) -> bool:
    """Whether a collector does something when it is set up (a package's ``setup_module``)."""
    return type(collector).setup is not pytest.Item.setup


def anything_to_tear_down(
    session: pytest.Session, nextitem: pytest.Item | None, but: Any = None
) -> bool:
    """Whether a teardown up to ``nextitem`` would do anything, for other nodes than ``but``."""
    state = session._setupstate
    chain = nextitem.listchain() if nextitem is not None else []
    return any(
        node not in chain and node is not but and _has_teardown(state, node)
        for node in state.stack
        if not isinstance(node, pytest.Item)
    )


def pop_scopes(session: pytest.Session, nextitem: pytest.Item | None) -> None:
    """Take the nodes that ``nextitem`` is not in off the stack; they have nothing to tear down."""
    chain = nextitem.listchain() if nextitem is not None else []
    stack = session._setupstate.stack
    while stack and list(stack) != chain[: len(stack)]:
        stack.popitem()


def parameter_index(item: pytest.Item, definition: Any) -> int:
    """Return which of its parameters a fixture is set up with for an item, 0 for none."""
    indices = getattr(getattr(item, "callspec", None), "indices", {})
    return int(indices.get(definition.argname, 0))


def tear_down_scopes(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport:
    """Tear down the scopes that end with ``item``, as the end of its teardown; return the report.

    Only pytest's own implementations run: others have seen the test's teardown in its child.
    """
    config = item.config
    manager = config.pluginmanager
    others = [plugin for plugin in manager.get_plugins() if not _is_pytests_own(plugin)]
    tear_down = manager.subset_hook_caller("pytest_runtest_teardown", others)
    make_report = manager.subset_hook_caller("pytest_runtest_makereport", others)
    item._report_sections.clear()  # type: ignore[attr-defined]
    item.stash[caplog_records_key] = {}
    with contextlib.suppress(Exception):  # then its own protocol has told so
        item.stash[xfailed_key] = evaluate_xfail_marks(item)
    with catch_warnings_for_item(config, item.ihook, when="runtest", item=item):
        call = pytest.CallInfo.from_call(
            lambda: tear_down(item=item, nextitem=nextitem),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
    report: pytest.TestReport = make_report(item=item, call=call)
    return report


def _is_pytests_own(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return str(module).startswith("_pytest.")


def unit_node(item: pytest.Item, scope: str) -> Any:
    """Return the node whose tests share a child with ``item``: the item itself where there is none."""
    if scope == "session":
        return item.session
    kinds: dict[str, tuple[type, ...]] = {
        "class": (pytest.Class,),
        "module": (pytest.File,),
        "package": (pytest.Package, pytest.Directory),
    }
    # The outermost class, the innermost folder: as fixtures of that scope have it.
    chain = item.listchain() if scope == "class" else reversed(item.listchain())
    return next((node for node in chain if isinstance(node, kinds.get(scope, ()))), item)


def tear_down_all(session: pytest.Session) -> None:
    """Tear down all that this process has set up (``SetupState.teardown_exact``)."""
    session._setupstate.teardown_exact(None)


# --- capture and logging ----------------------------------------------------------------------


class _Mirror(io.BytesIO):
    """The buffer of ``--capture=sys`` that a parent can read when its process is dead."""

    descriptor = -1

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            os.write(self.descriptor, data)
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)
        return super().truncate(size)


class CaptureFiles:
    """Has pytest's capture write into files of ours.

    ``CaptureManager._global_capturing.out.tmpfile``: at each phase pytest points descriptors 1
    and 2 at that file anew, so it is the file that is changed.
    """

    def __init__(self, config: pytest.Config) -> None:
        manager = config.pluginmanager.get_plugin("capturemanager")
        capturing = getattr(manager, "_global_capturing", None)
        captures = [getattr(capturing, name, None) for name in ("out", "err")]
        self._captures = [c for c in captures if getattr(c, "tmpfile", None) is not None]
        for capture in self._captures:
            if isinstance(getattr(capture.tmpfile, "buffer", None), io.BytesIO):
                io.TextIOWrapper.__init__(
                    capture.tmpfile, _Mirror(), encoding="UTF-8", newline="", write_through=True
                )

    def point_at(self, out: int, err: int) -> None:
        """Write into these from now on."""
        for capture, descriptor in zip(self._captures, (out, err), strict=False):
            if isinstance(capture.tmpfile.buffer, _Mirror):
                capture.tmpfile.buffer.descriptor = descriptor
                continue
            os.dup2(descriptor, capture.tmpfile.fileno(), inheritable=False)
            if capture._state == "started":
                os.dup2(descriptor, capture.targetfd)


class LogFile:
    """Has the log that goes into reports written into a file as well.

    ``LoggingPlugin.report_handler`` keeps it in memory; its ``reset`` begins a phase.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.descriptor = -1
        plugin = config.pluginmanager.get_plugin("logging-plugin")
        self._handler = handler = getattr(plugin, "report_handler", None)
        if handler is not None:
            self._emit, self._reset = handler.emit, handler.reset
            handler.emit, handler.reset = self.emit, self.reset

    def emit(self, record: Any) -> None:
        """Take one record."""
        self._emit(record)
        with contextlib.suppress(OSError, ValueError):
            os.write(self.descriptor, (self._handler.format(record) + "\n").encode("utf-8", "replace"))

    def reset(self) -> None:
        """Start over."""
        self._reset()
        with contextlib.suppress(OSError):
            if os.fstat(self.descriptor).st_size:
                os.ftruncate(self.descriptor, 0)
                os.lseek(self.descriptor, 0, os.SEEK_SET)


def arm_faulthandler_timeout(config: pytest.Config) -> None:
    """Arm the watchdog of the ini ``faulthandler_timeout``, as pytest does around a protocol."""
    timeout = float(config.getini("faulthandler_timeout") or 0.0)
    file = config.stash.get(fault_handler_stderr_fd_key, None)
    if timeout > 0 and file is not None:
        names: Any = config._parser._inidict
        leaves = "faulthandler_exit_on_timeout"
        ends = bool(config.getini(leaves)) if leaves in names else False
        faulthandler.dump_traceback_later(timeout, file=file, exit=ends)


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


def restore_subtest(report: Any, sent: object) -> None:
    """Make a subtest's report what it was (``_pytest.subtests``, from 9.0).

    Its ``context`` reprs the arguments again as it is made.
    """
    context = getattr(report, "context", None)
    if context is not None and isinstance(sent, dict) and isinstance(sent.get("kwargs"), dict):
        with contextlib.suppress(AttributeError, TypeError):
            object.__setattr__(context, "kwargs", sent["kwargs"])


def failed_subtests(config: pytest.Config, report: Any) -> int:
    """Return how many failed subtests a test's report will be judged by."""
    counts = _failed_subtests(config)
    return 0 if not counts else int(counts.get(getattr(report, "id", report.nodeid), 0))


def note_failed_subtests(config: pytest.Config, report: Any, count: int) -> None:
    """Have a test's report judged by so many failed subtests, as it is told."""
    counts = _failed_subtests(config)
    if counts is not None:
        counts[getattr(report, "id", report.nodeid)] = count


def _failed_subtests(config: pytest.Config) -> Any:
    """``config.stash[failed_subtests_key]``, from 9.0; unittest's own subtests are not counted."""
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:
        return None
    return config.stash.get(failed_subtests_key, None)


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


def may_skip(item: pytest.Item) -> bool:
    """Whether marks may skip an item; a condition that is a string is known only at its turn."""
    return any(item.iter_markers("skip")) or any(
        isinstance(condition, str) or condition
        for mark in item.iter_markers("skipif")
        for condition in (mark.args or (mark.kwargs.get("condition", True),))
    )


def skips_now(item: pytest.Item) -> bool:
    """Whether marks skip an item, evaluated as pytest does in its set-up (``evaluate_skip_marks``)."""
    try:
        return evaluate_skip_marks(item) is not None
    except Exception:  # its own protocol tells that
        return False


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
