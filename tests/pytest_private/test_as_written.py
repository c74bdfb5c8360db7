"""As test_set_up.py: what pytest rewrites."""

from __future__ import annotations

import sys

SHOW = """
import sys

def pytest_sessionfinish():
    ours = [module for name, module in sys.modules.items() if name.startswith("pytest_procrastinate.")]
    rewritten = [each.__name__ for each in ours if "@pytest_ar" in vars(each)]
    print("\\nimported:", len(ours) > 20, rewritten)
"""


def test_our_modules_are_not_rewritten(pytester):
    pytester.makepyfile(show=SHOW, test_it="def test_it(): assert True")

    done = pytester.run(sys.executable, "-m", "pytest", "-p", "show", "-s", "--forked")

    done.assert_outcomes(passed=1)
    (told,) = (line for line in done.outlines if line.startswith("imported:"))
    # An editable installation is rewritten by pytest 9.2, not by those before.
    assert told in ("imported: True []", "imported: True ['pytest_procrastinate.as_written']")


def test_those_of_other_plugins_and_tests_are(pytester):
    pytester.makepyfile(
        helper="def check(left, right): assert left == right",
        test_it="import helper, pytest\npytest.register_assert_rewrite('helper')\n"
        "def test_it():\n    one, two = 1, 2\n    assert one == two",
        conftest="import pytest\npytest.register_assert_rewrite('helper')",
        test_other="import helper\ndef test_other(): helper.check(3, 4)",
    )

    done = pytester.run(sys.executable, "-m", "pytest", "--forked")

    done.stdout.fnmatch_lines_random(["E*assert 1 == 2", "E*assert 3 == 4"])
