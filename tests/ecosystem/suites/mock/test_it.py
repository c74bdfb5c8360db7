import os

import pytest


@pytest.fixture(scope="module")
def patched(module_mocker):
    return module_mocker.patch("os.getlogin", return_value="nobody")


def test_patch(mocker):
    mocker.patch("os.listdir", return_value=["a"])
    assert os.listdir("/") == ["a"]


def test_patch_is_undone():
    assert os.listdir("/") != ["a"]


def test_module_wide(patched):
    assert os.getlogin() == "nobody"


def test_spy_and_stub(mocker):
    spy = mocker.spy(os.path, "join")
    os.path.join("a", "b")
    spy.assert_called_once_with("a", "b")
    mocker.stub(name="stub")(1)


def test_failure_shows_the_calls(mocker):
    called = mocker.stub(name="called")
    called("this")
    called.assert_called_once_with("that")
