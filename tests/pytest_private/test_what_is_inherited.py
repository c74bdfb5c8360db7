"""As test_set_up.py: what a child and a fork server forget."""

from __future__ import annotations

import pytest

from pytest_procrastinate import pytest_private as private


def test_inherited_values_stay_and_are_not_torn_down(item, state, log, definitions):
    state.setup(item)
    log.clear()

    private.Inherited(item.session).disown()

    assert private.is_set_up(definitions["session"], "x")
    state.teardown_exact(None)
    assert log == []
    assert not private.is_set_up(definitions["module"], private.NO_PARAMETER) or not log


def test_inherited_leaves_an_items_own_teardown(item, state, log):
    state.setup(item)
    inherited = private.Inherited(item.session)
    inherited.definitions = [d for d in inherited.definitions if d.argname != "own"]
    log.clear()

    inherited.disown(but=item)
    state.teardown_exact(None)

    assert log == ["down own"]


def test_inherited_knows_whether_a_scope_above_ends(items, item, state):
    state.setup(item)
    inherited = private.Inherited(item.session)
    assert not inherited.end_above(None)

    inherited.disown()

    assert inherited.end_above(None)
    assert not inherited.end_above(item)


@pytest.mark.parametrize("stays", [True, False])
def test_a_child_says_that_inherited_scopes_end(items, item, state, log, stays):
    state.setup(item)
    private.leave_item(item.session, item)
    said = []
    inherited = private.Inherited(item.session)
    inherited.disown()
    log.clear()
    inherited.become_child(item, lambda **words: said.append(words), stays=stays)

    state.teardown_exact(items["test_b[x]"])

    assert said == ([] if stays else [{"all_scopes": True}])
    assert log == []


def test_a_fresh_child_sets_all_up_anew(item, state, log):
    state.setup(item)
    private.leave_item(item.session, item)
    inherited = private.Inherited(item.session)
    log.clear()

    inherited.become_child(item, lambda **_: None, stays=False, fresh=True)
    item._initrequest()
    state.setup(item)

    assert log == ["up session", "up module", "up own"]


def test_leave_item_forgets_the_item_and_keeps_its_scopes(item, state, log):
    state.setup(item)
    log.clear()

    private.leave_item(item.session, item)

    assert private.stack_of(item.session) == item.listchain()[:-1]
    assert log == []


def test_repeat_registrations_leaves_teardowns_once_and_in_order(items, item, state, log):
    state.setup(item)
    private.repeat_registrations(item)
    private.repeat_registrations(items["test_b[x]"])
    log.clear()

    state.teardown_exact(None)

    assert log == ["down own", "down module", "down session"]


def test_a_class_fixture_ends_with_an_inner_class_where_the_last_use_counts(pytester):
    items = pytester.getitems(
        """
import pytest

@pytest.fixture(scope="class")
def f(): pass

class TestC:
    def test_a(self, f): pass

    class TestD:
        def test_b(self, f): pass

        def test_c(self, f): pass
"""
    )
    one, other, last = items
    state = one.session._setupstate
    state.setup(one)
    private.leave_item(one.session, one)
    ((_, definition, _),) = private.fixtures_of(other)
    last_use_counts = private.ends_with_inner_class(other, definition)
    state.setup(other)
    private.leave_item(one.session, other)

    private.repeat_registrations(last)
    state.teardown_exact(one)

    assert (definition.cached_result is None) == last_use_counts
    state.teardown_exact(None)
    one.config._ensure_unconfigure()


def test_tear_down_scopes_reports_as_the_end_of_an_items_teardown(item, state, log):
    state.setup(item)
    item.session._setupstate.stack[item.session][0].append(lambda: 1 / 0)

    report = private.tear_down_scopes(item, None)

    assert (report.when, report.nodeid, report.failed) == ("teardown", item.nodeid, True)
    assert "ZeroDivisionError" in report.longreprtext
    assert log[-1] == "down session"
    assert private.stack_of(item.session) == []


def test_tear_down_scopes_calls_no_plugin_but_pytests_own(item, state):
    called = []

    class Plugin:
        def pytest_runtest_teardown(self, item):
            called.append(item)

    item.config.pluginmanager.register(Plugin())
    state.setup(item)

    assert private.tear_down_scopes(item, None).passed
    assert called == []


def test_tear_down_all_leaves_nothing(item, state, log):
    state.setup(item)

    private.tear_down_all(item.session)

    assert private.stack_of(item.session) == []
    assert log[3:] == ["down own", "down module", "down session"]
