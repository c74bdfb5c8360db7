"""Allure's results are one for each test, a crashed one's too, with what the crash tells."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("allure_pytest")


def results(pytester, *options):
    pytester.runpytest_subprocess("--alluredir=results", *options, timeout=60)
    told = [
        json.loads(path.read_text()) for path in (pytester.path / "results").glob("*-result.json")
    ]
    return sorted(told, key=lambda result: result["name"])


@pytest.mark.parametrize("options", [[], ["--forked-jobs=2"], ["--forked-scope=module"]], ids=str)
def test_each_test_has_the_result_of_a_plain_run(pytester, options):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def session(): return 1

        @pytest.fixture(scope="module")
        def module(session): return 2

        def test_a(module): pass

        def test_b(session): assert session == 2

        @pytest.mark.skip
        def test_c(module): pass

        @pytest.mark.parametrize("number", [1, 2])
        def test_d(number, module): print(number)
        """
    )

    plain = [(each["name"], each["status"]) for each in results(pytester, "--clean-alluredir")]
    forked = results(pytester, "--clean-alluredir", "--forked", *options)

    assert len(plain) == 5
    assert [(each["name"], each["status"]) for each in forked] == plain


def test_a_crash_is_a_broken_test_with_its_report(pytester):
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.fixture
        def broken(): os.abort()

        @pytest.mark.parametrize("number", [1])
        def test_call(number):
            print("printed before")
            os.abort()

        def test_passes(): pass

        def test_setup(broken): pass

        @pytest.mark.xfail
        def test_xfail(): os._exit(3)
        """
    )

    call, passes, setup, xfail = results(pytester, "--forked")

    assert call["name"] == "test_call[1]"
    assert [each["status"] for each in (call, passes, setup, xfail)] == [
        *("broken", "passed", "broken", "skipped")
    ]
    details = call["statusDetails"]
    assert details["message"].startswith("Crash: crashed with SIGABRT (aborted) in call, at ")
    assert "CRASHED with signal 6 (SIGABRT)" in details["trace"]
    assert {"name": "number", "value": "1"} in call["parameters"]
    (printed,) = [each for each in call["attachments"] if each["name"] == "stdout"]
    assert (pytester.path / "results" / printed["source"]).read_text() == "printed before\n"
