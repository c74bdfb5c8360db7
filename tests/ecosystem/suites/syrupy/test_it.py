import pytest


@pytest.fixture(scope="module")
def rows():
    return [{"name": "one", "count": 1}, {"name": "two", "count": 2}]


@pytest.mark.parametrize("n", range(5))
def test_rows(snapshot, rows, n):
    assert {**rows[n % 2], "n": n} == snapshot


def test_named(snapshot):
    assert "text" == snapshot(name="named")


@pytest.mark.xfail(strict=True)
def test_fails(snapshot):
    assert "kept" == snapshot
    assert 0
