"""Define the retrieval commands: `index` and `find`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, time_column

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle
    from rtsysid.retrieval.build import Progress
    from rtsysid.retrieval.index import Index
    from rtsysid.retrieval.search import Match, Query


@click.command()
@click.argument("traces", metavar="TRACE...", type=PATH, nargs=-1, required=True)
@click.option("-o", "--out", type=PATH, required=True, help="Folder of the index.")
@click.option("--bundle", type=PATH, help="Compare moments in the coordinates of this model.")
@click.option("--by", type=click.Choice(["window", "code"]), default="window", show_default=True,
              help="Compare the channels of a moment, or the codes of the bundle's encoder.")  # fmt: skip
@click.option("--seconds", default=1.0, show_default=True, help="Length of a moment in seconds.")
@time_column
@as_json
def index(
    traces: tuple[Path, ...], out: Path, bundle: Path | None, by: str, seconds: float, time_: str, json_: bool
) -> None:
    """Build a search index of recordings: every moment gets a binary code.

    Example: rtsysid index logs -o archive --bundle bundle
    """
    from rtsysid.recordings.formats import recording_files
    from rtsysid.recordings.trace import Trace, clock
    from rtsysid.retrieval.build import building
    from rtsysid.retrieval.index import summary

    opened = _open_optional_bundle(bundle)
    channels, rate_hz = (None, None) if opened is None else (opened.spec.channels, opened.spec.rate_hz)
    recordings = Trace.read_each(traces, channels, **clock(time_, rate_hz))
    files = sum(len(recording_files(path)) for path in traces)
    _under_bars(building(recordings, out, bundle=opened, by=by, seconds=seconds), files)
    console.report(summary(out), json_)


@click.command("find")
@click.argument("archive", metavar="INDEX", type=PATH)
@click.argument("trace", type=PATH)
@click.option("--at", required=True, metavar="SECONDS", help="Centre of the moment in the recording's time: 12.3s.")
@click.option("--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of moments to find.")
@click.option("--bundle", type=PATH, help="Bundle of the index; required for an index by code.")
@click.option("--exact", is_flag=True, help="Compare every window instead of candidates: slow, for verification.")
@click.option("--plot", type=PATH, help="Write overlaid plots of the moments to this .html file.")
@time_column
@as_json
def find_command(
    archive: Path, trace: Path, at: str, top: int, bundle: Path | None, exact: bool, plot: Path | None, time_: str,
    json_: bool,
) -> None:  # fmt: skip
    """Find the moments of an index that are most similar to a moment of a recording.

    Example: rtsysid find archive flight.csv --at 12.3s --top 5
    """
    import time

    from rtsysid.recordings.trace import Trace, clock
    from rtsysid.retrieval import search
    from rtsysid.retrieval.index import Index

    opened = Index.open(archive, _open_optional_bundle(bundle))
    recording = Trace.read(trace, opened.spec.channels, **clock(time_, opened.spec.rate_hz))
    query = search.query_at(opened, recording, _parse_seconds(at))
    begun = time.perf_counter()
    matches = (search.find_exactly if exact else search.find)(opened, query, top)
    taken = time.perf_counter() - begun
    if plot is not None:
        _write_plot(plot, f"{recording.episodes[0].recording} at {at}", opened, query, matches)
    if json_:
        fields = {
            "index": str(archive),
            "moments": len(opened),
            "seconds": taken,
            "found": msgspec.to_builtins(matches),
        }
        return console.report(fields, True)
    click.echo(_match_table(matches))
    click.echo(f"{len(opened):,} moments in {1e3 * taken:.0f} ms; distance 1 is that of two random moments")


def _match_table(matches: list[Match]) -> str:
    names = list(matches[0].alike) if matches else []
    rows = [
        [str(f.rank), f.recording, f"{f.time_s:.2f}", f"{f.distance:.3f}", *(f"{100 * f.alike[n]:.0f}" for n in names)]
        for f in matches
    ]
    return console.table(["rank", "recording", "time s", "distance", *(f"{name} %" for name in names)], rows)


def _write_plot(path: Path, title: str, index: Index, query: Query, matches: list[Match]) -> None:
    from rtsysid.errors import StorageError
    from rtsysid.retrieval.page import render_moments_page
    from rtsysid.storage import replacing

    if path.suffix != ".html":
        raise StorageError(f"plot {path}", f"suffix {path.suffix!r}", "name a .html file")
    with replacing(path) as scratch:
        scratch.write_text(render_moments_page(title, index, query, matches), encoding="utf-8")


def _open_optional_bundle(bundle: Path | None) -> Bundle | None:
    from rtsysid.model.bundle import Bundle

    return None if bundle is None else Bundle.open(bundle)


def _parse_seconds(at: str) -> float:
    from rtsysid.errors import TraceError

    try:
        return float(at.removesuffix("s"))
    except ValueError:
        raise TraceError("--at", repr(at), "give seconds, for example 12.3s") from None


def _under_bars(steps: Iterator[Progress], files: int) -> None:
    """Show one progress bar for reading the recordings, one for encoding the moments."""
    with console.progress(files, "reading") as bar:
        for _ in takewhile(lambda step: step.what == "reading", steps):
            bar.update(1)
    with console.progress(1, "encoding") as bar:
        for step in steps:
            bar.length = step.total
            bar.update(step.done - bar.pos)
