"""As test_set_up.py: reports."""

from __future__ import annotations

import types

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest.capture import CaptureFixture
from _pytest.junitxml import xml_key

from pytest_procrastinate import pytest_private as private


@pytest.fixture
def config(pytester):
    return pytester.parseconfigure()


# --- reports ----------------------------------------------------------------------------------


class Longrepr(TerminalRepr):
    def toterminal(self, tw):
        tw.line("plain")
        tw.sep("-", "title", red=True)
        tw.write("end")


class BadLongrepr(TerminalRepr):
    def toterminal(self, tw):
        raise RuntimeError

    def __str__(self):
        return "its text"


@pytest.mark.parametrize("longrepr", [None, "text of it"])
def test_what_else_went_wrong_is_added_to_what_a_report_shows(longrepr):
    if longrepr is None:
        longrepr = private.crash_repr("test_it.py", 3, "headline", ["text of it"])
    report = pytest.TestReport("x", ("x", 0, ""), {}, "failed", longrepr, "teardown")

    private.add_to_longrepr(report, "title", "what else")

    for text in ("text of it", "title", "what else"):
        assert text in report.longreprtext


def test_paint_notes_what_a_longrepr_writes():
    assert private.paint(Longrepr()) == [
        ("line", ["plain"], {}),
        ("sep", ["-", "title"], {"red": True}),
        ("write", ["end"], {}),
    ]
    assert private.paint(BadLongrepr()) == "its text"


def test_a_report_comes_back_from_what_is_sent_of_it(pytestconfig):
    report = pytest.TestReport("x", ("x", 0, ""), {}, "failed", "its text", "call")

    data = private.report_as_data(pytestconfig, report)

    assert data["$report_type"] == "TestReport"
    same = private.report_from_data(pytestconfig, data)
    assert same is not None
    assert (same.nodeid, same.outcome, same.longreprtext) == ("x", "failed", "its text")


def test_place_of_is_the_line_that_raised():
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018

    path, line = private.place_of(caught.value)

    assert (path, line) == (__file__, caught.tb.tb_lineno)


def test_painted_writes_what_the_original_would_have_written():
    painted = private.Painted(private.paint(Longrepr()))

    assert str(painted) == str(Longrepr())
    assert private.is_paintable(painted)


def test_is_paintable_is_what_pytests_serializer_does_not_know():
    assert private.is_paintable(Longrepr())
    assert not private.is_paintable("text")
    assert not private.is_paintable(private.crash_repr("a.py", 1, "m", []))


def test_crash_repr_is_what_summaries_and_serializers_expect(config):
    longrepr = private.crash_repr("test_a.py", 7, "crashed", ["one", "two"])
    report = pytest.TestReport("a", ("a", 1, "a"), {}, "failed", longrepr, "call")

    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    again = config.hook.pytest_report_from_serializable(config=config, data=data)

    assert again.longreprtext == report.longreprtext == "one\ntwo"
    assert (again.longrepr.reprcrash.path, again.longrepr.reprcrash.lineno) == ("test_a.py", 7)
    assert again.longrepr.reprcrash.message == "crashed"
    assert isinstance(again.longrepr.reprcrash, ReprFileLocation)


def test_restore_subtest_gives_back_the_arguments():
    context = types.SimpleNamespace(kwargs={"n": "'1'"})

    private.restore_subtest(types.SimpleNamespace(context=context), {"kwargs": {"n": "1"}})
    private.restore_subtest(types.SimpleNamespace(), {"kwargs": {}})

    assert context.kwargs == {"n": "1"}


def test_failed_subtests_are_counted_where_pytest_counts_them(config):
    subtests = pytest.importorskip("_pytest.subtests")
    report = pytest.TestReport("a", ("a", 1, "a"), {}, "failed", None, "call")

    private.note_failed_subtests(config, report, 2)

    assert private.failed_subtests(config, report) == 2
    assert sum(config.stash[subtests.failed_subtests_key].values()) == 2


def test_without_subtests_none_are_counted(config, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "_pytest.subtests", None)
    report = pytest.TestReport("a", ("a", 1, "a"), {}, "failed", None, "call")

    private.note_failed_subtests(config, report, 2)

    assert private.failed_subtests(config, report) == 0


def test_junit_notes_of_one_process_are_added_in_another(pytester):
    child = pytester.parseconfigure("--junitxml=child.xml")
    parent = pytester.parseconfigure("--junitxml=parent.xml")
    assert private.take_junit_notes(child) is None
    xml = child.stash[xml_key]
    xml.node_reporter("a.py::test_a").add_attribute("assertions", "3")
    xml.add_global_property("suite", "yes")

    notes = private.check_junit_notes(private.take_junit_notes(child))
    for _ in range(2):
        private.add_junit_notes(parent, notes)

    assert private.take_junit_notes(child) is None
    xml = parent.stash[xml_key]
    assert xml.node_reporter("a.py::test_a").attrs["assertions"] == "3"
    assert xml.global_properties == [("suite", "yes")]


@pytest.mark.parametrize(
    "notes",
    [None, {}, {"attributes": [1], "properties": []}, {"attributes": [], "properties": [1]}],
)
def test_what_is_no_junit_note_is_refused(notes):
    with pytest.raises((TypeError, KeyError, ValueError)):
        private.check_junit_notes(notes)


def test_junit_notes_need_the_plugin(config):
    assert private.take_junit_notes(config) is None
    private.add_junit_notes(config, {"attributes": [("a", {"b": "c"})], "properties": []})


@pytest.mark.parametrize("name", ["capsys", "capfd", "capsysbinary", "capfdbinary"])
def test_held_capture_has_what_a_capture_fixture_holds_in_our_files(
    pytester, monkeypatch, tmp_path, name
):
    monkeypatch.setattr(CaptureFixture, "_start", CaptureFixture._start)
    held = private.HeldCapture()
    with open(tmp_path / "out", "w+b") as out, open(tmp_path / "err", "w+b") as err:
        held.descriptors = out.fileno(), err.fileno()
        pytester.makepyfile(
            f"""
            import sys

            def test_it({name}, request):
                print("read")
                assert {name}.readouterr().out
                print("held")
                print("held as well", file=sys.stderr)
                request.config.look()
                assert {name}.readouterr().out
                request.config.look()
            """
        )
        found = []

        class Looking:
            def pytest_configure(self, config):
                config.look = lambda: found.append(
                    ((tmp_path / "out").read_text(), (tmp_path / "err").read_text())
                )

        result = pytester.inline_run(plugins=[Looking()])
    result.assertoutcome(passed=1)
    assert found == [("held\n", "held as well\n"), ("", "")]
