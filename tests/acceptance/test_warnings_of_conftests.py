"""A warning of a conftest is heard as often as in a plain run, though another conftest took its place."""

from __future__ import annotations

from comparing import compare


def test_warning_of_an_outer_conftest_is_told_once_for_a_test_and_its_scopes(pytester):
    """The second conftest takes the name of the first: that one's module is in no ``sys.modules``."""
    pytester.makeconftest(
        """
        import warnings, pytest

        @pytest.fixture(scope="module", params=[1, 2])
        def number(request):
            yield
            warnings.warn("number is over")
        """
    )
    below = pytester.mkdir("below")
    below.joinpath("conftest.py").touch()
    below.joinpath("test_it.py").write_text("def test_it(number): pass")

    one, _ = compare(pytester)

    assert sum(row["kind"] == "warning" for row in one.rows) == 1
