import subprocess
import sys
import textwrap

import pytest

from pytest_procrastinate.process.immortal import has_immortal_objects

needs_immortal_objects = pytest.mark.skipif(
    not has_immortal_objects(), reason="objects are immortal from CPython 3.12 on"
)


def run(script: str, folder) -> str:
    """Run a script in a Python of its own, beside a package ``ours`` and a module ``theirs``."""
    (folder / "ours").mkdir()
    (folder / "ours" / "__init__.py").write_text("")
    (folder / "ours" / "inner.py").write_text(
        textwrap.dedent(
            """
            import functools
            from theirs import TheirClass, their_function

            def function():
                def inner(): pass
                return inner

            class Class:
                def method(self): pass
                @staticmethod
                def static(): pass
                @classmethod
                def of_class(cls): pass
                @property
                def value(self): return 1
                class Nested: pass

            def wrapped(): pass

            @functools.wraps(wrapped)
            def wrapper(): pass

            value = object()
            values = [object()]
            constant = ("a constant", (12345, 2.5))
            number = 54321

            def documented(argument="its default"):
                "What it does."
                return f"{argument} and a text of its own"
            """
        )
    )
    (folder / "theirs.py").write_text(
        "def their_function(): pass\nclass TheirClass:\n    def method(self): pass\n"
    )
    head = """
        import sys
        import ours.inner, theirs
        from pytest_procrastinate.process.immortal import definitions, make_immortal

        def is_immortal(value):
            before = sys.getrefcount(value)
            more = [value] * 10
            return sys.getrefcount(value) == before

        def show(*values):
            print(*map(is_immortal, values))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_immortal_objects
def test_what_a_package_defines_is_immortal(tmp_path):
    told = run(
        """
        it = ours.inner
        assert make_immortal(definitions({"ours"})) > 15
        assert make_immortal([it.values]) == 1
        show(ours, it, it.function, it.function.__code__, it.function.__code__.co_consts[1],
             it.Class, it.Class.method, it.Class.static, it.Class.__dict__["of_class"],
             it.Class.of_class.__func__, it.Class.value.fget, it.Class.Nested, it.wrapped,
             it.wrapper, it.__dict__, it.Class.__mro__, it.values)
        """,
        tmp_path,
    )
    assert told.split() == ["True"] * 17


@needs_immortal_objects
def test_constants_of_a_package_are_immortal(tmp_path):
    told = run(
        """
        make_immortal(definitions({"ours"}))
        it = ours.inner
        show(it.constant, it.constant[0], it.constant[1], it.constant[1][1], it.number,
             it.documented.__doc__, it.documented.__defaults__, it.documented.__defaults__[0],
             it.documented.__code__.co_consts[1])
        """,
        tmp_path,
    )
    assert told.split() == ["True"] * 9


@needs_immortal_objects
def test_what_an_object_of_a_package_keeps_is_immortal_and_what_passes_through_it_is_not(tmp_path):
    told = run(
        """
        from pytest_procrastinate.process.immortal import kept_by

        owner, part, passes = ours.inner.Class(), ours.inner.Class(), ours.inner.Class()
        theirs_kept, key = theirs.TheirClass(), ours.inner.Class()
        owner.part, owner.number, owner.by_name = part, 98765, {"key": key}
        owner.queue, owner.theirs = [passes], theirs_kept
        theirs_kept.part = ours.inner.Class()
        make_immortal(kept_by(owner, "ours"))
        show(owner, part, owner.number, owner.by_name, key, owner.queue)
        show(passes, theirs_kept, theirs_kept.part, ours.inner.Class)
        """,
        tmp_path,
    )
    assert told.split() == ["True"] * 6 + ["False"] * 4


@needs_immortal_objects
def test_values_and_what_others_define_are_counted_as_ever(tmp_path):
    told = run(
        """
        make_immortal(definitions({"ours"}))
        it = ours.inner
        show(it.value, it.values, it.values[0], theirs, theirs.TheirClass, it.Class(),
             theirs.TheirClass.method, it.function())
        """,
        tmp_path,
    )
    assert told.split() == ["False"] * 8


@needs_immortal_objects
def test_a_child_copies_fewer_pages(tmp_path):
    told = run(
        """
        import os, resource, sys
        import pytest, _pytest.python

        functions = [each for name, module in sorted(sys.modules.items()) if name.startswith("_pytest")
                     for each in vars(module).values() if type(each) is type(is_immortal)]

        def pages_copied():
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
            pid = os.fork()
            if pid == 0:
                more = list(functions)  # counts a reference to each
                os._exit(0)
            os.waitpid(pid, 0)
            return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

        pages_copied()
        before = pages_copied()
        make_immortal(definitions({"_pytest"}))
        print(before - pages_copied())
        """,
        tmp_path,
    )
    assert int(told) > 50


def test_python_ends_in_order_afterwards(tmp_path):
    told = run(
        """
        import atexit, gc
        make_immortal(definitions({"ours", "pytest_procrastinate", *sys.stdlib_module_names}))
        gc.collect()
        atexit.register(print, "the end")
        """,
        tmp_path,
    )
    assert told == "the end\n"


@pytest.mark.skipif(has_immortal_objects(), reason="this Python has immortal objects")
def test_nothing_happens_where_no_object_is_immortal(tmp_path):
    told = run(
        "print(make_immortal(definitions({'ours'})), is_immortal(ours.inner.function))", tmp_path
    )
    assert told == "0 False\n"
