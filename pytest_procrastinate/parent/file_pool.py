"""Files for children, used again and again; as many as there is room for."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from pytest_procrastinate.child.files import ChildFiles

SPARE_DESCRIPTORS = 32  # for a child's files and channel, and for what its fork server needs beside
LEAST_DESCRIPTORS = 20  # for the only child; what else may be opened while it runs is not spared


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
        needed = SPARE_DESCRIPTORS if self._all else LEAST_DESCRIPTORS
        free = _free_descriptors(needed)
        if free < needed and not self._all:
            least = resource.getrlimit(resource.RLIMIT_NOFILE)[0] + needed - free
            raise pytest.UsageError(
                f"forked: no room for the files of a child: {free} descriptors are free, and it"
                f" takes {needed} (more of them: ulimit -n {least})"
            )
        return free == needed and self._make()

    def _make(self) -> bool:
        """Make files for one more child; False where only others have some.

        :raises pytest.UsageError: There is no room for those of a single child.
        """
        try:
            files = ChildFiles.make()
        except OSError as error:
            if self._all:
                return False
            what = f"forked: no room for the files of a child: {error.strerror}"
            hint = " (ulimit -f)" if error.errno == errno.EFBIG else ""
            raise pytest.UsageError(what + hint) from error
        self._last += 1
        self._all[self._last] = files
        self._free.append((self._last, files))
        return True

    def take(self) -> tuple[int, ChildFiles]:
        """Return files that nobody uses.

        :raises OSError: Nothing was left for new ones.
        """
        if not self._free and not self._make():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._free.pop()

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


def _free_descriptors(most: int) -> int:
    """Return how many descriptors can still be opened, up to so many."""
    descriptors: list[int] = []
    try:
        for _ in range(most):
            descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        pass
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return len(descriptors)
