"""Ordinary tests: they pass, forked or not."""

import crashy
import pytest


@pytest.mark.parametrize(("dividend", "divisor", "quotient"), [(6, 3, 2), (7, 2, 3), (0, 5, 0)])
def test_divide(dividend, divisor, quotient):
    assert crashy.divide(dividend, divisor) == quotient


def test_only_numbers_are_divided():
    with pytest.raises(TypeError):
        crashy.divide("six", 3)


def test_quotient_written_to_a_file(tmp_path):
    page = tmp_path / "quotient"
    page.write_text(str(crashy.divide(42, 6)))
    assert page.read_text() == "7"
