"""Every private name of pytest and pluggy that we use, in one room.

Each function says what is private in it. Checked on pytest 8.0.2, 8.4.2 and 9.2.0 and on pluggy
1.3 to 1.7; ``tests/pytest_private`` have a test for each.
"""

from _pytest._code.code import TerminalRepr

from pytest_procrastinate.pytest_private.fixtures import (
    NO_PARAMETER,
    asked_for,
    fixtures_of,
    forget_result,
    is_set_up,
    needs_fixture,
    parameter_index,
    scope_of,
    set_up_now,
    unit_node,
)
from pytest_procrastinate.pytest_private.hooks import (
    OUTCOMES,
    cut_own_frames,
    divert_hook,
    has_other_listeners,
)
from pytest_procrastinate.pytest_private.marks import (
    condition_holds,
    expected_to_fail,
    may_skip,
)
from pytest_procrastinate.pytest_private.output import (
    CaptureFiles,
    HeldCapture,
    LogFile,
    arm_faulthandler_timeout,
    before_capture_is_disabled,
    divert_terminal,
    is_live,
    make_base_temp,
    write_to_terminal,
)
from pytest_procrastinate.pytest_private.reports import (
    Painted,
    add_junit_notes,
    crash_repr,
    failed_subtests,
    is_paintable,
    note_failed_subtests,
    paint,
    restore_subtest,
    take_junit_notes,
)
from pytest_procrastinate.pytest_private.set_up import (
    Inherited,
    anything_to_tear_down,
    anything_within,
    leave_item,
    needs_set_up,
    on_set_up,
    pop_scopes,
    repeat_registrations,
    stack_of,
    tear_down_all,
    tear_down_scopes,
    tears_down_all_as_it_stops,
)

__all__ = [
    "NO_PARAMETER",
    "OUTCOMES",
    "CaptureFiles",
    "HeldCapture",
    "Inherited",
    "LogFile",
    "Painted",
    "TerminalRepr",
    "add_junit_notes",
    "anything_to_tear_down",
    "anything_within",
    "arm_faulthandler_timeout",
    "asked_for",
    "before_capture_is_disabled",
    "condition_holds",
    "crash_repr",
    "cut_own_frames",
    "divert_hook",
    "divert_terminal",
    "expected_to_fail",
    "failed_subtests",
    "fixtures_of",
    "forget_result",
    "has_other_listeners",
    "is_live",
    "is_paintable",
    "is_set_up",
    "leave_item",
    "make_base_temp",
    "may_skip",
    "needs_fixture",
    "needs_set_up",
    "note_failed_subtests",
    "on_set_up",
    "paint",
    "parameter_index",
    "pop_scopes",
    "repeat_registrations",
    "restore_subtest",
    "scope_of",
    "set_up_now",
    "stack_of",
    "take_junit_notes",
    "tear_down_all",
    "tear_down_scopes",
    "tears_down_all_as_it_stops",
    "unit_node",
    "write_to_terminal",
]
