"""Each private name of pytest that we use does what we use it for, on this version of pytest."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path

import pytest

from pytest_procrastinate import pytest_private as private


def test_each_function_has_a_test():
    functions = [
        name
        for name, value in vars(private).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith(private.__name__)
    ]
    files = Path(__file__).parent.glob("test_*.py")
    tests = "".join(path.read_text() for path in files)

    assert functions
    assert [name for name in functions if not re.search(rf"private\.{name}\b", tests)] == []


# --- where things are set up ------------------------------------------------------------------


def test_fixtures_of_gives_what_an_item_asks_for_the_broad_ones_first(item):
    assert [(name, definition.argname) for name, definition, _ in private.fixtures_of(item)] == [
        (name, name) for name in ("session", "module", "own")
    ]
    assert [parameter for _, _, parameter in private.fixtures_of(item)] == [
        "x",
        private.NO_PARAMETER,
        private.NO_PARAMETER,
    ]


def test_fixtures_of_an_item_that_is_no_function_are_none(item):
    class Custom(pytest.Item):
        def runtest(self):
            pass

    assert list(private.fixtures_of(Custom.from_parent(item.session, name="custom"))) == []


def test_with_all_asked_for_gives_what_a_fixture_asks_for_itself_or_through_others(
    item, definitions
):
    asked = {
        name: {each.argname for each in private.with_all_asked_for(item, definition)} - {"request"}
        for name, definition in definitions.items()
    }

    assert asked == {
        "session": {"session"},
        "module": {"session", "module"},
        "own": {"session", "module", "own"},
    }


def test_a_fixture_that_may_ask_for_others_as_it_runs_is_known(definitions):
    def asks(request):
        return request.getfixturevalue("own")

    def asks_within(request):
        return [lambda: request.getfixturevalue("own")]

    @functools.wraps(asks)
    def asks_below(*args):
        return asks(*args)

    def says_nothing(request):
        return "getfixturevalue"

    for function, seems in (
        (asks, True),
        (asks_within, True),
        (asks_below, True),
        (says_nothing, False),
        (len, False),
    ):
        definitions["own"].func = function
        assert private.asks_as_it_runs(definitions["own"]) is seems


@pytest.mark.parametrize("fails", [False, True])
def test_set_up_now_sets_up_ahead_of_its_turn(item, state, log, definitions, fails):
    stack = [item.session, item.getparent(pytest.Module), item]
    for node in stack:
        state.stack[node] = ([node.teardown], None)
    if fails:
        definitions["session"].func = lambda request: 1 / 0

    private.set_up_now(item, definitions["module"])

    assert private.has_failed(definitions["session"]) is fails
    assert log == ([] if fails else ["up session", "up module"])


def test_scope_of_a_fixture_is_its_own_unless_parametrize_says_another(items, definitions):
    scopes = {
        name: private.scope_of(items["test_a[x]"], definition)
        for name, definition in definitions.items()
    }

    assert scopes == {"session": "session", "module": "module", "own": "function"}
    wide = next(item for name, item in items.items() if name.startswith("test_wide"))
    assert private.scope_of(wide, definitions["module"]) == "session"


def test_parameter_index_counts_the_parameters(items, definitions):
    for name, index in (("test_a[x]", 0), ("test_a[y]", 1)):
        assert private.parameter_index(items[name], definitions["session"]) == index
    assert private.parameter_index(items["test_a[y]"], definitions["module"]) == 0


def test_needs_fixture_asks_for_name_node_and_parameter(items):
    item = items["test_a[y]"]
    module = item.getparent(pytest.Module).nodeid

    assert private.needs_fixture(item, "session", "", "1")
    assert private.needs_fixture(item, "module", module, "0")
    assert not private.needs_fixture(item, "session", "", "0")
    assert not private.needs_fixture(item, "module", "test_other.py", "0")
    assert not private.needs_fixture(item, "other", "", "0")


def test_is_set_up_knows_the_parameter(item, state, definitions):
    assert not private.is_set_up(definitions["session"], "x")

    state.setup(item)

    assert private.is_set_up(definitions["session"], "x")
    assert not private.is_set_up(definitions["session"], "y")
    assert private.is_set_up(definitions["module"], private.NO_PARAMETER)


def test_stack_of_names_the_nodes_that_are_set_up(item, state):
    assert private.stack_of(item.session) == []

    state.setup(item)

    assert private.stack_of(item.session) == item.listchain()


def test_needs_set_up_is_true_of_what_does_something(item):
    assert private.needs_set_up(item)
    assert not private.needs_set_up(item.session)


def test_anything_to_tear_down_looks_at_scopes_that_end(items, item, state):
    session, module = item.session, item.getparent(pytest.Module)

    assert not private.anything_to_tear_down(session, None)
    state.setup(item)
    assert private.anything_to_tear_down(session, None)
    assert not private.anything_to_tear_down(session, items["test_b[x]"])
    assert private.anything_to_tear_down(session, None, but=module), "that of the session is left"


def test_anything_within_looks_at_a_scope_and_at_those_in_it(item, state):
    session, module = item.session, item.getparent(pytest.Module)
    state.stack[session] = ([session.teardown, print], None)
    state.stack[module] = ([module.teardown], None)
    assert private.anything_within(session, session)
    assert not private.anything_within(session, module)

    case = item.getparent(pytest.Class)
    state.stack[case] = ([case.teardown, lambda: None], None)
    assert private.anything_within(session, module)


def test_pop_scopes_takes_the_nodes_that_an_item_is_not_in(items, item, state, log):
    state.setup(item)

    private.pop_scopes(item.session, items["test_b[x]"])

    assert private.stack_of(item.session) == items["test_b[x]"].listchain()[:-1]
    assert not [each for each in log if each.startswith("down")], "nothing is torn down"


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        ("function", pytest.Function),
        ("class", pytest.Class),
        ("module", pytest.Module),
        ("package", (pytest.Package, pytest.Directory)),
        ("session", pytest.Session),
    ],
)
def test_unit_node_is_the_node_of_a_scope(item, scope, kind):
    assert isinstance(private.unit_node(item, scope), kind)


def test_unit_node_is_the_item_where_it_is_in_no_class(items):
    assert private.unit_node(items["test_skipped[x]"], "class") is items["test_skipped[x]"]


def test_on_set_up_calls_when_an_item_is_set_up_or_has_failed(items, item, state):
    begun, called = [], []
    private.on_set_up(item.session, begins=begun.append, ended=called.append)

    state.setup(item)
    assert called == [item]

    state.teardown_exact(None)
    failing = items["test_b[x]"]
    failing.setup = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        state.setup(failing)
    assert called == [item, failing]
    assert begun == [], "their setup is pytest's own"


def test_on_set_up_calls_before_the_setup_of_a_class_of_somebody_else(items, item, state):
    told = []

    class Own(type(item)):
        def setup(self):
            told.append("setup")
            super().setup()

    item.__class__ = Own
    private.on_set_up(
        item.session,
        begins=lambda each: told.append(("begins", list(state.stack) == item.listchain())),
        ended=lambda each: told.append("ended"),
    )

    state.setup(item)

    assert told == [("begins", True), "setup", "ended"]
    assert "setup" not in vars(item)


def test_forget_result_makes_a_fixture_one_that_is_not_set_up(item, state, definitions):
    state.setup(item)
    assert private.is_set_up(definitions["session"], "x")

    private.forget_result(definitions["session"])

    assert not private.is_set_up(definitions["session"], "x")
    assert definitions["session"]._finalizers == []


def test_tears_down_all_as_it_stops_is_what_this_pytest_does(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module", autouse=True)
        def module():
            yield
            print("torn down")

        def test_fails(): assert 0

        def test_after(): pass
        """
    )
    run = pytester.inline_run("-x", "-p", "no:pytest_procrastinate")
    (last,) = (r for r in run.getreports("pytest_runtest_logreport") if r.when == "teardown")

    assert private.tears_down_all_as_it_stops() == ("torn down" in last.capstdout)
