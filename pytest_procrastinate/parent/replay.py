"""Tell pytest what a child told: messages back into calls of pytest's own hooks."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_procrastinate.messages import TELLING, last_teardown
from pytest_procrastinate.options import AT_END
from pytest_procrastinate.pytest_private import (
    add_junit_notes,
    add_to_longrepr,
    begin_line,
    check_junit_notes,
    expected_to_fail,
    write_to_terminal,
)

REPORT, WARNING = "pytest_runtest_logreport", "pytest_warning_recorded"
CHANGED = "changed"  # the report told last: by ``pytest_exception_interact``
MOST_LINES = 1 << 24  # of a file in which a KeyboardInterrupt was raised
LAST_TOLD = pytest.StashKey[pytest.TestReport]()
CAPTURED_LAST = tuple(f"Captured {kind} teardown" for kind in ("stdout", "stderr", "log"))
"""The sections that pytest adds as a teardown ends, in its order."""


class ChildInternalError(Exception):
    """An exception left the item's protocol in its child: pytest's ``INTERNALERROR``."""


class NonsenseError(ValueError):
    """A message makes no sense: nothing of it can be told.

    :ivar told: Those that were told before it.
    """

    told: list[tuple[str, Any]] = []  # noqa: RUF012  # none, where there was but one


def replay(item: pytest.Item | pytest.Session, name: str, payload: Any) -> None:
    """Tell one message of a test, or of what a session leaves at its end.

    :raises NonsenseError: It makes no sense.
    :raises pytest.exit.Exception: The test or a hook called :func:`pytest.exit`.
    :raises KeyboardInterrupt: It was raised in the child.
    :raises ChildInternalError: The protocol failed in the child.
    """
    arguments = _understand(item.config, name, payload)
    telling = TELLING.get(name)
    if telling is not None:
        if name == REPORT:
            item.stash[LAST_TOLD] = arguments["report"]
        hook = getattr(item.ihook, name)
        if telling.historic:
            hook.call_historic(kwargs=arguments)
        else:
            hook(**arguments)
    elif name == "junit":
        add_junit_notes(item.config, arguments)
    elif name == "terminal" and payload is None:
        begin_line(item.config)
    elif name == "terminal":
        with write_to_terminal(item.config) as writer:
            if writer is not None:
                writer.write(payload, flush=True)
    elif name == "told":
        name, payload = payload
        item.ihook.pytest_forked_told(config=item.config, name=name, payload=payload)
    elif name == "stop":
        stop, fail = payload
        item.session.shouldstop = item.session.shouldstop or stop
        item.session.shouldfail = item.session.shouldfail or fail
    elif name == "raised":
        raise_told(payload)
    elif name == "at_end":
        item.config.stash.setdefault(AT_END, payload)  # the first is what a plain run would raise


def _understand(config: pytest.Config, name: str, payload: Any) -> dict[str, Any]:
    """Return the arguments of a hook that is told, or what else of it is to be told. Only looks.

    :raises NonsenseError: It makes no sense; the child may have been out of its mind.
    """
    try:
        if name in TELLING or name == CHANGED:
            return TELLING[REPORT if name == CHANGED else name].decode(config, payload)
        match name, payload:
            case ("junit", _):
                return check_junit_notes(payload)
            case (
                ("terminal", str() | None)
                | ("told", (str(), _))
                | ("stop", (str() | bool(), str() | bool()))
                | ("raised" | "at_end", ("exit", str(), int(), str(), int() | None))
                | ("raised" | "at_end", ("error", str(), int(), str(), str()))
            ):
                pass
            case ("raised" | "at_end", ("interrupt", str(path), int(line), str())) if (
                "\0" not in path and line <= MOST_LINES
            ):
                pass
            case _:
                raise ValueError(f"nobody says {reprlib.repr(payload)}")
    except Exception as error:
        raise NonsenseError(f"{name}: {type(error).__name__}: {error}") from error
    return {}


def replay_all(
    item: pytest.Item, messages: list[tuple[str, Any]], scope_messages: list[tuple[str, Any]]
) -> None:
    """Tell messages in order, the report of scopes that ended merged into the test's own.

    :param scope_messages: See :func:`tell_teardown`.
    :raises BaseException: As :func:`replay`.
    """
    last = last_teardown(messages)
    for position, (name, payload) in enumerate(messages):
        try:
            if position == last:
                report = _understand(item.config, name, payload)["report"]
                tell_teardown(item, report, scope_messages)
            elif name == CHANGED:
                report = _understand(item.config, name, payload)["report"]
                _change_last(item, report, scope_messages if position > last else [])
            else:
                replay(item, name, payload)
        except NonsenseError as error:
            error.told = messages[:position]
            raise


def tell_teardown(
    item: pytest.Item, report: pytest.TestReport, scope_messages: list[tuple[str, Any]]
) -> None:
    """Tell the report of a test's teardown, with that of the scopes that ended with the test.

    Plain pytest tears both down in one phase, with one report.

    :param scope_messages: Of these, what was written to the terminal comes before that report, and is
        taken out.
    """
    written = [told for told in scope_messages if told[0] == "terminal"]
    scope_messages[:] = [told for told in scope_messages if told[0] != "terminal"]
    for name, payload in written:
        replay(item, name, payload)
    for of_scopes in _reports(item, scope_messages):
        _merge(report, of_scopes)
    item.stash[LAST_TOLD] = report
    item.ihook.pytest_runtest_logreport(report=report)


def _change_last(
    item: pytest.Item, report: pytest.TestReport, scope_messages: list[tuple[str, Any]]
) -> None:
    """Make the report that was told last what it has become since: who keeps it shows it so."""
    last: Any = item.stash.get(LAST_TOLD, None)
    if type(last) is not type(report) or last.when != report.when:
        raise NonsenseError("a report has changed that was not told")
    if report.when == "teardown":
        for of_scopes in _reports(item, scope_messages):
            _merge(report, of_scopes)
    vars(last).update(vars(report))


def tell_after_scopes(
    item: pytest.Item, scope_messages: list[tuple[str, Any]], warned: list[Any]
) -> None:
    """Tell what else is known of the scopes that ended with a test, after the test.

    :param warned: The payload of each warning told of the test. Plain pytest records those of a test
        and of its scopes together: the same one of the same line is mostly heard once.
    :raises BaseException: What a scope raised, all else told.
    """
    for name, payload in sorted(scope_messages, key=lambda told: told[0] == "raised"):
        if name == WARNING:
            if {**payload, "is_noted": True} in warned:
                continue
            warned = [*warned, payload]
        if name != REPORT:
            replay(item, name, payload)


def tell_failed_scopes(item: pytest.Item, scope_messages: list[tuple[str, Any]]) -> None:
    """Tell that the scopes that ended with a test failed to, where its own teardown has no report."""
    failed = [report for report in _reports(item, scope_messages) if report.failed]
    if failed:
        for report in failed[1:]:
            _merge(failed[0], report)
        item.ihook.pytest_runtest_logreport(report=failed[0])


def _reports(item: pytest.Item, messages: list[tuple[str, Any]]) -> Iterator[pytest.TestReport]:
    for name, payload in messages:
        if name == REPORT:
            yield TELLING[name].decode(item.config, payload)["report"]


def _merge(report: pytest.TestReport, scopes: pytest.TestReport) -> None:
    report.sections = _merge_sections(report.sections, scopes.sections)
    report.duration += scopes.duration
    report.stop = scopes.stop
    if report.passed or (report.skipped and scopes.failed):
        vars(report).pop("wasxfail", None)
        report.outcome, report.longrepr = scopes.outcome, scopes.longrepr
        if hasattr(scopes, "wasxfail"):
            report.wasxfail = scopes.wasxfail
    elif scopes.failed:
        add_to_longrepr(report, "Teardown of its scopes", scopes.longreprtext)


def fail_for(left: list[str], messages: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the messages of a test with its teardown failed for what the test left."""
    text = f"left behind: {', '.join(left)} (--forked-leaks=fail)"
    told = list(messages)
    last = last_teardown(messages)
    for position, (name, payload) in enumerate(told[last:], last) if last >= 0 else ():
        if name in (REPORT, CHANGED) and payload[0].get("when") == "teardown":
            data, strokes = payload
            if data["outcome"] == "failed":
                data = {**data, "sections": [*data["sections"], ("Leftovers", text)]}
            else:
                data, strokes = {**data, "outcome": "failed", "longrepr": text}, None
            told[position] = name, (data, strokes)
    return told


def expect_failure(
    item: pytest.Item, scope_messages: list[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """Return the messages of scopes, what failed told as expected if an xfail mark of the item says so.

    For the marks that a test gave itself as it ran: the fork server knows of the others.
    """
    told = list(scope_messages)
    for position, (name, payload) in enumerate(told):
        if name == REPORT and payload[0]["outcome"] == "failed":
            # A mark that names what it expects was there before, and this is something else.
            reason = expected_to_fail(item, BaseException(), "teardown")
            if reason is not None:
                data, strokes = payload
                told[position] = name, ({**data, "outcome": "skipped", "wasxfail": reason}, strokes)
    return told


def _merge_sections(
    own: list[tuple[str, str]], scope: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    sections = [(name, text) for name, text in own]
    for name, text in scope:
        names = [each for each, _ in sections]
        if name in names:
            joint = "\n" if name.startswith("Captured log") else ""
            position = names.index(name)
            sections[position] = name, sections[position][1] + joint + text
        else:
            later = CAPTURED_LAST[CAPTURED_LAST.index(name) :] if name in CAPTURED_LAST else ()
            positions = [names.index(each) for each in later if each in names]
            sections.insert(min(positions, default=len(names)), (name, text))
    return sections


def raise_told(told: tuple[Any, ...]) -> None:
    """Raise what another process has raised.

    :param told: As :func:`.told_exception` made it.
    :raises BaseException: See :func:`replay`.
    """
    kind, path, line, *details = told
    if kind == "exit":
        message, status = details
        raise pytest.exit.Exception(message, status)
    if kind == "interrupt":
        # The summary names the place of the exception: it must be where the child raised it.
        (text,) = details
        raised = f"raise KeyboardInterrupt({text!r})" if text else "raise KeyboardInterrupt"
        exec(compile("\n" * (line - 1) + raised, path, "exec"))
    summary, text = details
    raise ChildInternalError(f"{summary}\nin the child, at {path}:{line}\n{text}")
