"""As test_set_up.py: marks."""

from __future__ import annotations

import pytest

from pytest_procrastinate import pytest_private as private


def marked(pytester, marks):
    return pytester.getitem(f"import pytest\n{marks}\ndef test_func(): pass")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(True, True), (0, False), ("1 == 1", True), ("config is None", False)],
)
def test_condition_holds_evaluates_as_skipif_does(pytester, condition, expected):
    item = marked(pytester, "@pytest.mark.forked")

    mark = item.get_closest_marker("forked")
    assert private.condition_holds(item, mark, condition) is expected


def test_condition_holds_tells_what_cannot_be_evaluated(pytester):
    item = marked(pytester, "@pytest.mark.forked")

    with pytest.raises(pytest.UsageError, match="no_such_name"):
        private.condition_holds(item, item.get_closest_marker("forked"), "no_such_name")


@pytest.mark.parametrize(
    ("marks", "may"),
    [
        ("", False),
        ("@pytest.mark.skip", True),
        ("@pytest.mark.skipif(False, reason='r')", False),
        ("@pytest.mark.skipif(True, reason='r')", True),
        ("@pytest.mark.skipif('0', reason='r')", True),
        ("@pytest.mark.skipif('no_such_name', reason='r')", True),
        ("@pytest.mark.xfail", False),
        ("@pytest.mark.xfail(run=False)", True),
    ],
)
def test_may_skip_evaluates_no_string(pytester, marks, may):
    assert private.may_skip(marked(pytester, marks)) is may


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("reason='known'", "known"),
        ("raises=OSError, reason='known'", "known"),
        ("raises=KeyError, reason='known'", None),
        ("condition=False, reason='known'", None),
    ],
)
def test_expected_to_fail_gives_the_reason(pytester, arguments, expected):
    item = marked(pytester, f"@pytest.mark.xfail({arguments})")

    assert private.expected_to_fail(item, FileNotFoundError(), "call") == expected
    item.config.option.runxfail = True
    assert private.expected_to_fail(item, FileNotFoundError(), "call") is None


def test_forget_caught_leaves_other_exceptions_of_a_test_case(pytester):
    item = pytester.getitem(
        """
        import unittest

        class TestIt(unittest.TestCase):
            def test_func(self): pass
        """
    )
    caught = [
        pytest.ExceptionInfo.from_exception(each)
        for each in (_raised(OSError()), _raised(KeyError()))
    ]
    item._excinfo = list(caught)

    private.forget_caught(item, (OSError,))

    assert item._excinfo == caught[1:]


def _raised(error):
    try:
        raise error
    except type(error):
        return error
