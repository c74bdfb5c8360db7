import pytest


def test_sum(benchmark):
    assert benchmark(sum, range(10)) == 45


def test_pedantic(benchmark):
    benchmark.pedantic(sorted, args=([3, 1, 2],), rounds=3, iterations=2)


@pytest.mark.benchmark(group="named")
def test_group(benchmark):
    benchmark(len, "abc")


def test_fails(benchmark):
    benchmark(lambda: None)
    assert 0
