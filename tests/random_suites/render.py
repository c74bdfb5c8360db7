"""Turn a suite into files. What names something that is not there is left out."""

from __future__ import annotations

from pathlib import Path

from .documented import narrow_names
from .model import Class, Doctest, Fixture, Folder, Module, Parametrize, Suite, Test, Xunit

IN_SUITE = Path(__file__).parent / "in_suite"
HEAD = "import logging, os, sys, unittest, warnings\nimport pytest\nfrom noting import event\n"
HOOKS = {
    "setup_first": """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    event("hook", "setup_first", item.name)
    print("hook: setup_first")
""",
    "setup_last": """
@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item):
    event("hook", "setup_last", item.name)
    print("hook: setup_last")
""",
    "skip_some": """
def pytest_runtest_setup(item):
    if item.name[-1:] in "1357":
        pytest.skip("skipped by a hook")
""",
    "makereport": """
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    event("hook", "makereport", item.name, call.when)
    outcome.get_result().sections.append(("by a hook", f"{item.name} {call.when}"))
""",
    "teardown": """
def pytest_runtest_teardown(item, nextitem):
    event("hook", "teardown", item.name, nextitem and nextitem.name)
    print("hook: teardown")
""",
    "protocol": """
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    event("hook", "protocol", item.name, nextitem and nextitem.name)
    yield
""",
}
USE_OF_BUILTINS = {
    "tmp_path": 'event("function", tmp_path.name, [p.name for p in tmp_path.iterdir()])',
    "tmp_path_factory": 'event("function", tmp_path_factory.mktemp("made").name)',
    "monkeypatch": 'monkeypatch.setenv("PATCHED", "1"); event("function", os.environ["PATCHED"])',
    "capsys": 'print("to capsys"); event("function", repr(capsys.readouterr().out))',
    "capfd": 'os.write(1, b"to capfd"); event("function", repr(capfd.readouterr().out))',
    "caplog": 'logging.getLogger("random").error("to caplog"); event("function", caplog.messages)',
    "record_property": 'record_property("recorded", 5)',
    "request": 'event("function", request.node.nodeid, request.fixturenames)',
}


def render(suite: Suite) -> dict[str, str]:
    """Return the text of each file of a suite by its path."""
    files = {name: (IN_SUITE / name).read_text() for name in ("noting.py", "recorder.py")}
    files["pytest.ini"] = "[pytest]\nmarkers = forked: run in a child\n"
    writer = _Writer(suite)
    files |= writer.folder(suite.root, "", [])
    if any(name.endswith(".yaml") for name in files):
        files["custom_items.py"] = (IN_SUITE / "custom_items.py").read_text()
    return files


class _Writer:
    def __init__(self, suite: Suite) -> None:
        self._narrow = narrow_names(suite.root)
        self._of_module: list[str] = []
        """What the module is parametrized with: each of its tests must take it."""

    def folder(self, folder: Folder, path: str, visible: list[str]) -> dict[str, str]:
        files: dict[str, str] = {}
        names = [fixture.name for fixture in folder.fixtures]
        conftest = [
            *(HOOKS[name] for name in folder.hooks),
            *self._fixtures(folder.fixtures, visible, f"{path}conftest"),
        ]
        if folder.custom:
            conftest.insert(0, "from custom_items import pytest_collect_file\n")
            files[f"{path}data_{folder.name}.yaml"] = "\n".join(folder.custom) + "\n"
        if conftest:
            files[f"{path}conftest.py"] = HEAD + "\n".join(conftest)
        if folder.is_package:
            xunit = [self._xunit(each, f"{path}__init__", "package") for each in folder.xunit]
            files[f"{path}__init__.py"] = (HEAD if xunit else "") + "\n".join(xunit)
        inner = [*visible, *names]
        for module in folder.modules:
            files[f"{path}{module.name}.py"] = self._module(module, path, inner)
        for each in folder.folders:
            files |= self.folder(each, f"{path}{each.name}/", inner)
        return files

    def _module(self, module: Module, path: str, visible: list[str]) -> str:
        where = f"{path}{module.name}"
        inner = [*visible, *(fixture.name for fixture in module.fixtures)]
        marks = [mark.removeprefix("@") for mark in module.marks]
        marks += [self._uses(module.uses, inner)] if self._uses(module.uses, inner) else []
        parametrize = [e for e in module.parametrize if not e.indirect or e.name in inner]
        if any(case.is_unittest for case in module.classes):
            parametrize = []
        marks += [_parametrize(each) for each in parametrize]
        self._of_module = [each.name for each in parametrize]
        classes = [self._class(each, where, inner, "") for each in module.classes]
        tests = [self._test(each, where, inner, "") for each in module.tests]
        parts = [HEAD]
        if marks:
            parts.append(f"pytestmark = [{', '.join(marks)}]\n")
        parts += self._fixtures(module.fixtures, visible, where)
        for each in module.xunit:
            scope = "function" if each.name.endswith("function") else "module"
            parts.append(self._xunit(each, where, scope))
        parts += [_doctest(each) for each in module.doctests]
        parts += [*classes, *tests] if module.classes_first else [*tests, *classes]
        return "\n".join(parts)

    def _class(self, case: Class, where: str, visible: list[str], indent: str) -> str:
        where = f"{where}::{case.name}"
        inner = [*visible, *(fixture.name for fixture in case.fixtures)]
        body: list[str] = self._fixtures(case.fixtures, visible, where, method=True)
        for each in case.xunit:
            scope = "class" if each.name.lower().endswith("class") else "function"
            body.append(self._xunit(each, where, scope, method=True))
        body += [self._class(each, where, inner, indent) for each in case.classes]
        body += [
            self._test(each, where, inner, "self", in_unittest=case.is_unittest)
            for each in case.tests
        ]
        marks = list(case.marks)
        if self._uses(case.uses, inner):
            marks.append("@" + self._uses(case.uses, inner))
        base = "(unittest.TestCase)" if case.is_unittest else ""
        return "\n".join([*marks, f"class {case.name}{base}:", *map(_indented, body or ["pass"])])

    def _test(
        self, test: Test, where: str, visible: list[str], first: str, *, in_unittest: bool = False
    ) -> str:
        direct = [each.name for each in test.parametrize if not each.indirect]
        needs = [] if in_unittest else [name for name in test.needs if name in visible]
        indirect = [e.name for e in test.parametrize if e.indirect and e.name in visible]
        of_module = [] if in_unittest else self._of_module
        arguments = list(dict.fromkeys([*of_module, *needs, *indirect, *direct]))
        asks_for = [n for n in test.asks_for if n in visible and n in self._narrow]
        builtins = list(dict.fromkeys([*test.builtins, *(["request"] if asks_for else [])]))
        marks = list(test.marks)
        if self._uses(test.uses, visible):
            marks.append("@" + self._uses(test.uses, visible))
        marks += [
            "@" + _parametrize(e) for e in test.parametrize if not e.indirect or e.name in visible
        ]
        values = "".join(f", {name}" for name in arguments)
        body = [
            f'event("function", "run {where}::{test.name}"{values})',
            *(USE_OF_BUILTINS[name] for name in test.builtins),
            *(f'request.getfixturevalue("{name}")' for name in asks_for),
            *test.body,
        ]
        takes = ", ".join([*filter(None, [first]), *arguments, *builtins])
        return "\n".join([*marks, f"def {test.name}({takes}):", *map(_indented, body), ""])

    def _fixtures(
        self, fixtures: list[Fixture], visible: list[str], where: str, *, method: bool = False
    ) -> list[str]:
        here = [fixture.name for fixture in fixtures]
        texts = []
        for fixture in fixtures:
            others = [name for name in here if name != fixture.name]
            texts.append(self._fixture(fixture, [*visible, *others], where, method=method))
        return texts

    def _fixture(self, fixture: Fixture, visible: list[str], where: str, *, method: bool) -> str:
        name, scope = fixture.name, fixture.scope
        needs = list(dict.fromkeys(n for n in fixture.needs if n in visible))
        asks_for = [
            n
            for n in fixture.asks_for
            if n in visible and n not in needs and (scope != "function" or n in self._narrow)
        ]
        options = []
        if scope != "function":
            options.append(f'scope="{scope}"')
        if fixture.scope_by_callable:
            options = [f'scope=lambda fixture_name, config: "{scope}"']
        if fixture.params:
            options.append(f"params={fixture.params}")
        if fixture.autouse:
            options.append("autouse=True")
        takes = [*(["self"] if method else []), "request", *needs]
        values = "".join(f", {n}" for n in needs)
        tag = f"{name} of {where}"
        parameter = 'getattr(request, "param", "")'
        undo = [f'event("{scope}", "tear down {tag}", {parameter})', *fixture.after]
        body = [f'event("{scope}", "set up {tag}", {parameter}{values})']
        if fixture.teardown in ("finalizer", "node"):
            node = ".node" if fixture.teardown == "node" else ""
            body += ["def undo():", *map(_indented, undo), f"request{node}.addfinalizer(undo)"]
        body += [*(f'request.getfixturevalue("{n}")' for n in asks_for), *fixture.before]
        gives = "yield" if fixture.teardown == "yield" else "return"
        body.append(f'{gives} "{name}" + {parameter}')
        if fixture.teardown == "yield":
            body += undo
        decorator = f"@pytest.fixture({', '.join(options)})" if options else "@pytest.fixture"
        head = f"def {name}({', '.join(takes)}):"
        return "\n".join([decorator, head, *map(_indented, body), ""])

    def _xunit(self, xunit: Xunit, where: str, scope: str, *, method: bool = False) -> str:
        name = xunit.name
        takes, marks = [], []
        if method:
            if name.lower().endswith("class"):
                takes, marks = ["cls"], ["@classmethod"]
            else:
                takes = ["self"]
        if xunit.takes_argument and name.endswith(("module", "function", "method")):
            takes.append(name.rpartition("_")[2])
        body = [f'event("{scope}", "{name} of {where}")', *xunit.body]
        return "\n".join([*marks, f"def {name}({', '.join(takes)}):", *map(_indented, body), ""])

    @staticmethod
    def _uses(names: list[str], visible: list[str]) -> str:
        found = [f'"{name}"' for name in names if name in visible]
        return f"pytest.mark.usefixtures({', '.join(found)})" if found else ""


def _parametrize(each: Parametrize) -> str:
    options = (", indirect=True" if each.indirect else "") + (
        f', scope="{each.scope}"' if each.scope else ""
    )
    return f'pytest.mark.parametrize("{each.name}", {each.values}{options})'


def _doctest(doctest: Doctest) -> str:
    lines = "\n".join(f"    >>> {line}" for line in doctest.lines)
    return f'def {doctest.name}():\n    r"""Example::\n\n{lines}\n    """\n'


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.split("\n"))


def write(suite: Suite, folder: Path) -> None:
    """Write a suite into a folder."""
    for name, text in render(suite).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
