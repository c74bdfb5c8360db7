"""Draw a random suite from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping

from .documented import changes_scope
from .model import Class, Doctest, Fixture, Folder, Module, Parametrize, Suite, Test, Xunit
from .statements import (
    MARKS,
    TROUBLE_IN_SET_UP,
    TROUBLE_IN_TEARDOWN,
    TROUBLE_IN_TEST,
    UNITTEST_BODY,
    UNITTEST_CLASS_BODY,
    UNITTEST_MARKS,
    Statements,
)

SCOPES = ["session", "package", "module", "class", "function"]

BUILTINS = [
    *("tmp_path", "tmp_path_factory", "monkeypatch", "capsys", "capfd", "caplog"),
    *("record_property", "request"),
]
CUSTOM_OUTCOMES = ["pass", "pass", "fail", "skip", "setup-fail", "teardown-fail"]
HOOKS = ["setup_first", "setup_last", "skip_some", "makereport", "teardown", "protocol"]
TESTS = range(8, 22)
PARAMETRIZED_FIXTURES = 2
AUTOUSE_FIXTURES = 3


def generate(seed: int, *, mixed: bool = False) -> Suite:
    """Return the suite of a seed.

    :param mixed: Some items are forked, others not.
    """
    return _Generator(seed, mixed).suite()


class _Generator:
    def __init__(self, seed: int, mixed: bool) -> None:
        self._draw = draw = random.Random(f"{seed} {mixed}")
        self._mixed = mixed
        self._marks = [mark for mark in MARKS if not (mixed and "'error" in mark)]
        self._statements = Statements(
            draw,
            temper=draw.choice([0, 0.04, 0.15]),
            end_of_run=draw.choice([0, 0, 0, 0.01]),
        )
        self._teardown_trouble = draw.random() < 0.6 and not mixed
        self._tests_left = draw.choice(TESTS)
        self._params_left = draw.randrange(PARAMETRIZED_FIXTURES + 1)
        self._autouse_left = draw.randrange(AUTOUSE_FIXTURES + 1)
        self._numbers: dict[str, int] = {}
        self._known: dict[str, Fixture] = {}
        self._order: list[str] = []

    def suite(self) -> Suite:
        draw = self._draw
        root = self._folder({}, 0)
        while self._tests_left > 0:
            self._another_module(root)
        suite = Suite(root, mixed=self._mixed, forked_by_default=draw.random() < 0.5)
        suite.options = self._options(root)
        if draw.random() < 0.25:
            for module in _modules(root):
                if draw.random() < 0.6:
                    module.doctests = [self._doctest() for _ in range(draw.choice([1, 1, 2]))]
            suite.options.append("--doctest-modules")
        return suite

    # --- folders and modules ------------------------------------------------------------------

    def _folder(self, visible: Mapping[str, Fixture], depth: int) -> Folder:
        draw = self._draw
        folder = Folder(self._name("pkg"), is_package=depth > 0 and draw.random() < 0.8)
        weights = [3, 2, 1, 1, 1] if depth == 0 else [1, 4, 1, 1, 1]
        folder.fixtures, inner = self._fixtures(visible, draw.choice([0, 1, 2, 3]), weights)
        if folder.is_package and draw.random() < 0.15:
            folder.xunit = [self._xunit(n) for n in ("setup_module", "teardown_module")]
        if draw.random() < 0.12:
            folder.hooks = [draw.choice(HOOKS)]
        if draw.random() < 0.12:
            folder.custom = [
                f"item{n} {draw.choice(CUSTOM_OUTCOMES)}" for n in range(draw.choice([1, 2, 3]))
            ]
        if depth < 2:
            for _ in range(draw.choice([0, 1, 2, 3]) if depth == 0 else draw.choice([0, 0, 1])):
                folder.folders.append(self._folder(inner, depth + 1))
        for _ in range(draw.choice([0, 1, 2]) if depth == 0 else draw.choice([1, 1, 2])):
            if self._tests_left > 0:
                folder.modules.append(self._module(inner))
        return folder

    def _another_module(self, root: Folder) -> None:
        visible = {fixture.name: fixture for fixture in root.fixtures}
        root.modules.append(self._module(visible))

    def _module(self, visible: Mapping[str, Fixture]) -> Module:
        draw = self._draw
        module = Module(self._name("test_m"), classes_first=draw.random() < 0.5)
        module.fixtures, inner = self._fixtures(visible, draw.choice([0, 0, 1, 2]), [1, 1, 4, 1, 2])
        module.uses = self._some(inner, 0.15)
        for name in ("module", "function"):
            if draw.random() < 0.2:
                module.xunit += [self._xunit(f"setup_{name}"), self._xunit(f"teardown_{name}")]
        if draw.random() < 0.05:
            module.xunit += [self._xunit("setUpModule"), self._xunit("tearDownModule")]
        if draw.random() < 0.07:
            module.marks = [draw.choice(self._marks)]
        self._mark_forked(module.marks, 0.2)
        if draw.random() < 0.1:
            module.parametrize = self._parametrize(inner, indirect=0.7)
        for _ in range(draw.choice([0, 0, 1, 2])):
            module.classes.append(self._class(inner, 0))
        for _ in range(draw.choice([1, 2, 3, 4])):
            module.tests.append(self._test(inner))
        return module

    def _class(self, visible: Mapping[str, Fixture], depth: int) -> Class:
        draw = self._draw
        case = Class(self._name("TestC"), is_unittest=depth == 0 and draw.random() < 0.35)
        case.fixtures, inner = self._fixtures(visible, draw.choice([0, 0, 1]), [1, 1, 1, 4, 2])
        case.uses = self._some(inner, 0.2)
        if draw.random() < 0.07:
            case.marks = [draw.choice(self._marks)]
        self._mark_forked(case.marks, 0.2)
        levels = ("Class", "") if case.is_unittest else ("class", "method")
        for level in levels:
            if draw.random() < 0.4:
                if case.is_unittest:
                    case.xunit += [self._xunit(f"setUp{level}"), self._xunit(f"tearDown{level}")]
                else:
                    case.xunit += [self._xunit(f"setup_{level}"), self._xunit(f"teardown_{level}")]
        for _ in range(draw.choice([1, 2, 3])):
            case.tests.append(self._test(inner, in_unittest=case.is_unittest))
        if not case.is_unittest and depth < 2 and draw.random() < 0.25:
            nested = self._class(inner, depth + 1)
            # What is set up for each method of a class is set up for those of nested ones, too.
            names = {each.name for each in nested.xunit}
            nested.xunit += [x for x in case.xunit if "method" in x.name and x.name not in names]
            case.classes.append(nested)
        return case

    # --- tests --------------------------------------------------------------------------------

    def _test(self, visible: Mapping[str, Fixture], *, in_unittest: bool = False) -> Test:
        draw = self._draw
        self._tests_left -= 1
        test = Test(self._name("test_t"))
        statements = self._statements
        extra = UNITTEST_BODY if in_unittest else None
        test.body = statements.some(TROUBLE_IN_TEST, extra)
        test.uses = self._some(visible, 0.1)
        if draw.random() < 0.15:
            test.marks = [draw.choice(UNITTEST_MARKS if in_unittest else self._marks)]
        self._mark_forked(test.marks, 0.5)
        if in_unittest:
            return test
        test.needs = self._some(visible, 0.6)
        if draw.random() < 0.25:
            test.builtins = draw.sample(BUILTINS, draw.choice([1, 1, 2]))
        if draw.random() < 0.1:
            test.asks_for = self._some(visible, 1)
        if draw.random() < 0.15:
            test.parametrize = self._parametrize(visible, indirect=0.6)
        return test

    def _parametrize(self, visible: Mapping[str, Fixture], indirect: float) -> list[Parametrize]:
        draw = self._draw
        values = draw.choice([["i", "j"], ["i"], ["i", "j", "i"]])
        scope = draw.choice(["", "", "", *SCOPES])
        if visible and draw.random() < indirect:
            name = draw.choice(sorted(visible))
            if changes_scope(visible[name], scope):
                scope = ""
            return [Parametrize(name, values, True, scope)]
        return [Parametrize(self._name("arg"), values, False, scope)]

    def _doctest(self) -> Doctest:
        statements = self._statements
        lines = ["event('function', 'doctest')"]
        lines += [line for line in statements.some(TROUBLE_IN_TEST) if "print" not in line]
        return Doctest(self._name("doc"), lines)

    def _mark_forked(self, marks: list[str], likely: float) -> None:
        draw = self._draw
        if self._mixed and draw.random() < likely:
            marks.append(draw.choice(["@pytest.mark.forked", "@pytest.mark.forked(False)"]))

    # --- fixtures -----------------------------------------------------------------------------

    def _fixtures(
        self, visible: Mapping[str, Fixture], count: int, weights: list[int]
    ) -> tuple[list[Fixture], dict[str, Fixture]]:
        """Return fixtures of one place, and what is visible below it."""
        made: list[Fixture] = []
        inner = dict(visible)
        for _ in range(count):
            overrides = bool(visible) and self._draw.random() < 0.3
            fixture = self._override(visible) if overrides else self._new(inner, weights)
            if fixture.name not in {other.name for other in made}:
                made.append(fixture)
                inner[fixture.name] = fixture
        return made, inner

    def _new(self, visible: Mapping[str, Fixture], weights: list[int]) -> Fixture:
        fixture = Fixture(self._name("f"), scope=self._draw.choices(SCOPES, weights)[0])
        self._order.append(fixture.name)
        return self._fill(fixture, visible)

    def _override(self, visible: Mapping[str, Fixture]) -> Fixture:
        draw = self._draw
        other = visible[draw.choice(sorted(visible))]
        scope = other.scope if draw.random() < 0.75 else draw.choice(SCOPES)
        fixture = self._fill(Fixture(other.name, scope), visible)
        if draw.random() < 0.6:
            fixture.needs.insert(0, other.name)
        return fixture

    def _fill(self, fixture: Fixture, visible: Mapping[str, Fixture]) -> Fixture:
        draw = self._draw
        below = {  # no circles: a name asks for earlier ones, whatever overrides them
            name: other
            for name, other in visible.items()
            if self._order.index(name) < self._order.index(fixture.name)
            and SCOPES.index(other.scope) <= SCOPES.index(fixture.scope)
        }
        fixture.needs = self._some(below, 0.5)
        if fixture.scope != "function" or draw.random() < 0.2:
            fixture.asks_for = [n for n in self._some(below, 0.12) if not below[n].params]
        if self._params_left and draw.random() < 0.25:
            self._params_left -= 1
            fixture.params = draw.choice([["p", "q"], ["p", "q"], ["p"], ["p", "q", "r"]])
        if self._autouse_left and draw.random() < 0.2:
            self._autouse_left -= 1
            fixture.autouse = True
        fixture.scope_by_callable = draw.random() < 0.08
        fixture.teardown = draw.choice(["", "yield", "yield", "finalizer", "node"])
        fixture.before = self._statements.some(TROUBLE_IN_SET_UP)
        fixture.after = self._statements.some(TROUBLE_IN_TEARDOWN if self._teardown_trouble else [])
        return fixture

    def _xunit(self, name: str) -> Xunit:
        draw = self._draw
        is_teardown = name.lower().startswith("teardown")
        trouble = TROUBLE_IN_SET_UP
        if is_teardown:
            trouble = TROUBLE_IN_TEARDOWN if self._teardown_trouble else []
        extra = {"setUpClass": UNITTEST_CLASS_BODY, "setUp": UNITTEST_BODY}.get(name)
        if self._mixed and extra is UNITTEST_CLASS_BODY:
            extra = None  # a class cleanup that fails
        return Xunit(name, draw.random() < 0.4, self._statements.some(trouble, extra))

    # --- odds and ends ------------------------------------------------------------------------

    def _some(self, visible: Mapping[str, Fixture], likely: float) -> list[str]:
        draw = self._draw
        if not visible or draw.random() >= likely:
            return []
        return draw.sample(sorted(visible), min(len(visible), draw.choice([1, 1, 2, 3])))

    def _name(self, stem: str) -> str:
        number = self._numbers[stem] = self._numbers.get(stem, -1) + 1
        return f"{stem}{number}"

    def _options(self, root: Folder) -> list[str]:
        draw = self._draw
        tests = self._numbers.get("test_t", 0)
        one, other = draw.randrange(tests + 1), draw.randrange(tests + 1)
        modules = [f"{m.name}.py" for m in _modules(root)]
        chances = [
            (0.06, "-x"),
            (0.06, "--maxfail=2"),
            (0.05, f"-kt{one} or t{other}"),
            (0.05, f"-knot t{one}"),
            (0.05, f"--deselect={draw.choice(modules)}::test_t{one}"),
            (0.1, "-pno:randomly"),
            (0.12, "--setup-show"),
            (0.02, "--setup-plan"),
            (0.02, "--setup-only"),
            (0.2, "-v"),
            (0.08, "-s"),
            (0.05, "--capture=sys"),
            (0.1, "-rA"),
            (0.05, "--tb=short"),
            (0.03, "--tb=native"),
            (0.03, "-ofilterwarnings=error:warning"),
            (0.03, "--log-level=INFO"),
            (0.03, "--show-capture=log"),
            (0.03, "--runxfail"),
        ]
        options = [option for chance, option in chances if draw.random() < chance]
        # In a mixed run a scope's teardown may not fail: it is torn down in several processes.
        return [o for o in options if not (self._mixed and "=error" in o)]


def _modules(folder: Folder) -> list[Module]:
    inner = [module for each in folder.folders for module in _modules(each)]
    return [*folder.modules, *inner]
