"""Limits of memory and CPU time, and how a breach is told."""

from __future__ import annotations

import pytest

TIMEOUT_SECONDS = 60  # it only ends a hang


@pytest.mark.parametrize("by", ["option", "ini", "mark"])
def test_memory_over_the_limit_is_a_memory_error(pytester, by):
    mark = '@pytest.mark.forked(memory_limit="50M")' if by == "mark" else ""
    pytester.makepyfile(
        f"""
        import pytest

        {mark}
        def test_much(): bytearray(200 << 20)

        def test_little(): bytearray(10 << 20)
        """
    )
    if by == "ini":
        pytester.makeini("[pytest]\nforked_memory_limit = 50M\n")
    options = ["--forked-memory-limit=50M"] if by == "option" else []

    result = pytester.runpytest_subprocess("--forked", *options, timeout=TIMEOUT_SECONDS)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *MemoryError"])


def test_cpu_time_over_the_limit_is_told_with_the_stack(pytester):
    pytester.makepyfile(
        """
        import time

        def test_busy():
            while True:
                pass

        def test_sleeps():
            time.sleep(1.5)
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", "--forked-cpu-limit=1s", timeout=TIMEOUT_SECONDS
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*went over its cpu limit*in call, at *",
            "*in test_busy",
            "limit: 1 s of CPU time (RLIMIT_CPU)",
        ]
    )


@pytest.mark.parametrize("kept", ["in the test", "for good"])
@pytest.mark.parametrize("piece", ["bytes(1000)", "[piece]", "object()"])
def test_memory_to_the_last_byte_is_a_memory_error_that_can_be_told(pytester, kept, piece):
    pytester.makepyfile(
        f"""
        import pytest

        for_good = []

        @pytest.fixture
        def resource():
            yield
            assert bytes(1 << 20)

        def test_victim(resource):
            pieces = for_good if {kept == "for good"} else []
            piece = None
            while True:
                pieces.append(piece := {piece})

        def test_after(): pass
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", "--forked-memory-limit=30M", timeout=TIMEOUT_SECONDS
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *MemoryError"])


def test_the_memory_limit_holds_for_each_test_of_a_child(pytester):
    pytester.makepyfile(
        """
        import resource

        def limit():
            return resource.getrlimit(resource.RLIMIT_DATA)[0]

        def test_one():
            assert limit() == resource.RLIM_INFINITY

        def test_two():
            assert limit() == resource.RLIM_INFINITY
        """
    )

    result = pytester.runpytest_subprocess(
        "--forked", "--forked-scope=module", "--forked-memory-limit=30M", timeout=TIMEOUT_SECONDS
    )

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E *assert *== -1*"] * 2)


@pytest.mark.parametrize("by", ["option", "mark"])
def test_a_memory_limit_that_no_child_could_set_is_a_usage_error(pytester, by):
    pytester.makeconftest(
        """
        from pytest_procrastinate.process import limits

        def data_bytes():
            raise FileNotFoundError(2, "No such file or directory", "/proc/self/status")

        limits.data_bytes = data_bytes
        """
    )
    mark = '@pytest.mark.forked(memory_limit="50M")' if by == "mark" else ""
    pytester.makepyfile(f"import pytest\n{mark}\ndef test_it(): open('ran', 'w')")
    options = ["--forked-memory-limit=50M"] if by == "option" else []

    result = pytester.runpytest_subprocess("--forked", *options, timeout=TIMEOUT_SECONDS)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*memory*limit*: no limit of memory can be set here: *"])
    assert not (pytester.path / "ran").exists()
