"""Where a process's output, log and crash stacks go: into files that others can read."""

from __future__ import annotations

import faulthandler

import pytest

from pytest_procrastinate.child.files import ChildFiles
from pytest_procrastinate.process.unpatched import os
from pytest_procrastinate.pytest_private import CaptureFiles, HeldCapture, LogFile


class OwnCapture:
    """Points pytest's capture, its log and faulthandler at one test's files, then at another's.

    Made once, in a fork server; its children inherit it.

    :param fault_descriptor: A high number, which a test hardly closes or reuses: faulthandler
        writes to a number, whatever it may name by then.
    """

    def __init__(self, config: pytest.Config, fault_descriptor: int) -> None:
        self._capture = CaptureFiles(config)
        self._held = HeldCapture()
        self._log = LogFile(config)
        self._fault_descriptor = fault_descriptor
        faulthandler.enable(file=fault_descriptor, all_threads=True)

    def point_at(self, files: ChildFiles) -> None:
        """Write into these from now on."""
        os.dup2(files.faults, self._fault_descriptor, inheritable=False)
        self._capture.point_at(files.out, files.err)
        self._held.descriptors = files.held_out, files.held_err
        self._log.descriptor = files.log
