import unittest

import pytest


@pytest.mark.parametrize("count", [2])
def test_some_fail(subtests, count):
    for number in range(count):
        with subtests.test("number", number=number):
            print("in subtest", number)
            assert number == 0


def test_all_pass(subtests):
    for number in range(2):
        with subtests.test(number=number):
            pass


def test_skip_and_xfail(subtests):
    with subtests.test("skipped"):
        pytest.skip("not here")
    with subtests.test("xfailed"):
        pytest.xfail("known")


class TestCase(unittest.TestCase):
    def test_unittest(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(number, 1)
