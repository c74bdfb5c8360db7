"""Items and marks that hooks add after our own hook has looked, and what ends badly at the very end."""

from __future__ import annotations

import pytest
from comparing import compare, forked, loaded

ADDS_AN_ITEM = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(session, items):
    result = yield
    items.append(pytest.Function.from_parent(items[0].parent, name="extra", callobj=lambda: 0))
    return result
"""
MARKS = """
import pytest

@pytest.hookimpl({options})
def {hook}(session):
    for item in session.items:
        item.add_marker(pytest.mark.forked)
"""


def test_an_item_that_is_added_late_runs(pytester):
    pytester.makeconftest(ADDS_AN_ITEM)
    pytester.makepyfile("def test_a(): pass")

    compare(pytester)


@pytest.mark.parametrize(
    ("hook", "options"),
    [("pytest_collection_modifyitems", "trylast=True"), ("pytest_collection_finish", "")],
)
def test_a_mark_that_is_added_late_forks(pytester, hook, options):
    pytester.makeconftest(MARKS.format(hook=hook, options=options))
    pytester.makepyfile("import os\ndef test_dies(): os.abort()\ndef test_after(): pass")

    loaded(pytester).result.assert_outcomes(failed=1, passed=1)


@pytest.mark.parametrize("plugin", ["skipping", "reports"])
def test_a_crash_is_told_without_one_of_pytest_s_own_plugins(pytester, plugin):
    pytester.makepyfile("import os\ndef test_dies(): os.abort()\ndef test_after(): pass")

    told = forked(pytester, "-p", f"no:{plugin}")

    told.result.assert_outcomes(failed=1, passed=1)


ENDS_BADLY = """
import pytest

@pytest.fixture(scope="session")
def session():
    yield
    {end}

def test_first(session): {first}
def test_second(session): pass
"""


@pytest.mark.parametrize("end", ["1/0", "pytest.exit('bye', 7)"])
@pytest.mark.parametrize(
    ("first", "options"),
    [("raise KeyboardInterrupt", ()), ("assert 0", ("--sw",)), ("pytest.exit('now')", ())],
)
def test_what_fails_as_the_session_finishes_ends_it_as_plainly(pytester, first, options, end):
    pytester.makepyfile(ENDS_BADLY.format(first=first, end=end))

    one, other = (
        mode(pytester, "-p", "no:cacheprovider" if not options else "cacheprovider", *options)
        for mode in (loaded, forked)
    )

    assert other.status == one.status
    assert other.verdicts() == one.verdicts()
    assert ("Exit: bye" in "".join(other.errors)) == ("Exit: bye" in "".join(one.errors))


def test_errors_of_two_scopes_are_both_in_junitxml_and_shown(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def session():
            yield
            raise RuntimeError("of the session")

        @pytest.fixture(scope="module")
        def module(session):
            yield
            raise ValueError("of the module")

        def test_it(module): pass
        """
    )

    told = forked(pytester, "--junitxml=out.xml", "--show-capture=no")

    told.result.assert_outcomes(passed=1, errors=1)
    for text in (told.result.stdout.str(), (pytester.path / "out.xml").read_text()):
        assert "of the session" in text
        assert "of the module" in text
