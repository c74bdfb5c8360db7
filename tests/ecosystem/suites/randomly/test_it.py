import random

import pytest


@pytest.mark.parametrize("number", range(4))
def test_seeded(number):
    print("drew", random.random())
    assert number != 2


class TestGroup:
    def test_one(self):
        print("drew", random.randrange(1000))

    def test_two(self):
        print("drew", random.randrange(1000))
