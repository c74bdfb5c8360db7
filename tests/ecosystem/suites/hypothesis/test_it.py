import time

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

fast = settings(max_examples=20, derandomize=True, database=None)


@fast
@given(strategies.lists(strategies.integers()))
def test_sorted_twice(numbers):
    assert sorted(sorted(numbers)) == sorted(numbers)


@fast
@given(strategies.integers(min_value=0))
def test_falsified(number):
    assert number < 10


@settings(max_examples=20, derandomize=True, database=None, deadline=20)
@given(strategies.just(1))
def test_deadline(number):
    time.sleep(0.2)


@fast
@given(strategies.integers())
def test_health_check_of_a_function_scoped_fixture(tmp_path, number):
    pass


@settings(fast, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.integers())
@example(7)
def test_suppressed(tmp_path, number):
    assert number != 7


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.count = 0

    @rule(step=strategies.integers(1, 3))
    def grow(self, step):
        self.count += step

    @invariant()
    def small(self):
        assert self.count >= 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=5, derandomize=True, database=None)


@pytest.mark.parametrize("base", [2, 3])
@fast
@given(exponent=strategies.integers(0, 10))
def test_parametrized(base, exponent):
    assert base**exponent >= 1
