"""The command that describes a recording, a run, a bundle, an index or a board."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rtsysid.cli import bundles, console, recording, sources
from rtsysid.cli.options import as_json
from rtsysid.cli.views import viewer_layout
from rtsysid.errors import TraceError


@click.command()
@click.argument("what", metavar="PATH|PORT...", nargs=-1, required=True)
@click.option(
    "--time", "time_", metavar="COLUMN",
    help="Time column of a table, with its unit where the file states none, as in 'timestamp [us]'; \"\" where "
    "there is none. A log of topics takes a time stamp, TOPIC.STAMP.  [default: guessed]",
)  # fmt: skip
@click.option(
    "--layout", is_flag=True, help="Print a layout for Foxglove and Lichtblick that shows a bundle's session."
)
@click.option("--topic", "patterns", metavar="PATTERN", multiple=True, help="Show only these topics of a log.")
@as_json
def info(what: tuple[str, ...], time_: str | None, layout: bool, patterns: tuple[str, ...], json_: bool) -> None:
    """Describe recordings, a run, a bundle, an index, or the board at a port. Two bundles are compared.

    Example: rtsysid info flight.csv
    """
    if not all(what):
        raise TraceError("path", "it is empty", "name a recording, a run, a bundle, an index or a port")
    path = Path(what[0])
    if len(what) == 2 and any(bundles.is_bundle(Path(each)) for each in what):
        return bundles.compare_bundles(list(map(Path, what)), json_)
    if len(what) > 1 or (path.is_dir() and not _is_one_thing(path)):
        return _list_recordings(list(map(Path, what)), time_, json_)
    if layout or sources.is_port(what[0]):
        return console.report(viewer_layout(path) if layout else sources.describe_port(what[0]), layout or json_)
    if bundles.is_bundle(path):
        return console.report(bundles.bundle_info(path), json_)
    if (path / "index.json").exists():
        from rtsysid.retrieval.index import summary

        return console.report(summary(path), json_)
    if (path / "run.json").exists():
        return console.report(_run_info(path), json_)
    recording.show(path, time_, patterns, json_)


def _is_one_thing(path: Path) -> bool:
    """Tell whether a folder is one thing: a bundle, an index, a run, or a log."""
    from rtsysid.recordings.formats import is_log_folder

    return any((path / name).exists() for name in ("manifest.json", "index.json", "run.json")) or is_log_folder(path)


def _list_recordings(paths: Sequence[Path], time: str | None, json_: bool) -> None:
    """Print a line for each recording; exit with 1 where one cannot be read."""
    from rtsysid.recordings.names import recording_files

    found = [recording.summarised(file, time) for path in paths for file in recording_files(path)]
    if json_:
        console.report({"recordings": found}, True)
    else:
        keys = list(found[0])
        console.block(
            console.table(
                [key.replace("_", " ") for key in keys], [[*map(console.text, each.values())] for each in found]
            )
        )
    if any(each["rows"] is None and each["missing"] for each in found):
        sys.exit(1)


def _run_info(path: Path) -> dict[str, Any]:
    from rtsysid.train.run import Run

    run = Run(path)
    fields = {"complete": run.complete, "epochs": len(run.history()), "fingerprint": run.spec.fingerprint}
    return {"run": str(path), **fields, "sources": len(run.about["sources"])}
