"""Each hook of pytest either tells or stays where it is: a new one must be put on a list."""

from __future__ import annotations

import inspect

import pytest
from _pytest import hookspec

from pytest_procrastinate.messages import LOCAL, TELLING

HOOKS = sorted(name for name in vars(hookspec) if name.startswith("pytest_"))


def test_pytest_has_hooks():
    assert "pytest_runtest_logreport" in HOOKS
    assert len(HOOKS) > 40


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_tells_or_is_local(name):
    assert (name in TELLING) + (name in LOCAL) == 1, (
        f"{name} is to be in messages.TELLING if it tells of a test, else in messages.LOCAL"
    )


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_each_local_hook_has_its_reason(name):
    assert LOCAL[name].strip()


@pytest.mark.parametrize("name", sorted(TELLING))
def test_a_hook_that_tells_is_one_of_pytests(name):
    assert inspect.isfunction(getattr(hookspec, name))
