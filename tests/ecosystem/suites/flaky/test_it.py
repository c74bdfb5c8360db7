import os
import pathlib

import pytest
from flaky import flaky

FOLDER = pathlib.Path(os.environ["SCRATCH"])


def nth_time(name):
    with open(FOLDER / name, "a") as file:
        file.write("x")
    return (FOLDER / name).stat().st_size


@flaky(max_runs=3)
def test_second_time():
    assert nth_time("second") == 2


@flaky(max_runs=2)
def test_never():
    assert 0


@pytest.mark.flaky(max_runs=3, min_passes=2)
def test_two_passes():
    nth_time("passes")


def test_passed_twice():
    assert (FOLDER / "passes").stat().st_size == 2
