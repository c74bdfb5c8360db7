"""What is kept of what a child tells: few pieces, and not without end."""

from __future__ import annotations

import pytest

from pytest_procrastinate.parent import keeping
from pytest_procrastinate.parent.keeping import keep
from pytest_procrastinate.process.frames import FrameError


def test_what_is_written_in_many_pieces_is_kept_in_few():
    messages = [("junit", {})]
    for number in range(20_000):
        keep(messages, "terminal", f"{number}\n")
    keep(messages, "stop", (False, False))
    keep(messages, "terminal", "more\n")

    assert len(messages) < 30
    assert "".join(text for name, text in messages if name == "terminal") == (
        "".join(f"{number}\n" for number in range(20_000)) + "more\n"
    )
    assert [name for name, _ in messages if name != "terminal"] == ["junit", "stop"]
    assert messages[-1] == ("terminal", "more\n")


def test_of_what_is_written_without_end_the_last_is_kept(monkeypatch):
    monkeypatch.setattr(keeping, "MOST_CAPTURED_BYTES", 1000)
    messages = []
    for number in range(5000):
        keep(messages, "terminal", f"{number}\n")

    text = "".join(text for _, text in messages)
    assert text.startswith(keeping.LEFT_OUT)
    assert 1000 <= len(text) < 3000
    assert text.endswith("4998\n4999\n")


def test_nonsense_is_kept_as_it_is():
    messages = []
    for payload in (7, "x", None, "y", ["z"]):
        keep(messages, "terminal", payload)

    assert [payload for _, payload in messages] == [7, "x", None, "y", ["z"]]


def test_who_tells_without_end_is_heard_no_more(monkeypatch):
    monkeypatch.setattr(keeping, "MOST_MESSAGES", 3)
    messages = [("told", number) for number in range(3)]

    with pytest.raises(FrameError, match="told more than 3 messages"):
        keep(messages, "told", 4)
