"""Files for children, used again and again; as many as there is room for."""

from __future__ import annotations

import os

import pytest

from pytest_procrastinate.child.files import ChildFiles

SPARE_DESCRIPTORS = 32  # for a child's files and channel, and for what its fork server needs beside


class FilePool:
    """Files for children, used again and again; each has a number that fork servers know."""

    def __init__(self) -> None:
        self._free: list[tuple[int, ChildFiles]] = []
        self._all: dict[int, ChildFiles] = {}
        self._last = 0

    def has_room(self) -> bool:
        """Whether there is room for one more child; False as long as others have all that there is.

        :raises pytest.UsageError: There is no room for a single child.
        """
        if self._free:
            return True
        try:
            _open_and_close(SPARE_DESCRIPTORS)
        except OSError as error:
            if not self._all:
                raise pytest.UsageError(
                    f"forked: no room for the files of a child: {error.strerror}"
                    " (more descriptors: ulimit -n)"
                ) from error
            return False
        return True

    def take(self) -> tuple[int, ChildFiles]:
        """Return files that nobody uses.

        :raises OSError: No descriptor was left for new ones.
        """
        if self._free:
            return self._free.pop()
        files = ChildFiles.make()
        self._last += 1
        self._all[self._last] = files
        return self._last, files

    def give_back(self, number: int, files: ChildFiles) -> None:
        """Take files back, and empty them: a child may have written after it had told all."""
        files.clear()
        self._free.append((number, files))

    def close(self) -> None:
        """Close all files."""
        for files in self._all.values():
            files.close()
        self._all.clear()
        self._free.clear()


def _open_and_close(count: int) -> None:
    descriptors: list[int] = []
    try:
        for _ in range(count):
            descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
