"""As test_set_up.py: hooks, capture, logging and the terminal."""

from __future__ import annotations

import faulthandler
import io
import os
import traceback

import pluggy
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

import pytest_procrastinate
from pytest_procrastinate import pytest_private as private


@pytest.fixture
def config(pytester):
    return pytester.parseconfigure()


# --- hooks ------------------------------------------------------------------------------------


def frames(error):
    return [entry.name for entry in traceback.extract_tb(error.__traceback__)]


def ours(name, source):
    """Define a function whose file is one of ours."""
    path = os.path.join(os.path.dirname(pytest_procrastinate.__file__), "child", "made_up.py")
    defined = {}
    exec(compile(source, path, "exec"), defined)
    return defined[name]


def test_cut_own_frames_leaves_only_others_in_all_tracebacks():
    passing_on = ours("passing_on", "def passing_on(call): call()")

    def raises():
        raise ValueError

    def raises_from():
        try:
            passing_on(raises)
        except ValueError as error:
            raise KeyError from error

    with pytest.raises(KeyError) as info:
        passing_on(raises_from)
    error = info.value
    assert "passing_on" in frames(error)

    private.cut_own_frames(error)

    assert frames(error)[-1:] == ["raises_from"]
    assert frames(error.__cause__) == ["raises_from", "raises"]
    assert "passing_on" not in frames(error)


def test_cut_own_frames_leaves_what_pluggy_shows_without_our_wrappers():
    spec, impl = pluggy.HookspecMarker("it"), pluggy.HookimplMarker("it")

    class Specs:
        @spec
        def call(self): ...

    class Raises:
        @impl
        def call(self):
            raise ValueError("told")

    class Wraps:
        @impl(wrapper=True)
        def call(self):
            return (yield)

    wrapper = ours(
        "wrapper",
        "def inner(self): return (yield)\ndef wrapper(self): return (yield from inner(self))",
    )
    ours_wraps = type("Ours", (), {"call": impl(wrapper=True)(wrapper)})
    found = []
    for plugins in ((Raises(), Wraps()), (Raises(), ours_wraps(), Wraps())):
        manager = pluggy.PluginManager("it")
        manager.add_hookspecs(Specs)
        for plugin in plugins:
            manager.register(plugin)
        with pytest.raises(ValueError, match="told") as info:
            manager.hook.call()
        private.cut_own_frames(info.value)
        found.append(frames(info.value)[1:])
    assert found[0] == found[1]


def test_has_other_listeners_finds_a_plugin_that_is_not_pytests(config):
    names = ["pytest_runtest_logreport"]
    assert not private.has_other_listeners(config, names)

    class Listener:
        def pytest_runtest_logreport(self, report): ...

    config.pluginmanager.register(Listener())

    assert private.has_other_listeners(config, names)
    assert not private.has_other_listeners(config, ["pytest_runtest_logstart"])


def test_hook_machinery_holds_each_caller_and_what_implements_it(config):
    class Plugin:
        def pytest_runtest_logreport(self, report): ...

        @pytest.hookimpl(optionalhook=True)
        def pytest_that_nobody_specifies(self): ...

    plugin = Plugin()
    config.pluginmanager.register(plugin, "new")
    found = private.hook_machinery(config)

    assert config.hook.pytest_runtest_logreport in found
    assert config.hook.pytest_runtest_protocol in found
    assert any(getattr(each, "plugin", None) is plugin for each in found)
    assert any(each == plugin.pytest_runtest_logreport for each in found)


def test_divert_hook_calls_us_and_those_kept(config):
    called, received = [], []

    class Plugin:
        def __init__(self, name):
            self.name = name

        def pytest_runtest_logstart(self, nodeid, location):
            called.append(self.name)

    for name in ("kept", "left out"):
        config.pluginmanager.register(Plugin(name), name)
    private.divert_hook(config, "pytest_runtest_logstart", received.append, ["kept"])

    config.hook.pytest_runtest_logstart(nodeid="a", location=("b", 1, "c"))

    assert received == [{"nodeid": "a", "location": ("b", 1, "c")}]
    assert called == ["kept"]


# --- capture, logging, the terminal -----------------------------------------------------------


@pytest.mark.parametrize("method", ["fd", "sys", "no"])
def test_capture_files_catch_what_a_test_writes(pytester, method):
    pytester.makepyfile(
        """
        import os, sys
        from pytest_procrastinate import pytest_private as private

        def test_it(pytestconfig):
            files = [os.open(name, os.O_RDWR | os.O_CREAT) for name in ("out", "err")]
            private.CaptureFiles(pytestconfig).point_at(*files)
            print("to stdout")
            print("to stderr", file=sys.stderr)
            os.write(1, b"by descriptor")
            sys.stdout.flush()
            os._exit(0)
        """
    )

    pytester.runpytest_subprocess(f"--capture={method}", timeout=60)

    out, err = ((pytester.path / name).read_text() for name in ("out", "err"))
    assert ("to stdout" in out, "to stderr" in err) == (method != "no",) * 2
    assert ("by descriptor" in out) == (method == "fd")


def test_log_file_gets_what_goes_into_reports(pytester):
    pytester.makepyfile(
        """
        import logging, os
        from pytest_procrastinate import pytest_private as private

        def test_it(pytestconfig):
            file = private.LogFile(pytestconfig)
            file.descriptor = os.open("log", os.O_RDWR | os.O_CREAT)
            logging.getLogger("mine").warning("a word")
            with open("log") as log:
                assert "a word" in log.read()
            file.reset()
            assert os.path.getsize("log") == 0
        """
    )

    pytester.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


def test_log_file_does_without_the_plugin(pytester):
    config = pytester.parseconfig("-p", "no:logging")

    assert private.LogFile(config).descriptor == -1


@pytest.mark.parametrize(("ini", "armed"), [("0", False), ("30", True)])
def test_arm_faulthandler_timeout_goes_by_the_ini(pytester, monkeypatch, ini, armed):
    calls = []
    monkeypatch.setattr(
        faulthandler, "dump_traceback_later", lambda seconds, **more: calls.append((seconds, more))
    )
    config = pytester.parseconfig("-o", f"faulthandler_timeout={ini}")
    config.stash[fault_handler_stderr_fd_key] = 2

    private.arm_faulthandler_timeout(config)

    assert calls == ([(30.0, {"file": 2, "exit": False})] if armed else [])


def test_before_capture_is_disabled_calls_first(pytester):
    pytester.makepyfile(
        """
        from pytest_procrastinate import pytest_private as private

        def test_it(pytestconfig, capsys):
            called = []
            private.before_capture_is_disabled(pytestconfig, lambda: called.append(1))
            with capsys.disabled():
                assert called == [1]
                print("past the capture")
            capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
            capture.suspend(in_=True)  # as pytest's debugger does
            assert called == [1, 1]
            capture.resume()
        """
    )

    result = pytester.runpytest_subprocess(timeout=60)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("*past the capture")


@pytest.mark.parametrize(
    ("args", "live"),
    [
        ([], False),
        (["-s"], True),
        (["--capture=sys"], False),
        (["--capture=tee-sys"], True),
        (["--setup-show"], True),
        (["-o", "log_cli=true"], True),
        (["-p", "no:logging"], False),
    ],
)
def test_is_live_where_tests_write_to_the_terminal(pytester, args, live):
    config = pytester.parseconfigure(*args)

    assert private.is_live(config) is live


@pytest.mark.parametrize(
    ("args", "may"),
    [
        ([], False),
        (["-s"], True),
        (["--capture=sys"], True),
        (["--pdb"], True),
        (["--trace"], True),
        (["-o", "faulthandler_timeout=60"], True),
        (["-o", "faulthandler_timeout=60", "-p", "no:faulthandler"], False),
    ],
)
def test_may_write_to_terminal_where_somebody_else_does(pytester, monkeypatch, args, may):
    config = pytester.parseconfig(*args)
    if "no:faulthandler" not in args:
        config.stash[fault_handler_stderr_fd_key] = 2

    assert private.may_write_to_terminal(config) is may


def test_terminal_file_is_that_of_pytests_own_reporter(config, monkeypatch):
    assert private.terminal_file(config) is None

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    monkeypatch.setattr(reporter._tw, "_file", io.StringIO())
    monkeypatch.setattr(reporter._tw._file, "isatty", lambda: True, raising=False)
    assert private.terminal_file(config) is reporter._tw._file

    config.pluginmanager.unregister(reporter)
    config.pluginmanager.register(type("Sugar", (type(reporter),), {})(config), "terminalreporter")
    assert private.terminal_file(config) is None


def test_text_width_counts_wide_characters_twice():
    assert private.text_width("木a") == 3


def test_divert_terminal_has_what_is_written_told(config):
    told = []
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    file = reporter._tw._file

    private.divert_terminal(config, told.append)
    reporter.write_line("a line")
    is_terminal = reporter._tw._file.isatty()
    reporter._tw._file = file

    begins, *written = told
    assert begins is None
    assert "".join(written) == "a line\n"
    assert is_terminal is file.isatty()


def test_begin_line_ends_one_that_is_begun(config, monkeypatch):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    monkeypatch.setattr(reporter._tw, "_file", io.StringIO())

    private.begin_line(config)
    reporter.write_fspath_result("test_it.py::test_it", ".")
    private.begin_line(config)
    private.begin_line(config)

    assert reporter._tw._file.getvalue().lstrip() == "test_it.py .\n"


def test_write_to_terminal_gives_the_writer(config):
    with private.write_to_terminal(config) as writer:
        assert writer is config.pluginmanager.get_plugin("terminalreporter")._tw

    config.pluginmanager.unregister(name="terminalreporter")
    with private.write_to_terminal(config) as writer:
        assert writer is None


@pytest.mark.parametrize(
    ("argument", "made"), [("tmp_path_factory", True), ("request", True), ("", False)]
)
def test_make_base_temp_where_a_test_may_ask_for_it(pytester, argument, made):
    item = pytester.getitem(f"def test_func({argument}): pass")

    private.make_base_temp(item.config, [item])

    assert (item.config._tmp_path_factory._basetemp is not None) is made


@pytest.mark.parametrize(
    ("file", "is_own"), [("test_it.py", True), ("conftest.py", False), ("<string>", True)]
)
def test_is_pytests_own_failure_unless_a_plugin_is_at_work(pytester, file, is_own):
    item = pytester.getitem("def test_func(): pass", "test_func")
    path = item.path if file == "test_it.py" else pytester.path / file
    code = compile("1 / 0", str(path) if file != "<string>" else file, "exec")
    # as pytest would call it: no frame of this test is in the traceback
    with pytest.raises(ZeroDivisionError) as raised:
        exec(code)
    raised.value.__traceback__ = raised.value.__traceback__.tb_next

    assert private.is_pytests_own_failure(raised.value, item) is is_own


def test_live_log_going_on_shows_no_heading_again(pytester):
    config = pytester.parseconfigure("-o", "log_cli=true")
    handler = config.pluginmanager.get_plugin("logging-plugin").log_cli_handler
    assert private.live_log_shown(config) == 0
    handler._first_record_emitted = handler._section_name_shown = True
    shown = private.live_log_shown(config)
    handler.reset()
    handler.set_when("start")

    with private.live_log_going_on(config, shown):
        handler.set_when("teardown")  # as pytest does

        assert private.live_log_shown(config) == shown
        assert handler._when == "teardown"
    handler.set_when("finish")
    assert handler._when == "finish"


def test_live_log_going_on_does_nothing_without_live_logs(config):
    with private.live_log_going_on(config, 1):
        assert private.live_log_shown(config) == 0
