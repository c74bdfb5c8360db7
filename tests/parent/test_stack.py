"""What faulthandler writes, read back: the calls of the thread that died."""

from __future__ import annotations

import faulthandler
import tempfile
from pathlib import Path

import _pytest.python
import pytest

from pytest_procrastinate.parent.stack import Frame, read_stack, relative_path

PYTEST = _pytest.python.__file__

ONE_THREAD = f"""\
Fatal Python error: Segmentation fault

Current thread 0x00007f1c2a2c7740 (most recent call first):
  File "/suite/deep.py", line 7 in crash
  File "/suite/test_it.py", line 3 in test_it
  File "{PYTEST}", line 166 in pytest_pyfunc_call
  File "/suite/conftest.py", line 1 in not_told
"""

TWO_THREADS = """\
Thread 0x00007f1c1ffff700 (most recent call first):
  File "/lib/threading.py", line 331 in wait

Current thread 0x00007f1c2a2c7740 [pytest] (most recent call first):
  File "/suite/test_it.py", line 3 in test_it

Thread 0x00007f1c1fffe700 (most recent call first):
  File "/lib/socket.py", line 5 in accept

Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3", at _Py_DumpStack+0x31 [0x5a]
"""


def places(frames):
    return [(frame.path, frame.line, frame.function) for frame in frames]


def test_the_calls_are_read_up_to_pytests_own():
    assert places(read_stack(ONE_THREAD)) == [
        ("/suite/deep.py", 7, "crash"),
        ("/suite/test_it.py", 3, "test_it"),
    ]


def test_a_crash_in_pytest_itself_is_told_where_it_is():
    text = f'Current thread 0x1 (most recent call first):\n  File "{PYTEST}", line 9 in inner\n'

    assert places(read_stack(text)) == [(PYTEST, 9, "inner")]


def test_of_several_threads_it_is_the_current_one():
    assert places(read_stack(TWO_THREADS)) == [("/suite/test_it.py", 3, "test_it")]


def test_without_a_current_thread_the_first_counts():
    text = TWO_THREADS.replace("Current thread ", "Thread ").replace("Current thread's", "The")

    assert places(read_stack(text)) == [("/lib/threading.py", 331, "wait")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('  File "/a b/\u00fc.py", line 5 in <module>', [("/a b/\u00fc.py", 5, "<module>")]),
        ('  File "<string>", line ??? in f', [("<string>", 0, "f")]),
        ('  File "/x.py", line 5', []),
        ("  <no Python frame>", []),
        ("", []),
    ],
)
def test_rows_of_every_kind_are_read(row, expected):
    assert places(read_stack(f"Current thread 0x1 (most recent call first):\n{row}\n")) == expected


def test_nothing_written_is_no_stack():
    assert read_stack("") == []


def test_what_this_python_writes_is_read():
    def here():
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            return file.read()

    first, second, *_ = read_stack(here())

    assert (Path(first.path), first.function) == (Path(__file__), "here")
    assert second.function == "test_what_this_python_writes_is_read"


SOURCE = """\
import os

def far_away():
    pass

def crash(
    what,
):
    first = 1

    second = 2
    os.abort()
    third = 3
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (12, ["        second = 2", ">       os.abort()"]),
        (9, ["    def crash(", "        what,", "    ):", ">       first = 1"]),
        (6, [">   def crash("]),
        (0, []),
        (99, []),
    ],
)
def test_the_source_is_shown_up_to_the_line_that_crashed(tmp_path, line, expected):
    file = tmp_path / "crashing.py"
    file.write_text(SOURCE)

    assert Frame(str(file), line, "crash").source() == expected


def test_a_frame_without_a_source_shows_none():
    assert Frame("<string>", 1, "f").source() == []


def test_a_place_is_relative_where_it_lies_below_the_base(tmp_path):
    assert Frame(str(tmp_path / "a" / "b.py"), 7, "f").place(tmp_path) == "a/b.py:7"
    assert Frame("/elsewhere/b.py", 7, "f").place(tmp_path) == "/elsewhere/b.py:7"
    assert relative_path("<string>", tmp_path) == "<string>"
