"""Virtual environments and unpacked source archives, made by pip once and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = ("-m", "pip", "--disable-pip-version-check", "-qq")


def environment(folder: Path, packages: Sequence[str], *, with_us: bool = True) -> Path:
    """Return the Python of an environment with these packages and, if so, this checkout's plugin."""
    python = folder / "bin" / "python"
    ours = ("-e", str(ROOT)) if with_us else ()

    def make() -> None:
        venv.create(folder)
        run_pip("--python", str(python), "install", *packages, *ours)

    make_once(folder, " ".join(packages), make)
    return python


def site_packages(python: Path) -> Path:
    """Return the folder that an environment's packages are in."""
    return next(python.parent.parent.glob("lib/python*/site-packages"))


def source(folder: Path, requirement: str, without: Iterable[str] = ()) -> Path:
    """Return the folder of an unpacked source archive.

    :param requirement: As ``name==version``.
    :param without: Files and folders taken out of it, so that the installed package is found instead.
    """

    def make() -> None:
        folder.mkdir(parents=True)
        name = requirement.partition("==")[0]
        run_pip("download", "--no-deps", "--no-binary", name, "-d", str(folder), requirement)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        for path in (unpacked() / each for each in without):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def unpacked() -> Path:
        return next((folder / "unpacked").iterdir())

    make_once(folder, " ".join([requirement, *without]), make)
    return unpacked()


def make_once(folder: Path, what: str, make: Callable[[], None]) -> None:
    """Have a folder made, unless an earlier run has finished it for the same."""
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != what:
        shutil.rmtree(folder, ignore_errors=True)
        make()
        ready.write_text(what)


def run_pip(*arguments: str) -> None:
    """Run pip; its errors are shown.

    :raises subprocess.CalledProcessError: It failed.
    """
    subprocess.run([sys.executable, *PIP, *arguments], check=True, stdout=subprocess.DEVNULL)


def versions(python: Path, names: Iterable[str]) -> str:
    """Return names and versions of packages that an environment has."""
    code = (
        "import sys, importlib.metadata as m; "
        "print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    )
    told = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return told.stdout.strip()
