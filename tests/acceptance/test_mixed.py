"""Forked and plain items side by side, at each boundary between scopes.

The pytest process is to behave as if the forked items were not there: what it
sets up, runs and tears down, and in which order, is what a plain run of the
plain items alone does. A forked item, whatever it inherits, tears down what its
own process set up and nothing else.
"""

from __future__ import annotations

import itertools

import pytest
from comparing import assert_same_lines, compare, loaded, plain

CONFTEST = """
import os, pytest, noting

SCOPES = ["session", "package", "module", "class", "function"]

def pytest_configure(config):
    config.addinivalue_line("markers", "forked: runs in a child")
    noting.note("session")

def resource(scope):
    @pytest.fixture(scope=scope, autouse=True, name=f"{scope}_resource")
    def fixture(request):
        name = f"{scope} {request.node.nodeid}"
        born = os.getpid()
        noting.note("fixture", "set up", name, born)
        yield
        noting.note("fixture", "tear down", name, born)
    return fixture

for scope in SCOPES:
    globals()[f"{scope}_resource"] = resource(scope)

@pytest.fixture(autouse=True)
def where(request, session_resource, function_resource):
    noting.note("fixture", "run", request.node.nodeid, os.getpid())

def pytest_collection_modifyitems(config, items):
    plain = [item for item in items if "plain" in item.name]
    if config.getoption("only_plain"):
        config.hook.pytest_deselected(items=[i for i in items if i not in plain])
        items[:] = plain

def pytest_addoption(parser):
    parser.addoption("--only-plain", action="store_true")
"""


def functions(pattern: str, indent: str = "") -> str:
    """Return test functions, one for each letter: F is forked, P is plain."""
    return "\n".join(
        f"{indent}@pytest.mark.forked\n{indent}def test_{n}_forked({'self' * bool(indent)}): pass\n"
        if letter == "F"
        else f"{indent}def test_{n}_plain({'self' * bool(indent)}): pass\n"
        for n, letter in enumerate(pattern)
    )


def classes(patterns: list[str]) -> str:
    return "\n".join(
        f"class Test{n}:\n{functions(pattern, '    ')}" for n, pattern in enumerate(patterns)
    )


# Each ends and begins in each way: every pair of neighbours has every pair of kinds.
PATTERNS = ["P", "F", "PF", "FP", "FF", "PP", "PFP", "FPF", "F", "P", "FP", "PF", "P"]


def layout(boundary: str) -> dict[str, str]:
    """Return files that put every pair of kinds on both sides of one boundary."""
    head = "import pytest\n"
    if boundary == "function":
        return {"test_all.py": head + functions("".join(PATTERNS))}
    if boundary == "class":
        return {"test_all.py": head + classes(PATTERNS)}
    if boundary == "module":
        modules = {
            f"test_{n:02}.py": head + functions(pattern) for n, pattern in enumerate(PATTERNS)
        }
        whole = {
            "test_20_whole.py": head
            + "pytestmark = pytest.mark.forked\n"
            + functions("PP").replace("plain", "marked"),
            "test_21_after.py": head + classes(["P"]) + functions("P"),
        }
        return modules | whole
    packages = {
        f"package_{n:02}/test_it.py": head + functions(pattern)
        for n, pattern in enumerate(PATTERNS)
    }
    inits = {name.replace("test_it", "__init__"): "" for name in packages}
    nested = {
        "package_00/inner/__init__.py": "",
        "package_00/inner/test_inner.py": head + functions("PF"),
        "package_05/inner/__init__.py": "",
        "package_05/inner/test_inner.py": head + functions("FP"),
    }
    return packages | inits | nested


def write(pytester: pytest.Pytester, files: dict[str, str]) -> None:
    pytester.makeconftest(CONFTEST)
    for name, source in files.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def events(told) -> list[list[str]]:
    """Return pid, what, name, pid of birth for each event of a fixture or test."""
    return told.noted("fixture")


@pytest.mark.parametrize("boundary", ["function", "class", "module", "package"])
def test_plain_items_go_on_as_if_the_forked_ones_were_not_there(pytester, boundary):
    write(pytester, layout(boundary))

    alone = plain(pytester, "--only-plain")
    every = plain(pytester)
    mixed = loaded(pytester)

    assert alone.status == every.status == 0
    assert [r for r in mixed.rows if r["kind"] != "session"] == [
        r for r in every.rows if r["kind"] != "session"
    ]
    assert_same_lines(every.output, mixed.output)
    assert mixed.status == 0
    (main,) = mixed.noted("session")[0]
    assert_same_lines(
        [f"{what} {name}" for _, what, name, _ in events(alone)],
        [f"{what} {name}" for pid, what, name, _ in events(mixed) if pid == main],
    )
    assert_each_forked_item_tears_down_only_what_its_process_set_up(mixed, main)


def assert_each_forked_item_tears_down_only_what_its_process_set_up(mixed, main):
    runs = [(pid, name) for pid, what, name, _ in events(mixed) if what == "run"]
    in_children = [(pid, name) for pid, name in runs if pid != main]
    assert [name for _, name in in_children] == [
        name for _, name in runs if "forked" in name or "marked" in name
    ]
    assert len({pid for pid, _ in in_children}) == len(in_children)
    assert [e for e in events(mixed) if e[0] != e[3]] == [], "torn down where inherited"
    set_up = sorted((pid, name) for pid, what, name, _ in events(mixed) if what == "set up")
    torn_down = sorted((pid, name) for pid, what, name, _ in events(mixed) if what == "tear down")
    assert set_up == torn_down
    for pid, name in in_children:
        own = [what for p, what, *_ in events(mixed) if p == pid]
        assert own.count("run") == 1, name
        assert f"function {name}" in [n for p, _, n, _ in events(mixed) if p == pid]


def test_all_forked_run_sets_up_nothing_in_the_pytest_process(pytester):
    write(pytester, layout("class"))

    _, told = compare(pytester)

    (main,) = told.noted("session")[0]
    assert [event for event in events(told) if event[0] == main] == []
    assert [event for event in events(told) if event[0] != event[3]] == []


KINDS = ["fail", "setup", "teardown", "crash"]
NEIGHBOURS = """
import os, pytest, signal

@pytest.fixture(scope="module")
def shared():
    return [0]

def fail(phase):
    if phase == KIND:
        assert 0, phase
    if KIND == "crash" and phase == "fail":
        os.kill(os.getpid(), signal.SIGSEGV)

@pytest.fixture
def broken(shared):
    shared.append(1)
    fail("setup")
    yield
    fail("teardown")
"""


def neighbours(kind: str, order: str) -> str:
    tests = "".join(
        f"""
@pytest.mark.forked
@pytest.mark.usefixtures("broken")
def test_{kind}_{order}_{n}_forked(): fail("fail")
"""
        if letter == "F"
        else f"\ndef test_{kind}_{order}_{n}_plain(shared): assert shared == [0]\n"
        for n, letter in enumerate(order)
    )
    return NEIGHBOURS.replace("KIND", repr(kind)) + tests


def test_forked_failure_leaves_its_plain_neighbours_alone(pytester):
    orders = ("FPF", "PFP")
    pytester.makeini("[pytest]\nmarkers = forked: runs in a child\n")
    pytester.makepyfile(
        **{f"test_{kind}_{order}": neighbours(kind, order) for kind in KINDS for order in orders}
    )

    told = loaded(pytester)

    passed = ["setup passed", "call passed", "teardown passed"]
    phases = {
        "fail": ["setup passed", "call failed", "teardown passed"],
        "setup": ["setup failed", "teardown passed"],
        "teardown": ["setup passed", "call passed", "teardown failed"],
    }
    phases["crash"] = phases["fail"]
    assert told.verdicts() == {
        f"test_{kind}_{order}_{n}_{'forked' if letter == 'F' else 'plain'}": (
            phases[kind] if letter == "F" else passed
        )
        for kind in KINDS
        for order in orders
        for n, letter in enumerate(order)
    }
    assert told.status == 1


def test_neighbours_patterns_cover_every_pair_at_every_boundary():
    pairs = {(a[-1], b[0]) for a, b in itertools.pairwise(PATTERNS)}

    assert pairs == set(itertools.product("FP", repeat=2))


def test_parametrized_broader_fixture_changes_param_between_forked_and_plain(pytester):
    pytester.makeini("[pytest]\nmarkers = forked: runs in a child\n")
    pytester.makepyfile(
        """
        import noting, os, pytest

        @pytest.fixture(scope="module", params=["a", "b"])
        def letter(request):
            noting.note("set up", request.param)
            yield request.param
            noting.note("tear down", request.param)

        @pytest.mark.forked
        def test_forked(letter): assert letter in "ab"

        def test_plain(letter): assert letter in "ab"

        @pytest.mark.forked
        def test_forked_last(letter): assert letter in "ab"
        """
    )

    every = plain(pytester)
    mixed = loaded(pytester)

    assert [r for r in mixed.rows if r["kind"] == "report"] == [
        r for r in every.rows if r["kind"] == "report"
    ]
    balance = [
        sorted((pid, letter) for pid, letter in mixed.noted(word))
        for word in ("set up", "tear down")
    ]
    assert balance[0] == balance[1]


def test_forked_unittest_class_beside_a_plain_one(pytester):
    pytester.makeini("[pytest]\nmarkers = forked: runs in a child\n")
    pytester.makepyfile(
        """
        import os, pytest, unittest

        here = os.getpid()

        class Base:
            @classmethod
            def setUpClass(cls): cls.born = os.getpid()

            @classmethod
            def tearDownClass(cls): assert cls.born == os.getpid()

        @pytest.mark.forked
        class TestForked(Base, unittest.TestCase):
            def test_one(self): self.assertNotEqual(os.getpid(), here)
            def test_two(self): self.assertNotEqual(os.getpid(), here)

        class TestPlain(Base, unittest.TestCase):
            def test_one(self): self.assertEqual(os.getpid(), here)
            def test_two(self): self.assertEqual(os.getpid(), here)

            @pytest.mark.forked
            def test_zforked(self): self.assertNotEqual(os.getpid(), here)
        """
    )

    told = loaded(pytester)

    told.result.assert_outcomes(passed=5)
    assert told.status == 0


def test_skipif_beside_the_mark_needs_no_fork(pytester):
    """A machine without os.fork skips what says so, and complains of nothing."""
    pytester.makepyfile(
        sitecustomize="import os; del os.fork",
        test_it="""
        import os, pytest

        @pytest.mark.forked
        @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
        def test_forked(): pass

        def test_plain(): pass
        """,
    )

    told = loaded(pytester, "-rs")

    told.result.assert_outcomes(passed=1, skipped=1)
    told.result.stdout.fnmatch_lines(["SKIPPED*needs fork"])
