"""Write the suite of a seed into a folder, and show what differs: ``SEED [--shrink]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .compare import smallest, told
from .generate import generate
from .render import write
from .running import differences, options_of


def main() -> int:
    """Write, run and show one suite; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--mixed", action="store_true", help="forked and plain items in a suite")
    parser.add_argument("--into", type=Path, help="folder; random-suite-SEED if not given")
    parser.add_argument("--shrink", action="store_true", help="write the smallest that differs")
    parser.add_argument("--python", default=sys.executable, help="that has pytest and the plugin")
    chosen = parser.parse_args()
    suite = generate(chosen.seed, mixed=chosen.mixed)
    found = differences(suite, chosen.python)
    if chosen.shrink and found:
        suite = smallest(suite, found, chosen.python)
        found = differences(suite, chosen.python)
    folder = (chosen.into or Path(f"random-suite-{chosen.seed}")).resolve()
    write(suite, folder)
    print(told(suite, found))
    print(f"cd {folder}")
    for forked in (False, True):
        print(
            f"EVENTS=/dev/stderr TOLD=/dev/null python -m pytest -p recorder "
            f"{' '.join(options_of(suite, forked=forked))}"
        )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
