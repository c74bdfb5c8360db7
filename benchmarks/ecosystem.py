"""Try plugins beside ours: each in its own environment, its suite plainly and with ``--forked``.

    python benchmarks/ecosystem.py                 all of them; writes docs/ecosystem.md
    python benchmarks/ecosystem.py mock xdist      some, by a part of the name; writes nothing

Environments are kept in ``--environments`` and used again. Needs the network once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from comparing import Run, compare_texts, differences, run
from environments import ROOT, environment, versions
from plugins import PLUGINS, Plugin
from tables import write_table

SUITES = ROOT / "tests" / "ecosystem" / "suites"
TABLE = ROOT / "docs" / "ecosystem.md"


def environment_of(plugin: Plugin, folder: Path) -> Path:
    """Return the Python of a plugin's environment, made if it is not there."""
    name = "-".join(sorted(plugin.packages)).replace("<", "_") or "bare"
    return environment(folder / name, ("pytest", *plugin.packages))


def versions_of(python: Path, plugin: Plugin) -> str:
    """Return name and version of what was tried."""
    names = [name.partition("<")[0] for name in (*plugin.packages, "pytest")]
    return versions(python, dict.fromkeys(names))


def run_suite(python: Path | str, plugin: Plugin, *options: str) -> tuple[Run, dict[str, str]]:
    """Run a plugin's suite in a copy of its own; return what it told and the files it wrote."""
    with tempfile.TemporaryDirectory() as place:
        suite, scratch = Path(place) / "suite", Path(place) / "scratch"
        shutil.copytree(SUITES / plugin.folder, suite)
        scratch.mkdir()
        if not (suite / "pytest.ini").exists():
            (suite / "pytest.ini").write_text("[pytest]\n")
        told = run(
            python,
            suite,
            [option.replace("{scratch}", str(scratch)) for option in options],
            seconds=180,
            environment={"SCRATCH": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
            more=plugin.masks,
        )
        told.output = told.output.replace(place, "/tmp/PLACE")
        files = {
            name: sorted_json((scratch / name).read_text().replace(place, "/tmp/PLACE"))
            for name in plugin.files
            if (scratch / name).exists()
        }
    return told, files


def sorted_json(text: str) -> str:
    """Return JSON, or lines of JSON, with its keys in order; other texts as they are."""
    rows = [text] if text.startswith("{\n") else text.splitlines()
    try:
        return "\n".join(json.dumps(json.loads(row), indent=1, sort_keys=True) for row in rows)
    except ValueError:
        return text


def try_plugin(python: Path | str, plugin: Plugin) -> tuple[list[str], Run]:
    """Return what differs between a plain and a forked run of a plugin's suite."""
    plain, plain_files = run_suite(python, plugin, "--no-forked", *plugin.options)
    forked, forked_files = run_suite(python, plugin, "--forked", *plugin.options)
    found = differences(plain, forked)
    if not any(row["kind"] == "report" for row in plain.rows):
        found.append(f"the plain run reported nothing: {plain.last_line}")
    if plugin.output and not found:
        found += compare_texts("output", plain.output, forked.output, plugin.masks)
    for name in plugin.files:
        if name not in plain_files:
            found.append(f"{name}: was not written")
        else:
            found += compare_texts(
                name, plain_files[name], forked_files.get(name, ""), plugin.masks
            )
    if plugin.crash is not None:
        crashed, _ = run_suite(python, plugin, "--forked", *plugin.crash_options, "crash.py")
        if plugin.crash not in crashed.output:
            found.append(f"crash.py: {crashed.last_line!r} is not {plugin.crash!r}")
    return [line for line in found if not any(part in line for part in plugin.expected)], forked


def verdict(plugin: Plugin, found: list[str]) -> str:
    """Return what the table says."""
    if found:
        return f"**differs**: {len(found)} lines, first `{found[0][:120]}`".replace("|", "\\|")
    return "works" if plugin.limit is None else f"works; {plugin.limit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-ecosystem")
    parser.add_argument("--lines", type=int, default=10, help="of difference to print")
    arguments = parser.parse_args()
    chosen = [
        p for p in PLUGINS if not arguments.names or any(n in p.name for n in arguments.names)
    ]
    rows, failed = [], 0
    for plugin in chosen:
        python = environment_of(plugin, arguments.environments)
        found, forked = try_plugin(python, plugin)
        failed += bool(found)
        print(f"{'differs' if found else 'same   '} {plugin.name}: {forked.last_line}", flush=True)
        for line in found[: arguments.lines]:
            print("   ", line)
        counts = ", ".join(f"{count} {name}" for name, count in forked.counts.items())
        rows.append(
            f"| {plugin.name} | {versions_of(python, plugin)} | {counts} | {verdict(plugin, found)} |"
        )
    if not arguments.names:
        head = (
            "| plugin | versions | what its suite told, forked | verdict |",
            "|---|---|---|---|",
        )
        write_table(TABLE, "python benchmarks/ecosystem.py", [*head, *rows])
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
