"""The hooks that tell, in one table: what a child sends of each, what the pytest process makes of it.

Both sides use :data:`TELLING`. Every other hook of pytest is in :data:`LOCAL`, with its reason; a
test walks pytest's hook specifications and fails on one that is in neither.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from pytest_procrastinate.portable import portable_property
from pytest_procrastinate.pytest_private import (
    Painted,
    failed_subtests,
    is_paintable,
    note_failed_subtests,
    paint,
    report_as_data,
    report_from_data,
    restore_subtest,
)

Arguments = dict[str, Any]


class Telling(NamedTuple):
    """A hook that tells: ``encode`` in the child, ``decode`` in the pytest process.

    :ivar historic: Its calls are kept and told to plugins that come later.
    """

    encode: Callable[[pytest.Config, Arguments], object]
    decode: Callable[[pytest.Config, Any], Arguments]
    historic: bool = False


# --- reports ----------------------------------------------------------------------------------


def _encode_report(config: pytest.Config, arguments: Arguments) -> object:
    report = arguments["report"]
    data = report_as_data(config, report)
    strokes = None
    if report.longrepr is not None and is_paintable(report.longrepr):
        strokes = paint(report.longrepr)
        if isinstance(strokes, list):
            data["longrepr"] = None
    if report.when == "call" and (count := failed_subtests(config, report)):
        data["$failed_subtests"] = count
    if data.get("user_properties"):
        data["user_properties"] = [portable_property(pair) for pair in data["user_properties"]]
    return data, strokes


def ends_phase(payload: Any) -> bool:
    """Whether a phase ends with a report; it goes on after that of a subtest, or of a plugin's own."""
    data, _ = payload
    return "_subtest.context" not in data and data.get("when") in ("setup", "call", "teardown")


def last_teardown(messages: list[tuple[str, Any]]) -> int:
    """Return where the report of a test's teardown is, of its last run if it was run again; -1: nowhere.

    With that one the scopes end that end with the test.
    """
    for position in reversed(range(len(messages))):
        name, payload = messages[position]
        if name == "pytest_runtest_logreport" and payload[0].get("when") == "teardown":
            return position
    return -1


def _decode_report(config: pytest.Config, payload: Any) -> Arguments:
    sent_data, strokes = payload
    data = {**sent_data}  # pytest takes it apart; it is read again where the report changes
    context = data.get("_subtest.context")
    sent = dict(context) if isinstance(context, dict) else None
    count = data.pop("$failed_subtests", 0)
    report = report_from_data(config, data)
    if report is None:
        raise ValueError("it is no report that any plugin knows")
    if report.when == "call":
        note_failed_subtests(config, report, count)
    if isinstance(strokes, list):
        report.longrepr = Painted(strokes)
    if sent is not None:
        restore_subtest(report, sent)
    return {"report": report}


# --- warnings ---------------------------------------------------------------------------------


def _encode_warning(config: pytest.Config, arguments: Arguments) -> object:
    warning = arguments["warning_message"]
    message = warning.message
    return {
        "when": arguments["when"],
        "nodeid": arguments["nodeid"],
        "location": arguments["location"],
        "category": _class_name(warning.category),
        "class": _class_name(type(message)),
        "args": list(getattr(message, "args", ())),
        "text": str(message),
        "filename": warning.filename,
        "lineno": warning.lineno,
        "line": warning.line,
        "has_source": warning.source is not None,
        "is_noted": _is_noted(config, warning),
    }


def _is_noted(config: pytest.Config, warning: warnings.WarningMessage) -> bool:
    """Whether nobody would hear the same warning of the same line once more.

    Python notes it with the line's module, where the filters ask for that, and forgets all notes when
    these change: so it is tried.
    """
    module = _module_of(config, warning.filename)
    message: Any = warning.message  # the types of Python 3.10 ask for a text
    notes = None if module is None else vars(module).setdefault("__warningregistry__", {})
    name = warning.filename if module is None else module.__name__
    heard: list[object] = []
    show = warnings.showwarning
    warnings.showwarning = lambda *args: heard.append(args)
    try:
        place = warning.filename, warning.lineno, name
        warnings.warn_explicit(message, warning.category, *place, registry=notes)
    except Warning:
        return False
    finally:
        warnings.showwarning = show
    return not heard


@functools.cache
def _module_of(config: pytest.Config, filename: str) -> ModuleType | None:
    # One conftest takes another's place among the modules; pytest has them all.
    modules: list[ModuleType] = [*sys.modules.values(), *config.pluginmanager.get_plugins()]
    for module in modules:
        # Not asked for its attribute: there are modules that load something then.
        if issubclass(type(module), ModuleType):
            names = object.__getattribute__(module, "__dict__")
            if names.get("__file__") == filename:
                return module
    return None


def _decode_warning(config: pytest.Config, payload: Any) -> Arguments:
    category = _warning_class(*payload["category"])
    message = _warning(_warning_class(*payload["class"]), payload["args"], payload["text"])
    warning = warnings.WarningMessage(
        message=message,
        category=category,
        filename=payload["filename"],
        lineno=payload["lineno"],
        line=payload["line"],
        source=object()
        if payload["has_source"]
        else None,  # what is printed asks whether there is one
    )
    return {
        "warning_message": warning,
        "when": payload["when"],
        "nodeid": payload["nodeid"],
        "location": payload["location"],
    }


def _class_name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _warning_class(module: str, name: str) -> type[Warning]:
    """Return a class by its name: no module is imported at a child's word."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return type(name.rpartition(".")[2], (Warning,), {"__module__": module, "__qualname__": name})


def _warning(kind: type[Warning], args: list[object], text: str) -> Warning:
    warning = kind.__new__(kind)
    warning.args = tuple(args)
    try:
        if str(warning) == text:
            return warning
    except Exception:
        pass
    told = type(
        kind.__name__, (kind,), {"__module__": kind.__module__, "__str__": lambda self: text}
    )
    told_class: type[Warning] = told
    substitute = told_class.__new__(told_class)
    substitute.args = tuple(args)
    return substitute


# --- the table --------------------------------------------------------------------------------


def _as_it_is(config: pytest.Config, arguments: Any) -> Any:
    return arguments


def _log_location(config: pytest.Config, payload: Any) -> Arguments:
    file, line, name = payload["location"]
    return {"nodeid": payload["nodeid"], "location": (file, line, name)}


TELLING = {
    "pytest_runtest_logstart": Telling(_as_it_is, _log_location),
    "pytest_runtest_logreport": Telling(_encode_report, _decode_report),
    "pytest_runtest_logfinish": Telling(_as_it_is, _log_location),
    "pytest_warning_recorded": Telling(_encode_warning, _decode_warning, historic=True),
}

KEPT_IN_CHILD = ("session", "logging-plugin")
"""Plugins whose telling hooks run in the child too: what they keep steers the running test.

The session counts failures, so that a subtest knows of ``-x``; logging knows what it has shown.
"""

_START = "start of the run, before any fork"
_COLLECTION = "collection, in the pytest process"
_RUNS = "runs the test, in its child"
_ASKS = "asks for an answer where it is needed"
_END = "end of the run, in the pytest process"

LOCAL = {
    **dict.fromkeys(
        (
            "pytest_addhooks",
            "pytest_plugin_registered",
            "pytest_addoption",
            "pytest_configure",
            "pytest_cmdline_parse",
            "pytest_cmdline_preparse",
            "pytest_load_initial_conftests",
            "pytest_cmdline_main",
            "pytest_sessionstart",
            "pytest_report_header",
        ),
        _START,
    ),
    **dict.fromkeys(
        (
            "pytest_collection",
            "pytest_collection_modifyitems",
            "pytest_collection_finish",
            "pytest_ignore_collect",
            "pytest_collect_directory",
            "pytest_collect_file",
            "pytest_collectstart",
            "pytest_itemcollected",
            "pytest_collectreport",
            "pytest_deselected",
            "pytest_make_collect_report",
            "pytest_pycollect_makemodule",
            "pytest_pycollect_makeitem",
            "pytest_generate_tests",
            "pytest_make_parametrize_id",
            "pytest_report_collectionfinish",
        ),
        _COLLECTION,
    ),
    **dict.fromkeys(
        (
            "pytest_runtest_protocol",
            "pytest_runtest_setup",
            "pytest_runtest_call",
            "pytest_runtest_teardown",
            "pytest_runtest_makereport",
            "pytest_pyfunc_call",
            "pytest_fixture_setup",
            "pytest_fixture_post_finalizer",
            "pytest_assertion_pass",
            "pytest_exception_interact",  # it is given the living exception
            "pytest_enter_pdb",
            "pytest_leave_pdb",
        ),
        _RUNS,
    ),
    **dict.fromkeys(
        (
            "pytest_report_to_serializable",
            "pytest_report_from_serializable",
            "pytest_assertrepr_compare",
            "pytest_report_teststatus",
            "pytest_markeval_namespace",
        ),
        _ASKS,
    ),
    **dict.fromkeys(
        (
            "pytest_runtestloop",
            "pytest_sessionfinish",
            "pytest_unconfigure",
            "pytest_terminal_summary",
            "pytest_internalerror",
            "pytest_keyboard_interrupt",
        ),
        _END,
    ),
}
