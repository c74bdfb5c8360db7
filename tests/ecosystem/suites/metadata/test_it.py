import pytest


@pytest.fixture(scope="session", autouse=True)
def ours(metadata):
    metadata["Suite"] = "ecosystem"


def test_it_is_there(metadata):
    assert metadata["Suite"] == "ecosystem"
    assert "Python" in metadata


def test_option(metadata):
    assert metadata["Given"] == "value"
