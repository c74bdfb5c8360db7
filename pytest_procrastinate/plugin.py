"""The hooks of pytest that we implement; each hands over in a few lines."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from pytest_procrastinate import hookspecs
from pytest_procrastinate.marks import ItemSettings
from pytest_procrastinate.options import (
    AT_END,
    FORKS,
    FRESH_FIXTURES,
    RUN_SETTINGS,
    SETTINGS,
    THREADS,
    WORKER_SUMMARY,
    add_forked_option,
    add_markers,
    add_options,
    number_worker,
    run_settings_of,
)

TOOK_OVER = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    add_options(parser)
    if any(name.endswith("conftest.py") for name, _ in pluginmanager.list_name_plugin()):
        # A conftest brought us in: pytest_load_initial_conftests is not called for us any more.
        add_forked_option(parser)


@pytest.hookimpl(trylast=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> None:
    # As late as this, pytest-forked has added its own --forked where it is installed, also by a
    # conftest: adding ours first would make it fail.
    add_forked_option(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    add_markers(config)
    config.stash[RUN_SETTINGS] = run_settings_of(config)
    config.stash[TOOK_OVER] = config.pluginmanager.unregister(name="pytest_forked") is not None


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.stash[TOOK_OVER]:
        return None
    from pytest_procrastinate.parent.terminal import took_over_line

    return took_over_line()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[SETTINGS] = settings = ItemSettings(config.stash[RUN_SETTINGS])
    for item in items:
        settings[item]  # a wrong mark is told before all else


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> Generator[None, object, object]:
    result = yield
    config = session.config
    settings = config.stash.get(SETTINGS, None)
    if not isinstance(settings, ItemSettings):  # collection has failed
        return result
    for item in session.items:  # marks, and items, may have come after us
        settings.look_again(item)
        settings[item]
    if hasattr(config.hook, "pytest_timeout_set_timer"):
        from pytest_procrastinate.with_others.timeout import take_over_timeouts

        take_over_timeouts(config, settings)
    if hasattr(config, "workerinput") and any(each.forked for each in settings.values()):
        from pytest_procrastinate.with_others.xdist import WorkerLoop

        config.pluginmanager.register(WorkerLoop(settings), "forked-worker-loop")
    return result


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    settings = config.stash.get(SETTINGS, None)
    if settings is None or config.option.collectonly or hasattr(config, "workerinput"):
        return None
    if session.testsfailed and not config.option.continue_on_collection_errors:
        return None
    if not any(settings[item].forked for item in session.items):
        return None
    from pytest_procrastinate.parent.stretches import run_items

    config.stash[FORKS] = True
    run_items(session, settings)
    return True


@pytest.hookimpl(trylast=True)  # as pytest's own, which tears down what is left, after all others
def pytest_sessionfinish(session: pytest.Session) -> None:
    if AT_END in session.config.stash:
        from pytest_procrastinate.parent.replay import raise_told

        raise_told(session.config.stash[AT_END])


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, in its controller
def pytest_configure_node(node: Any) -> None:
    number_worker(node.config, node.workerinput)


@pytest.hookimpl(optionalhook=True)  # likewise
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    if WORKER_SUMMARY in output:
        from pytest_procrastinate.with_others.xdist import take_summary

        take_summary(node.config, output[WORKER_SUMMARY])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if FORKS not in config.stash:
        return
    from pytest_procrastinate.parent.leftovers import LEFT
    from pytest_procrastinate.parent.terminal import fresh_fixtures_lines, threads_line

    if LEFT in config.stash:
        for line in config.stash[LEFT].summary():
            terminalreporter.write_line(line)
    for line in fresh_fixtures_lines(config.stash.get(FRESH_FIXTURES, {})):
        terminalreporter.write_line(line)
    if THREADS in config.stash:
        terminalreporter.write_line(threads_line(config.stash[THREADS]))


@pytest.fixture
def forked_slot() -> int:
    """The number of this test among those that run at once: 0, 1, … (``FORKED_SLOT``).

    For what cannot be shared: databases, ports, GPUs. Always 0 where tests run one at a time.
    """
    return int(os.environ.get("FORKED_SLOT", "0"))


@pytest.fixture
def forked_group_slot() -> int:
    """The number of this test among those of its group (``FORKED_GROUP_SLOT``)."""
    return int(os.environ.get("FORKED_GROUP_SLOT", "0"))
