"""What is set up in a process: disowned, split, left, torn down."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal

import pytest
from _pytest import assertion, runner
from _pytest.logging import caplog_records_key
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks, xfailed_key
from _pytest.warnings import catch_warnings_for_item

from pytest_procrastinate.pytest_private.fixtures import (
    _fixture_definitions,
    fixtures_of,
    has_failed,
    scope_of,
    with_all_asked_for,
)
from pytest_procrastinate.pytest_private.hooks import OUTCOMES, _is_pytests_own
from pytest_procrastinate.pytest_private.output import live_log_going_on

ENDS_WITH_LAST_USE = hasattr(pytest.FixtureRequest, "_schedule_finalizers")  # 8.0


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

        A fixture that is set up anew here makes those that asked for it be set up anew as well.

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
                definition._finalizers[:] = [
                    functools.partial(_finish, finalizer)
                    for finalizer in definition._finalizers
                    if isinstance(_owner(finalizer), pytest.FixtureDef)
                ]
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
                _forget(definition)


def _finish(finalizer: Any) -> None:
    """Finish a fixture that asked for an inherited one: it may be inherited too, or of this process."""
    definition: Any = _owner(finalizer)
    definition.finish(**finalizer.keywords)


def _forget(definition: Any, request: Any = None) -> None:
    """Finish an inherited fixture: what this process has added to it, not what it was made with."""
    errors: list[BaseException] = []
    while definition._finalizers:
        try:
            definition._finalizers.pop()()
        except BaseException as error:
            errors.append(error)
    # As pytest has it: also where that failed, it is over.
    definition.cached_result = None
    definition.__dict__.pop("finish", None)
    if errors:
        raise errors[0]


def _has_teardown(state: Any, node: Any) -> bool:
    """Whether something happens when the node is torn down."""
    finalizers, _ = state.stack[node]
    return any(getattr(f, "__func__", None) is not pytest.Item.teardown for f in finalizers)


def on_set_up(
    session: pytest.Session,
    begins: Callable[[pytest.Item], None],
    ended: Callable[[pytest.Item], None],
) -> None:
    """Have functions called as items are set up (``SetupState.setup``).

    :param begins: Called before the ``setup`` of an item's own class, where that is not pytest's:
        its collectors are set up by then.
    :param ended: Called when an item is set up or has failed to be.
    """
    state = session._setupstate
    set_up = state.setup

    def set_up_and_call(item: pytest.Item) -> None:
        overridden = not type(item).setup.__module__.startswith("_pytest.")
        if overridden:
            item.setup = functools.partial(begin, item)  # type: ignore[method-assign]
        try:
            set_up(item)
        except BaseException:
            ended(item)
            raise
        finally:
            if overridden:
                item.__dict__.pop("setup", None)
        ended(item)

    def begin(item: pytest.Item) -> None:
        del item.setup
        begins(item)
        item.setup()

    state.setup = set_up_and_call  # type: ignore[method-assign]


def tears_down_all_as_it_stops() -> bool:
    """Whether a run that stops tears all scopes down with its last test, not as the session finishes.

    So do 8.0.0, 8.0.1, and all since 8.1 (#11706): ``runtestprotocol`` looks at ``session.shouldfail``.
    """
    return "shouldfail" in runner.runtestprotocol.__code__.co_names


def leave_item(session: pytest.Session, item: pytest.Item) -> None:
    """Forget, in a fork server, what it began to set up for an item that a child took over.

    The item's own entry of the stack, its request, which 8.0 forgets only at the end of a whole
    protocol, and what it registered with broader fixtures.
    """
    if hasattr(item, "_request"):
        item._request = False
        item.funcargs = None  # type: ignore[attr-defined]
    session._setupstate.stack.pop(item, None)
    item._report_sections.clear()
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


def repeat_registrations(item: pytest.Item) -> None:
    """Note, in a fork server, that a child uses what is set up here.

    8.0 tears down the fixtures of a scope in order of their last use: each use registers
    ``FixtureDef.finish`` with the scope's node again (``FixtureRequest._schedule_finalizers``), and
    with what the fixture asked for, which may end before the scope (``FixtureDef.execute``). What an
    item that is begun here has asked for is registered already; after one that has failed to be set up
    it asks for no more.
    """
    if not ENDS_WITH_LAST_USE:
        return
    request: Any = getattr(item, "_request", None)
    asked = request._fixture_defs.values() if request else ()
    registered = {each for definition in asked for each in with_all_asked_for(item, definition)}
    stack = item.session._setupstate.stack
    # The last of a name is what is asked for; what it overrides comes where it asks for that.
    active = {name: definition for name, definition, _ in fixtures_of(item)}
    used = [with_all_asked_for(item, definition) for definition in active.values()]
    for definition in dict.fromkeys(itertools.chain(*used)):
        if definition not in registered:
            _register_again(item, stack, definition)
            if has_failed(definition):
                return


def _register_again(item: pytest.Item, stack: dict[Any, Any], definition: Any) -> None:
    for asked in with_all_asked_for(item, definition):
        asked._finalizers += [f for f in asked._finalizers if _owner(f) is definition][:1]
    for node, (finalizers, _) in stack.items():
        own = next((f for f in finalizers if _owner(f) is definition), None)
        if own is not None:
            # of a class's fixture the node is the item's own class, be it within that one
            user = item.getparent(pytest.Class) if isinstance(node, pytest.Class) else node
            stack.get(user, stack[node])[0].append(own)
            return


def ends_with_inner_class(item: pytest.Item, definition: Any) -> bool:
    """Whether a class's fixture that is set up would end with a class within, as an item there uses it.

    So it does with 8.0, see :func:`repeat_registrations`.
    """
    return (
        ENDS_WITH_LAST_USE
        and definition.cached_result is not None
        and scope_of(item, definition) == "class"
    )


def _owner(finalizer: object) -> object:
    return getattr(getattr(finalizer, "func", None), "__self__", None)


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


def anything_within(session: pytest.Session, node: Any) -> bool:
    """Whether the teardown of a node, and of those that are set up in it, would do anything."""
    state = session._setupstate
    nodes = [each for each in state.stack if not isinstance(each, pytest.Item)]
    return any(_has_teardown(state, each) for each in nodes[nodes.index(node) :])


def pop_scopes(session: pytest.Session, nextitem: pytest.Item | None) -> None:
    """Take the nodes that ``nextitem`` is not in off the stack; they have nothing to tear down."""
    chain = nextitem.listchain() if nextitem is not None else []
    stack = session._setupstate.stack
    while stack and list(stack) != chain[: len(stack)]:
        stack.popitem()


class _Recorder:
    """Stands in for ``item.ihook`` where warnings are recorded: they go to ``record``."""

    def __init__(self, record: Callable[[dict[str, Any]], None]) -> None:
        self.pytest_warning_recorded = self
        self._record = record

    def call_historic(self, kwargs: dict[str, Any]) -> None:
        self._record(kwargs)


def tear_down_scopes(
    item: pytest.Item,
    nextitem: pytest.Item | None,
    record_warning: Callable[[dict[str, Any]], None] | None = None,
    marker: object = None,
    live_log: int = 0,
) -> pytest.TestReport:
    """Tear down the scopes that end with ``item``, as the end of its teardown; return the report.

    Only pytest's own implementations run: others have seen the test's teardown in its child.

    :param record_warning: Called with the arguments of ``pytest_warning_recorded``, in place of it.
    :param marker: A plugin of ours whose implementation runs as well.
    :param live_log: What was shown of the test's own teardown (:func:`.live_log_shown`).
    """
    config = item.config
    manager = config.pluginmanager
    others = [
        plugin
        for plugin in manager.get_plugins()
        if plugin is not marker and not _is_pytests_own(plugin)
    ]
    tear_down = manager.subset_hook_caller("pytest_runtest_teardown", others)
    make_report = manager.subset_hook_caller("pytest_runtest_makereport", others)
    item._report_sections.clear()
    item.stash[caplog_records_key] = {}
    with contextlib.suppress(*OUTCOMES):  # then its own protocol has told so
        if evaluate_skip_marks(item) is None:
            item.stash[xfailed_key] = evaluate_xfail_marks(item)
    ihook: Any = item.ihook if record_warning is None else _Recorder(record_warning)
    with (
        contextlib.contextmanager(assertion.pytest_runtest_protocol)(item),  # explains assertions
        _catch_warnings(config, ihook, when="runtest", item=item),
        live_log_going_on(config, live_log),
    ):
        call = pytest.CallInfo.from_call(
            functools.partial(tear_down, item=item, nextitem=nextitem),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
    report: pytest.TestReport = make_report(item=item, call=call)
    return report


def _catch_warnings(
    config: pytest.Config,
    ihook: Any,
    when: Literal["config", "runtest"],
    item: pytest.Item | None,
) -> contextlib.AbstractContextManager[None]:
    """Have warnings recorded as pytest's own plugin does, where that is loaded (``-p no:warnings``)."""
    if not config.pluginmanager.has_plugin("warnings"):
        return contextlib.nullcontext()
    return catch_warnings_for_item(config, ihook, when=when, item=item)


def tear_down_all(session: pytest.Session, nextitem: pytest.Item | None = None) -> None:
    """Tear down all that this process has set up (``SetupState.teardown_exact``).

    But for what ``nextitem`` is in. Its warnings are those of no item, as plain pytest tells them
    when a session finishes.
    """
    config = session.config
    with _catch_warnings(config, config.hook, when="config", item=None):
        session._setupstate.teardown_exact(nextitem)
