import subprocess
import sys
import textwrap

import pytest

from pytest_procrastinate.process.written_code import can_move_code

pytestmark = pytest.mark.skipif(not can_move_code(), reason="nothing is moved on this Python")

HEAD = """
    import os, sys, types
    from pytest_procrastinate.process.written_code import WrittenCode

    def called(value):
        def nested(): return value.bit_length()
        return nested() + value.bit_length()

    def not_called(value):
        return value.bit_length()

    def decorate(function):
        def wrapper(value): return function(value)
        return wrapper

    decorated = decorate(called)

    def in_a_child(run):
        pid = os.fork()
        if pid == 0:
            run()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    def written_by(*functions):
        code = WrittenCode([*functions, *codes(*functions)])
        def run():
            decorated(7)
            code.note()
        in_a_child(run)
        return code

    def codes(*functions):
        todo = [each.__code__ for each in functions]
        for each in todo:
            todo += [part for part in each.co_consts if isinstance(part, types.CodeType)]
        return todo
    """


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_child_has_written_to_is_moved_and_nothing_else():
    told = run(
        """
        before = called.__code__, decorated.__code__, not_called.__code__
        written_by(called, decorated, not_called).move_together()
        after = called.__code__, decorated.__code__, not_called.__code__
        print(*(one is other for one, other in zip(before, after)))
        print(*(one == other for one, other in zip(before, after)))
        """
    )
    assert told == "False False True\nTrue True True\n"


def test_moved_functions_do_what_they_did():
    told = run(
        """
        import traceback
        moved = written_by(called, decorated).move_together()
        print(len(moved), decorated(7), called(2))
        try:
            decorated("seven")
        except AttributeError as error:
            print(*(each.name for each in traceback.extract_tb(error.__traceback__)))
        print(called.__code__.co_qualname, called.__code__.co_firstlineno)
        """
    )
    rows = told.splitlines()
    assert rows == ["3 6 4", "<module> wrapper called nested", "called 5"]


def test_what_is_moved_lies_together():
    told = run(
        """
        import importlib, inspect, statistics
        names = ["argparse", "inspect", "logging", "pathlib", "statistics", "tarfile", "typing"]
        functions = [each for name in names for each in vars(importlib.import_module(name)).values()
                     if isinstance(each, types.FunctionType)][::4]

        def pages(codes):
            return len({page for each in codes
                        for page in range(id(each) >> 12, (id(each) + sys.getsizeof(each) >> 12) + 1)})

        class Written(WrittenCode):
            def __init__(self, codes):
                super().__init__(codes)
                self._written[:] = bytes([1]) * len(self._written)

        old = [each.__code__ for each in functions]
        moved = Written([*functions, *old]).move_together()
        print(len(old), pages(old), pages(moved))
        """
    )
    count, before, after = map(int, told.split())
    assert count > 50
    assert after < before * 2 / 3  # about half, by how malloc finds room


def test_nothing_is_moved_while_somebody_watches_code():
    told = run(
        """
        sys.monitoring.use_tool_id(3, "somebody")
        print(written_by(called).move_together())
        sys.monitoring.free_tool_id(3)
        print(len(written_by(called).move_together()))
        """
    )
    assert told == "[]\n2\n"
