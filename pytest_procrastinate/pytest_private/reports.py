"""Reports: what they are made of and what is kept beside them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from _pytest._code.code import (
    ExceptionRepr,
    ReprEntryNative,
    ReprExceptionInfo,
    ReprFileLocation,
    ReprTraceback,
    TerminalRepr,
)
from _pytest.junitxml import xml_key

_SERIALIZERS = {"reports", "subtests"}  # pytest's own


class _Painter:
    """Notes what a longrepr does with a terminal writer."""

    hasmarkup = False
    fullwidth = 80

    def __init__(self) -> None:
        self.strokes: list[tuple[str, list[object], dict[str, object]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*args: object, **markup: object) -> None:
            self.strokes.append((name, list(args), markup))

        return note


def paint(longrepr: TerminalRepr) -> list[tuple[str, list[object], dict[str, object]]] | str:
    """Return what a longrepr writes, for :class:`Painted`; as text where that cannot be noted."""
    painter = _Painter()
    try:
        longrepr.toterminal(painter)  # type: ignore[arg-type]
    except Exception:
        return str(longrepr)
    return painter.strokes


class Painted(TerminalRepr):
    """A longrepr of which only what it writes is known (a doctest's, a missing fixture's)."""

    def __init__(self, strokes: list[tuple[str, list[object], dict[str, object]]]) -> None:
        self.strokes = strokes

    def toterminal(self, tw: Any) -> None:
        """Write what the original would have written."""
        for method, args, markup in self.strokes:
            if method in ("line", "sep", "write"):
                getattr(tw, method)(*args, **markup)


def is_paintable(longrepr: object) -> bool:
    """Whether pytest's own serializer would make mere text of it."""
    return hasattr(longrepr, "toterminal") and not (
        hasattr(longrepr, "reprtraceback") and hasattr(longrepr, "reprcrash")
    )


def add_to_longrepr(report: pytest.TestReport, title: str, text: str) -> None:
    """Add what else went wrong to what a report shows of a failure (``ExceptionRepr.addsection``)."""
    if isinstance(report.longrepr, ExceptionRepr):
        report.longrepr.addsection(title, text)
    else:
        report.longrepr = f"{report.longreprtext}\n{title}\n{text}"


def crash_repr(path: str, line: int, message: str, text: list[str]) -> ReprExceptionInfo:
    """Return a longrepr as pytest's own are made: for the summary line, junitxml, xdist."""
    return ReprExceptionInfo(
        reprtraceback=ReprTraceback(
            [ReprEntryNative([f"{row}\n" for row in text])], None, "native"
        ),
        reprcrash=ReprFileLocation(path, line, message),
    )


def report_as_data(config: pytest.Config, report: Any) -> dict[str, Any]:
    """Return what ``pytest_report_to_serializable`` makes of a report.

    Where nobody but pytest would be asked, it is not asked by the hook, which costs more than the answer;
    nor where ``-p no:reports`` takes the answer away (``_to_json``).
    """
    hook = config.hook.pytest_report_to_serializable
    asked = {impl.plugin_name for impl in hook.get_hookimpls()}
    if type(report) is not pytest.TestReport or not asked <= _SERIALIZERS:
        data: dict[str, Any] | None = hook(config=config, report=report)
        if data is not None:
            return data
    return {**report._to_json(), "$report_type": "TestReport"}


def report_from_data(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport | None:
    """Return the report of which :func:`report_as_data` was told, None where no plugin knows it.

    ``TestReport._from_json``; and unittest makes reports of subtests with ``-p no:subtests``, too.
    """
    if "_subtest.context" in data and not config.pluginmanager.hasplugin("subtests"):
        from _pytest.subtests import SubtestReport

        return SubtestReport._from_json(data)
    report: pytest.TestReport | None = config.hook.pytest_report_from_serializable(
        config=config, data=data
    )
    return pytest.TestReport._from_json(data) if report is None else report  # -p no:reports


def place_of(error: BaseException) -> tuple[str, int]:
    """Return path and line of where pytest says that an exception was raised, ('', 0) for nowhere.

    ``ExceptionInfo._getreprcrash``.
    """
    crash = pytest.ExceptionInfo.from_exception(error)._getreprcrash()
    return (os.fspath(crash.path), int(crash.lineno)) if crash is not None else ("", 0)


def restore_subtest(report: Any, sent: object) -> None:
    """Make a subtest's report what it was (``_pytest.subtests``, from 9.0).

    Its ``context`` reprs the arguments again as it is made.
    """
    context = getattr(report, "context", None)
    if context is not None and isinstance(sent, dict) and isinstance(sent.get("kwargs"), dict):
        with contextlib.suppress(AttributeError, TypeError):
            object.__setattr__(context, "kwargs", sent["kwargs"])


def failed_subtests(config: pytest.Config, report: Any) -> int:
    """Return how many failed subtests a test's report will be judged by."""
    counts = _failed_subtests(config)
    return 0 if not counts else int(counts.get(getattr(report, "id", report.nodeid), 0))


def note_failed_subtests(config: pytest.Config, report: Any, count: int) -> None:
    """Have a test's report judged by so many failed subtests, as it is told; also by none after some."""
    counts = _failed_subtests(config)
    name = getattr(report, "id", report.nodeid)
    if counts is not None and (count or name in counts):
        counts[name] = count


def _failed_subtests(config: pytest.Config) -> Any:
    """``config.stash[failed_subtests_key]``, from 9.0; unittest's own subtests are not counted."""
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:
        return None
    return config.stash.get(failed_subtests_key, None)


def take_junit_notes(config: pytest.Config) -> dict[str, Any] | None:
    """Return what this process's test recorded for junitxml beside its reports, and forget it.

    ``record_xml_attribute`` and ``record_testsuite_property`` write into ``config.stash[xml_key]``.
    """
    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return None
    attributes = []
    for (node, _), reporter in xml.node_reporters.items():
        if reporter.attrs:
            noted = {str(name): str(value) for name, value in reporter.attrs.items()}
            attributes.append((str(getattr(node, "nodeid", node)), noted))
            reporter.attrs.clear()  # the fixture goes on to write into it
    properties = [(str(name), str(value)) for name, value in xml.global_properties]
    xml.global_properties.clear()
    if not attributes and not properties:
        return None
    return {"attributes": attributes, "properties": properties}


def check_junit_notes(notes: Any) -> dict[str, Any]:
    """Return what :func:`take_junit_notes` may have returned in another process.

    :raises Exception: It cannot have.
    """
    attributes = [
        (str(nodeid), {str(name): str(value) for name, value in noted.items()})
        for nodeid, noted in notes["attributes"]
    ]
    properties = [(str(name), str(value)) for name, value in notes["properties"]]
    return {"attributes": attributes, "properties": properties}


def add_junit_notes(config: pytest.Config, notes: dict[str, Any]) -> None:
    """Record in this process what :func:`take_junit_notes` returned in another."""
    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return
    for nodeid, attributes in notes["attributes"]:
        xml.node_reporter(nodeid).attrs.update(attributes)
    for pair in notes["properties"]:
        if pair not in xml.global_properties:  # a session's fixture that each child sets up
            xml.global_properties.append(pair)
