"""A hidden global leaks from one test into the next, unless each has its own process.

``pytest test_lengths.py`` fails a test that has done nothing wrong.
"""

import crashy


def test_metres():
    assert crashy.in_metres(5) == 5


def test_kilometres():
    crashy.set_unit(1000)
    assert crashy.in_metres(5) == 5000


def test_metres_again():
    assert crashy.in_metres(5) == 5
