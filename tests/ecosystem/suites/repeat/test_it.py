import pytest


@pytest.mark.repeat(3)
def test_three_times():
    pass


@pytest.mark.repeat(2)
def test_fails_twice():
    assert 0


def test_once(request):
    print("once")
