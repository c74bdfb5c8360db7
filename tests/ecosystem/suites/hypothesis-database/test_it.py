"""The example that falsified a test is found again at once in the next run: it was saved."""

import os
import pathlib

from hypothesis import given, settings, strategies
from hypothesis.database import DirectoryBasedExampleDatabase

FOLDER = pathlib.Path(os.environ["SCRATCH"]) / "examples"
seen = []


@settings(database=DirectoryBasedExampleDatabase(FOLDER), max_examples=200)
@given(strategies.integers(0, 1_000_000))
def test_falsified(number):
    assert number < 1000


def test_was_saved():
    assert any(path.is_file() for path in FOLDER.rglob("*"))
