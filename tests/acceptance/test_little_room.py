"""Where this process has little room for children there are fewer of them; none is a usage error."""

from __future__ import annotations

import resource

import pytest

TESTS = 12


def run_with_open_files(pytester, limit, *args):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("i", range({TESTS}))
        def test_it(i): pass
        """
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        return pytester.runpytest_subprocess("-p", "pytest_procrastinate", "--forked", *args)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("jobs", [1, 8])
def test_with_few_descriptors_there_are_fewer_children(pytester, jobs):
    result = run_with_open_files(pytester, 80, f"--forked-jobs={jobs}")

    result.assert_outcomes(passed=TESTS)
    assert result.ret == 0


def test_without_descriptors_for_one_child_the_limit_is_named(pytester):
    result = run_with_open_files(pytester, 40)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: forked: no room for the files of a child: *ulimit -n)"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
