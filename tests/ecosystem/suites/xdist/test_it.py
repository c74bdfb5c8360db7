import os

import pytest


@pytest.fixture(scope="session")
def shared():
    with open(os.path.join(os.environ["SCRATCH"], "set-ups"), "a") as file:
        file.write(os.environ.get("PYTEST_XDIST_WORKER", "none") + "\n")
    return object()


@pytest.mark.parametrize("number", range(8))
def test_shared(shared, number):
    assert number != 5


@pytest.mark.xdist_group("one")
def test_group_a(worker_id):
    print(os.environ["PYTEST_XDIST_WORKER"] == worker_id)


@pytest.mark.xdist_group("one")
def test_group_b(testrun_uid):
    assert testrun_uid


def test_set_up_once_per_worker(shared):
    with open(os.path.join(os.environ["SCRATCH"], "set-ups")) as file:
        workers = file.read().split()
    assert len(workers) == len(set(workers)) <= 2
