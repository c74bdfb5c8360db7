"""Captured output, logs, the terminal, temporary folders."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _pytest._io.wcwidth import wcswidth
from _pytest.capture import CaptureFixture
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.terminal import TerminalReporter

from pytest_procrastinate.process.unpatched import os

MOST_CAPTURED_BYTES = 128 << 20  # told of one phase: half of what a message can hold


class _Mirror(io.BytesIO):
    """The buffer of ``--capture=sys`` that a parent can read when its process is dead."""

    descriptor = -1

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            os.write(self.descriptor, data)
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)
        return super().truncate(size)


class CaptureFiles:
    """Has pytest's capture write into files of ours.

    ``CaptureManager._global_capturing.out.tmpfile``: at each phase pytest points descriptors 1
    and 2 at that file anew, so it is the file that is changed.
    """

    def __init__(self, config: pytest.Config) -> None:
        manager: Any = config.pluginmanager.get_plugin("capturemanager")
        self._take(getattr(manager, "_global_capturing", None))

    def _take(self, capturing: Any) -> None:
        captures: list[Any] = [getattr(capturing, name, None) for name in ("out", "err")]
        self._captures = [c for c in captures if getattr(c, "tmpfile", None) is not None]
        for capture in self._captures:
            if isinstance(getattr(capture.tmpfile, "buffer", None), io.BytesIO):
                io.TextIOWrapper.__init__(
                    capture.tmpfile, _Mirror(), encoding="UTF-8", newline="", write_through=True
                )
            else:
                capture.tmpfile.read = functools.partial(_read_end, capture.tmpfile)

    def point_at(self, out: int, err: int) -> None:
        """Write into these from now on."""
        for capture, descriptor in zip(self._captures, (out, err), strict=False):
            if isinstance(capture.tmpfile.buffer, _Mirror):
                capture.tmpfile.buffer.descriptor = descriptor
                continue
            os.dup2(descriptor, capture.tmpfile.fileno(), inheritable=False)
            if capture._state == "started":
                os.dup2(descriptor, capture.targetfd)


def _read_end(file: io.TextIOWrapper) -> str:
    """Return what was captured; of more than any memory may hold the end."""
    left_out = os.fstat(file.fileno()).st_size - MOST_CAPTURED_BYTES
    if left_out <= 0:
        return io.TextIOWrapper.read(file)
    file.seek(left_out)
    return f"[left out: the first {left_out} bytes]\n{io.TextIOWrapper.read(file)}"


class HeldCapture(CaptureFiles):
    """Has the capture of a test's ``capsys`` or ``capfd`` write into files of ours.

    ``CaptureFixture._start``, ``CaptureFixture._capture``: what they hold when a test dies is in
    no other file.
    """

    def __init__(self) -> None:
        self.descriptors = (-1, -1)
        held, start = self, CaptureFixture._start

        def start_ours(fixture: CaptureFixture[Any]) -> None:
            begins = fixture._capture is None
            start(fixture)
            if begins:
                held._take(fixture._capture)
                held.point_at(*held.descriptors)

        CaptureFixture._start = start_ours  # type: ignore[assignment, method-assign]


class LogFile:
    """Has the log that goes into reports written into a file as well.

    ``LoggingPlugin.report_handler`` keeps it in memory, in its ``stream``; its ``reset`` begins a
    phase, with a new one. What stands there is copied: to format a record again may do something.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.descriptor = -1
        plugin = config.pluginmanager.get_plugin("logging-plugin")
        handler: Any = getattr(plugin, "report_handler", None)
        self._handler = handler
        self._stream, self._copied = None, 0
        self._is_empty = True
        if handler is not None:
            self._emit, self._reset = handler.emit, handler.reset
            handler.emit, handler.reset = self.emit, self.reset

    def emit(self, record: Any) -> None:
        """Take one record."""
        self._emit(record)
        stream = self._handler.stream
        if stream is not self._stream:
            self._stream, self._copied = stream, 0
        stream.seek(self._copied)
        text = stream.read()
        self._copied = stream.tell()
        self._is_empty = False
        with contextlib.suppress(OSError):
            os.write(self.descriptor, text.encode("utf-8", "replace"))

    def reset(self) -> None:
        """Start over."""
        self._reset()
        if self._is_empty:
            return
        self._is_empty = True
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)


def _faulthandler_timeout(config: pytest.Config) -> tuple[int, float]:
    """Return where pytest's watchdog writes to, and after how many seconds; 0: it does not."""
    file = config.stash.get(fault_handler_stderr_fd_key, None)
    if file is None:  # -p no:faulthandler
        return -1, 0.0
    return file, float(config.getini("faulthandler_timeout") or 0.0)


def arm_faulthandler_timeout(config: pytest.Config) -> None:
    """Arm the watchdog of the ini ``faulthandler_timeout``, as pytest does around a protocol."""
    file, timeout = _faulthandler_timeout(config)
    if timeout > 0:
        names: Any = config._parser._inidict
        leaves = "faulthandler_exit_on_timeout"
        ends = bool(config.getini(leaves)) if leaves in names else False
        faulthandler.dump_traceback_later(timeout, file=file, exit=ends)


def before_capture_is_disabled(config: pytest.Config, call: Callable[[], None]) -> None:
    """Have a function called before a test writes past the capture, as ``capsys.disabled()`` does.

    ``CaptureManager.global_and_fixture_disabled``; a debugger has ``suspend_global_capture`` let go
    of stdin as well.
    """
    manager: Any = config.pluginmanager.get_plugin("capturemanager")
    if manager is None:
        return
    disabled, suspend = manager.global_and_fixture_disabled, manager.suspend_global_capture

    def call_first() -> Any:
        call()
        return disabled()

    def suspend_after_call(in_: bool = False) -> None:
        if in_ is True:  # pytest-timeout gives an item
            call()
        suspend(in_)

    manager.global_and_fixture_disabled = call_first
    manager.suspend_global_capture = suspend_after_call


def is_live(config: pytest.Config) -> bool:
    """Whether tests write to the terminal while they run (``-s``, live logs, ``--setup-show``)."""
    options = config.option
    logging_plugin = config.pluginmanager.get_plugin("logging-plugin")
    return (
        getattr(options, "capture", "no") in ("no", "tee-sys")
        or bool(getattr(options, "setupshow", False))
        or bool(logging_plugin is not None and logging_plugin._log_cli_enabled())
    )


_SHOWN = ("_first_record_emitted", "_section_name_shown", "_test_outcome_written")


def _live_log_handler(config: pytest.Config) -> Any:
    """``LoggingPlugin.log_cli_handler``, None where there are no live logs."""
    handler = getattr(config.pluginmanager.get_plugin("logging-plugin"), "log_cli_handler", None)
    return handler if all(hasattr(handler, name) for name in _SHOWN) else None


def live_log_shown(config: pytest.Config) -> int:
    """Return what live logs have shown of a test, for who goes on with its teardown."""
    handler = _live_log_handler(config)
    return sum(bool(getattr(handler, name, False)) << bit for bit, name in enumerate(_SHOWN))


@contextlib.contextmanager
def live_log_going_on(config: pytest.Config, shown: int) -> Iterator[None]:
    """Have live logs go on in a teardown of which that was shown in another process.

    ``set_when`` is shadowed: it would begin another phase.
    """
    handler = _live_log_handler(config)
    if handler is None:
        yield
        return
    handler.set_when("teardown")
    for bit, name in enumerate(_SHOWN):
        setattr(handler, name, bool(shown >> bit & 1))
    handler.set_when = lambda when: None
    try:
        yield
    finally:
        del handler.set_when


def may_write_to_terminal(config: pytest.Config) -> bool:
    """Whether a test, its debugger or its watchdog may write to the terminal without our knowing.

    With ``--capture=sys`` a test's descriptors are the terminal's.
    """
    options = config.option
    return (
        is_live(config)
        or options.capture == "sys"
        or any(getattr(options, name, False) for name in ("usepdb", "trace"))
        or _faulthandler_timeout(config)[1] > 0
    )


class _TerminalText(io.TextIOBase):
    """Stands in for the terminal's file: what is written goes to ``tell``."""

    encoding = "utf-8"

    def __init__(self, tell: Callable[[str], None], file: Any) -> None:
        self._tell = tell
        self._file = file

    def write(self, text: str) -> int:
        self._tell(text)
        return len(text)

    def isatty(self) -> bool:
        return bool(self._file.isatty())

    def fileno(self) -> int:
        return int(self._file.fileno())


def divert_terminal(config: pytest.Config, tell: Callable[[str | None], None]) -> None:
    """Have what this process writes by pytest's terminal reporter go to ``tell``.

    ``TerminalReporter._tw._file``: only the pytest process knows where the cursor is. So None is told
    where ``TerminalReporter.ensure_newline`` begins a line, for :func:`begin_line`.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw._file = _TerminalText(tell, reporter._tw._file)
        reporter.ensure_newline = functools.partial(tell, None)


def begin_line(config: pytest.Config) -> None:
    """Begin a line on the terminal, unless it is at the beginning of one."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(reporter, TerminalReporter):
        reporter.ensure_newline()


@contextlib.contextmanager
def write_to_terminal(config: pytest.Config) -> Iterator[Any]:
    """Give the terminal's writer, None where there is no terminal reporter."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    yield None if reporter is None else reporter._tw


def terminal_file(config: pytest.Config) -> Any:
    """Return the file to which pytest's own reporter writes (``TerminalReporter._tw._file``).

    None where that is no terminal, or where somebody else's reporter (pytest-sugar) draws.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if type(reporter) is not TerminalReporter:
        return None
    file = reporter._tw._file
    return file if file.isatty() else None


def text_width(text: str) -> int:
    """Return how many columns of a terminal a text takes (``_pytest._io.wcwidth``)."""
    return wcswidth(text)


def make_base_temp(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make the base of ``tmp_path`` once, where a test may ask for it.

    Each child would make its own, and remove those of others (``config._tmp_path_factory``).
    """
    factory = getattr(config, "_tmp_path_factory", None)
    askers = {"tmp_path_factory", "tmpdir_factory", "request"}
    if factory is not None and any(
        not askers.isdisjoint(getattr(item, "fixturenames", ())) for item in items
    ):
        factory.getbasetemp()
