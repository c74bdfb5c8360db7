"""Catch the hooks that tell, in the child, and send them to the pytest process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_procrastinate.child.files import Page
from pytest_procrastinate.child.streams import flush_output
from pytest_procrastinate.messages import KEPT_IN_CHILD, TELLING, ends_phase
from pytest_procrastinate.portable import REPEATING, Repeated, pack, portable_property
from pytest_procrastinate.process.child import Channel
from pytest_procrastinate.process.frames import FrameError
from pytest_procrastinate.pytest_private import (
    before_capture_is_disabled,
    cut_own_frames,
    divert_hook,
    divert_terminal,
    take_junit_notes,
)

SHOW = pack("show", None)
TOO_LARGE = "[left out: more than one message can hold]"


class Teller:
    """Sends what is told: in one write at the end, or shown at once (live).

    What waits for that write lies in the shared page, where a crash does not reach it. A fork
    server makes the teller, before there is a child; :meth:`speak_for` tells whose word it is.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._channel: Channel | None = None
        self._page: Page | None = None
        self._live = False
        self._collected: list[bytes] | None = None
        self._repeated = Repeated()
        self.failed = False
        """Whether a report of this test failed."""
        self._last: tuple[Any, str] | None = None  # what failed last, and how that was told
        config.pluginmanager.register(self, "forked-teller")
        for name in TELLING:
            divert_hook(config, name, self._receiver(name), keep=KEPT_IN_CHILD)
        divert_terminal(config, self._write)
        before_capture_is_disabled(config, self.show)

    def speak_for(self, channel: Channel, page: Page, *, live: bool) -> None:
        """Send to this channel from now on."""
        self._channel, self._page, self._live = channel, page, live
        self._repeated = Repeated()
        self.failed = False

    def end(self) -> None:
        """Tell that all is told of a test, and of which. Nothing more is shown, so nothing is waited for."""
        self._live = False
        self.tell("done", None if self._page is None else self._page.turn)
        self.flush()

    def wait_for_verdict(self) -> None:
        """Return once it is decided whether the run stops with this test.

        While this process is there, its fork server begins nothing that comes after.
        """
        if self._channel is not None and self._channel.is_ours():
            self._channel.wait()

    def warm_up(self) -> None:
        """Tell a made-up report to nobody: what Python caches meanwhile, children need not write."""
        report = pytest.TestReport("", ("", 0, ""), {}, "passed", None, "setup")
        with self.collecting():
            for _ in range(3):
                self._config.hook.pytest_runtest_logreport(report=report)

    def move_to(self, channel: Channel) -> None:
        """Speak for the same test by another descriptor, in the child that goes on with it."""
        self._channel = channel

    def mute(self) -> None:
        """Speak for nobody: a child does."""
        self._channel = self._page = None

    @contextlib.contextmanager
    def collecting(self) -> Iterator[list[bytes]]:
        """Collect what is told, as frames, in place of sending it."""
        collected: list[bytes] = []
        self._collected = collected
        self._repeated = Repeated()
        try:
            yield collected
        finally:
            self._collected = None
            self._repeated = Repeated()

    def tell(self, name: str, payload: object) -> None:
        """Tell one thing; what is too large for a message is cut.

        :raises OSError: The channel is no longer ours.
        """
        if self._collected is None and not self._speaks():
            return
        try:
            frame = pack(name, payload)
        except FrameError:
            frame = pack(name, _cut(payload))
        if self._collected is not None:
            self._collected.append(frame)
            return
        assert self._page is not None
        assert self._channel is not None
        if not self._page.add(frame):
            self.flush()
            if not self._page.add(frame):
                self._channel.send(frame)
        if self._live:
            self.show()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_exception_interact(self, report: Any) -> Iterator[None]:
        """Tell a failed report again that a hook has changed since it was told."""
        result = yield
        if self._last is not None and self._last[0] is report:
            now = TELLING["pytest_runtest_logreport"].encode(self._config, {"report": report})
            if repr(now) != self._last[1]:
                self.tell("changed", now)
        return result

    def show(self) -> None:
        """Return when all that was told is shown: this process writes to the terminal next.

        Where several tests run at once and it is not this one's turn, it is not waited for.
        """
        if self._channel is not None and self._speaks():
            self.flush()
            self._channel.send(SHOW)
            self._channel.wait()

    def _write(self, text: str | None) -> None:
        """Have something written to the terminal, in order with what this process writes there."""
        flush_output(lambda: None)
        self.tell("terminal", text)
        if not self._live:
            self.show()

    def _speaks(self) -> bool:
        """Whether this process tells: no fork server for itself, no process that a test forked."""
        return self._page is not None and self._page.is_ours()

    def flush(self) -> None:
        """Send all that waits."""
        if not self._speaks():
            return
        assert self._page is not None
        assert self._channel is not None
        frames = self._page.read()[-1]
        if frames:
            self._channel.send(frames)
            self._page.sent()

    def _receiver(self, name: str) -> Any:
        encode = TELLING[name].encode
        is_report, repeats = name == "pytest_runtest_logreport", name in REPEATING

        def receive(arguments: dict[str, Any]) -> None:
            if is_report:
                self.failed = self.failed or arguments["report"].failed
                notes = take_junit_notes(self._config)
                if notes is not None:
                    self.tell("junit", notes)
            payload = encode(self._config, arguments)
            if is_report and arguments["report"].failed:
                self._last = arguments["report"], repr(payload)  # a copy: they share their lists
            self.tell(name, self._repeated.leave_out(payload) if repeats else payload)
            if is_report and self._page is not None and ends_phase(payload):
                self._page.enter("")

        return receive


class ToldProperties(list[tuple[str, object]]):
    """``item.user_properties`` of a running test: kept by the parent as well, should the test die."""

    def __init__(self, teller: Teller, properties: list[tuple[str, object]]) -> None:
        super().__init__(properties)
        self._teller = teller

    def append(self, pair: tuple[str, object]) -> None:
        """Record one."""
        super().append(pair)
        self._teller.tell("property", portable_property(pair))


def tell_what_is_noted(teller: Teller, item: pytest.Item) -> None:
    """Tell of properties and xfail marks that a test gives itself as it runs: a crash needs them."""
    item.user_properties = ToldProperties(teller, item.user_properties)
    add_marker = item.add_marker

    def add_and_tell(marker: Any, append: bool = True) -> None:
        add_marker(marker, append)
        mark = getattr(marker, "mark", None)
        if mark is not None and mark.name == "xfail" and "raises" not in mark.kwargs:
            teller.tell("xfail", (mark.args, mark.kwargs))

    item.add_marker = add_and_tell  # type: ignore[method-assign]


class PhaseMarker:
    """Notes in the shared page which phase begins; a plugin."""

    def __init__(self) -> None:
        self.page: Page | None = None

    def _enter(self, phase: str) -> Iterator[None]:
        if self.page is not None:
            self.page.enter(phase)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        return (yield from self._enter("setup"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        return (yield from self._enter("call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        return (yield from self._enter("teardown"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[None]:
        if call.excinfo is not None:
            cut_own_frames(call.excinfo.value)
        return (yield)


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 1 << 20:
        return f"{value[: 1 << 20]}\n{TOO_LARGE}"
    if isinstance(value, (list, tuple)):
        return type(value)(_cut(each) for each in value)
    if isinstance(value, dict):
        return {key: _cut(each) for key, each in value.items()}
    return value
