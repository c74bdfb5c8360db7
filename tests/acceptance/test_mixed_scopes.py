"""Scopes that plain items have set up and that end with a forked one: torn down and told with it."""

from __future__ import annotations

import pytest
from comparing import loaded, plain

HELD = """
import noting, pytest, warnings

def steps(name, fails=False):
    noting.note("step", f"{name} begins")
    print(f"{name} begins")
    yield
    noting.note("step", f"{name} ends")
    print(f"{name} ends")
    warnings.warn(f"{name} ends")
    if fails:
        raise ValueError(f"{name} ends badly")

@pytest.fixture(scope="session")
def session(): yield from steps("session")

@pytest.fixture(scope="module")
def module(session): yield from steps("module")

@pytest.fixture(scope="module")
def bad(session): yield from steps("bad", fails=True)

@pytest.fixture(autouse=True)
def running(request): noting.note("step", f"runs {request.node.name}")

def pytest_configure(config):
    config.addinivalue_line("markers", "forked: runs in a child")
"""
ONE, TWO = "def test_plain({0}): pass\n", "@pytest.mark.forked\ndef test_forked({1}): {2}\n"
MODULE = "import os, pytest, warnings\n" + ONE + TWO


def assert_told_alike(pytester: pytest.Pytester, *options: str) -> None:
    one, other = plain(pytester, *options), loaded(pytester, *options)

    assert [words for _, *words in other.noted("step")] == [
        words for _, *words in one.noted("step")
    ]
    assert other.rows == one.rows
    assert other.output == one.output
    assert other.errors == one.errors
    assert other.status == one.status


@pytest.mark.parametrize("options", [(), ("-x",), ("-s",), ("--setup-show",), ("-rA",)])
@pytest.mark.parametrize(
    ("held", "asked", "deed"),
    [
        ("module", "module", "pass"),
        ("bad", "bad", "pass"),
        ("bad", "", "print('in the test')"),
        ("module", "", "assert 0"),
        ("bad", "bad", "warnings.warn('in the test'); assert 0"),
    ],
)
def test_scope_that_ends_with_a_forked_test_is_told_with_it(pytester, held, asked, deed, options):
    pytester.makeconftest(HELD)
    source = MODULE.format(held, asked, deed)
    pytester.makepyfile(test_1=source, test_2=source, test_3=MODULE.format("session", "", "pass"))

    assert_told_alike(pytester, *options)


def test_scope_that_ends_before_a_plain_test_is_left_before_it_runs(pytester):
    pytester.makeconftest(HELD)
    pytester.makepyfile(
        test_1=MODULE.format("bad", "bad", "pass"),
        test_2="import pytest\n" + TWO.format("", "session", "pass"),
        test_3="import pytest\n" + TWO.format("", "", "pass") + ONE.format("module"),
    )

    assert_told_alike(pytester)


@pytest.mark.parametrize("first", ["test_plain", "test_forked"])
@pytest.mark.parametrize(
    ("deed", "before"),
    [
        ("os.abort()", ["setup passed", "call failed"]),
        ("request.addfinalizer(os.abort)", ["setup passed", "call passed"]),
    ],
)
def test_scope_that_ends_with_a_test_that_died_is_torn_down_and_told(pytester, first, deed, before):
    pytester.makeconftest(HELD)
    mark = "@pytest.mark.forked\n" * (first == "test_forked")
    pytester.makepyfile(
        "import os, pytest\n"
        f"{mark}def {first}(bad): pass\n"
        f"@pytest.mark.forked\ndef test_dies(bad, request): {deed}\n"
    )

    told = loaded(pytester)

    assert told.verdicts()["test_dies"] == [*before, "teardown failed"]
    told.result.stdout.fnmatch_lines(["*bad ends badly*"])
    assert [words for _, *words in told.noted("step")].count(["bad ends"]) == 1
    assert told.status == 1
