"""Beside coverage: what children and fork servers run is reported as if they were one process.

In a fork server the collector that the pytest process started is given another sink for its data,
which its children inherit. What it gathers is told: at the end of each phase, before each fork,
and when the process dies, as far as Python can still run (:mod:`..process.last_words`). The pytest
process adds it to its own data. No data file is made, none is combined.

Private names of coverage (checked on 7.0 to 7.17): ``Coverage._collector``, ``_data``,
``_inorout``, ``_auto_save``, ``_warn_*``; ``Collector.covdata``, ``data``, ``flush_data``,
``data_lock``, ``should_trace_cache``; ``CoverageData._current_context``. Of pytest-cov:
``CovPlugin.pid``, and two plugin names.
"""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any

import pytest

from pytest_procrastinate.process.last_words import LastWords

TOLD_AS = "coverage"
OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONTEXTS_HELD = 100  # written to coverage's database together
Tell = Callable[[str, object], None]


def running_coverage() -> Any:
    """Return coverage's object that measures this process, None where there is none."""
    coverage = sys.modules.get("coverage")
    try:
        return coverage.Coverage.current() if coverage is not None else None
    except AttributeError:
        return None


def leave_out_own_files(running: Any) -> None:
    """Keep this package out of a report without ``source``: a plugin that is installed editable is
    nobody's subject, and with ``--forked`` more of it runs."""
    try:
        rules = running._inorout
        if rules.source_match or rules.source_pkgs_match or rules.include_match:
            return
        rules.coverage_match.paths.append(OWN_FOLDER)
        for file, disposition in running._collector.should_trace_cache.items():
            if file.startswith(OWN_FOLDER + os.sep) and disposition is not None:
                disposition.trace = False
        for file, measured in running._collector.data.items():
            if file.startswith(OWN_FOLDER + os.sep):
                measured.clear()
    except AttributeError:  # another coverage than those that were checked
        pass


class Sink:
    """Stands in for a ``CoverageData`` in a fork server and its children: gathers, to be told."""

    def __init__(self, context: str | None, write: Callable[[], None]) -> None:
        self._context = context
        self._gathered: list[tuple[str | None, str, dict[str, object]]] = []
        self.write = write
        """What ``Coverage.save`` ends with, as coverage's ``patch = _exit`` and ``sigterm`` do."""

    def set_context(self, context: str | None) -> str | None:
        """Note who runs what comes next; return who did."""
        before, self._context = self._context, context
        return before

    def add_lines(self, lines: Mapping[str, Collection[int]]) -> None:
        """Take the lines of each file."""
        self._add("lines", {name: array("i", numbers).tobytes() for name, numbers in lines.items()})

    def add_arcs(self, arcs: Mapping[str, Collection[tuple[int, int]]]) -> None:
        """Take the jumps from line to line of each file."""
        flat = {name: [end for arc in pairs for end in arc] for name, pairs in arcs.items()}
        self._add("arcs", {name: array("i", numbers).tobytes() for name, numbers in flat.items()})

    def add_file_tracers(self, tracers: Mapping[str, str]) -> None:
        """Take which plugin of coverage's measures each file."""
        self._add("tracers", dict(tracers))

    def touch_file(self, *_: object) -> None:
        """Leave files that did not run to the pytest process."""

    def touch_files(self, *_: object) -> None:
        """Leave files that did not run to the pytest process."""

    def close(self, force: bool = False) -> None:
        """Do nothing: there is no file."""

    def take(self) -> list[tuple[str | None, str, dict[str, object]]]:
        """Return what was gathered, and forget it."""
        gathered, self._gathered = self._gathered, []
        return gathered

    def _add(self, kind: str, by_file: Mapping[str, object]) -> None:
        if by_file:
            self._gathered.append((self._context, kind, dict(by_file)))


class MergedCoverage:
    """Brings together what the processes of a run have measured; a plugin in all of them.

    :param running: Coverage's object that measures the pytest process.
    """

    def __init__(self, running: Any) -> None:
        self._running = running
        self._tell: Tell | None = None
        self._pid = os.getpid()
        self._held: dict[str | None, dict[tuple[str, str], set[Any]]] = {}
        self._tracers: dict[str, str] = {}
        self._last_words = LastWords(self._flush_in_own_process)
        self._patches: list[str] = []
        leave_out_own_files(running)

    # --- in a fork server and in its children --------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_forked_server_started(self, session: pytest.Session, tell: Tell) -> None:
        """Measure into a sink from now on; forget what the pytest process has measured."""
        self._become(tell, session.config)
        collector = self._running._collector
        if isinstance(collector.covdata, Sink):
            return  # a narrower server
        before = getattr(collector.covdata, "_current_context", None)
        sink = Sink(before, self._flush)
        collector.covdata = self._running._data = sink
        self._running._auto_save = False
        self._running._warn_no_data = self._running._warn_unimported_source = False
        collector.flush_data()
        sink.take()
        leave = os._exit

        def flush_and_leave(status: int) -> None:
            self._flush_in_own_process()
            leave(status)

        os._exit = flush_and_leave  # type: ignore[assignment]
        self._last_words.prepare()

    @pytest.hookimpl(trylast=True)
    def pytest_forked_before_fork(self) -> None:
        """Tell what the server has measured: the child begins with nothing."""
        self._flush()
        self._last_words.make_room()

    @pytest.hookimpl(tryfirst=True)
    def pytest_forked_child_started(self, item: pytest.Item, tell: Tell) -> None:
        """Tell for this test from now on."""
        self._become(tell, item.config)
        self._running.config.patch = self._patches

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self) -> None:
        """Tell what a phase has run: nothing can be told of it when SIGKILL ends the next one."""
        self._flush()

    @pytest.hookimpl(trylast=True)
    def pytest_forked_child_ending(self) -> None:
        """Tell the rest."""
        self._flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_forked_leaving_scopes(self, item: pytest.Item) -> None:
        """Have the teardown of a scope count for its last test, as pytest-cov has it."""
        contexts = item.config.pluginmanager.get_plugin("_cov_contexts")
        if contexts is not None:
            contexts.pytest_runtest_teardown(item=item)

    @pytest.hookimpl(trylast=True)
    def pytest_forked_server_ending(self) -> None:
        """Tell the rest."""
        self._flush()

    def _become(self, tell: Tell, config: pytest.Config) -> None:
        self._tell = tell
        self._pid = os.getpid()
        self._running._collector.data_lock = threading.Lock()  # a thread of the parent may hold it
        own = config.pluginmanager.get_plugin("_cov")
        if own is not None:
            # Before 7, pytest-cov measures anew in each process that is not its own.
            own.pid = self._pid
        other = running_coverage()
        if other is not self._running:  # coverage's `patch = fork` has started another
            if other is not None:
                other._auto_save = False
                other.stop()
            self._running.start()

    def _flush(self) -> None:
        if self._tell is None:
            return
        collector = self._running._collector
        if any(list(collector.data.values())):
            collector.flush_data()
        gathered = collector.covdata.take()
        if gathered:
            self._tell(TOLD_AS, gathered)

    def _flush_in_own_process(self) -> None:
        if os.getpid() == self._pid:  # a fork of the test's own is not for us to tell about
            self._flush()

    # --- in the pytest process -----------------------------------------------------------------

    @pytest.hookimpl
    def pytest_forked_told(self, name: str, payload: object) -> None:
        """Take what another process has measured."""
        if name != TOLD_AS or not isinstance(payload, list):
            return
        for record in payload:
            match record:
                case (str() | None as context, "lines" | "arcs" as kind, dict(by_file)):
                    self._hold(context, kind, by_file)
                case (_, "tracers", dict(tracers)):
                    self._tracers |= {str(file): str(plugin) for file, plugin in tracers.items()}
        if len(self._held) > CONTEXTS_HELD:
            self._write()

    def _hold(self, context: str | None, kind: str, by_file: dict[Any, Any]) -> None:
        held = self._held.setdefault(context, {})
        for file, data in by_file.items():
            if isinstance(file, str) and isinstance(data, bytes) and len(data) % 4 == 0:
                numbers = array("i", data)
                known = held.setdefault((kind, file), set())
                if kind == "lines":
                    known.update(numbers)
                else:
                    known.update(zip(numbers[::2], numbers[1::2], strict=False))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Add it all to coverage's own data, before pytest-cov reports."""
        leave_out_own_files(self._running)  # once more: what ran until the first time is there
        # With `patch = fork` a copy starts in each fork; patched as well, they would multiply.
        config = self._running.config
        self._patches = list(getattr(config, "patch", ()))
        config.patch = []
        try:
            return (yield)
        finally:
            if self._tell is None:
                config.patch = self._patches
                self._write()

    def _write(self) -> None:
        data = self._running._collector.covdata
        before = getattr(data, "_current_context", None)
        for context, held in self._held.items():
            data.set_context(context)
            lines = {file: numbers for (kind, file), numbers in held.items() if kind == "lines"}
            arcs = {file: pairs for (kind, file), pairs in held.items() if kind == "arcs"}
            if lines:
                data.add_lines(lines)
            if arcs:
                data.add_arcs(arcs)
        if self._tracers:
            data.add_file_tracers(self._tracers)
        data.set_context(before)
        self._held.clear()
        self._tracers.clear()
