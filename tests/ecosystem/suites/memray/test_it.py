import pytest


@pytest.mark.limit_memory("100 MB")
def test_small():
    assert len(bytearray(1 << 20)) == 1 << 20


@pytest.mark.limit_memory("1 MB")
def test_large():
    assert len([bytearray(1 << 20) for _ in range(20)]) == 20


def test_unmarked():
    pass
