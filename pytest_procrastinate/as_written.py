"""Have our own modules imported as they are written: pytest rewrites the asserts of plugins.

Ours need no explanation, and where Python keeps no bytecode (PYTHONDONTWRITEBYTECODE, usual in
containers) each run, each worker and each fork server in a fresh process would rewrite them anew.
"""

from __future__ import annotations

import sys


def import_as_written(package: str) -> None:
    """Take back that a package is to be rewritten, for what is imported of it from now on.

    Private, checked on pytest 8.0.2 to 9.2.0: ``AssertionRewritingHook._must_rewrite`` and
    ``_marked_for_rewrite_cache``. The public way, ``PYTEST_DONT_REWRITE`` in each docstring, would
    still have each module parsed and compiled by pytest instead of being read from its ``.pyc``.
    """
    for finder in sys.meta_path:
        marked = getattr(finder, "_must_rewrite", None)
        decided = getattr(finder, "_marked_for_rewrite_cache", None)
        if isinstance(marked, set) and isinstance(decided, dict):
            marked.discard(package)
            decided.clear()
