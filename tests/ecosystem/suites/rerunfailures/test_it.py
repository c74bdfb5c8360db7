import os
import pathlib

import pytest

FOLDER = pathlib.Path(os.environ["SCRATCH"])


def nth_time(name):
    with open(FOLDER / name, "a") as file:
        file.write("x")
    return (FOLDER / name).stat().st_size


@pytest.mark.flaky(reruns=2)
def test_second_time():
    print("about to try")
    assert nth_time("second") == 2


@pytest.mark.flaky(reruns=1)
def test_never():
    assert 0


@pytest.mark.flaky(reruns=2, only_rerun=["ValueError"])
def test_only_other_errors():
    raise KeyError("not rerun")


@pytest.fixture
def shaky():
    assert nth_time("setup") == 2


@pytest.mark.flaky(reruns=2)
def test_setup_fails_once(shaky):
    pass
