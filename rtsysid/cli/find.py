"""Define the retrieval commands: `index` and `find`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import PATH, Moment, as_json, time_column, within
from rtsysid.cli.outputs import output
from rtsysid.guards import ranges
from rtsysid.storage.products import INDEX, MOMENTS

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.pieces import LeftOut
    from rtsysid.recordings.trace import Trace
    from rtsysid.retrieval.build import Progress
    from rtsysid.retrieval.index import Index
    from rtsysid.retrieval.search import Match


@click.command()
@click.argument("traces", metavar="TRACE...", type=PATH, nargs=-1, required=True)
@output("-o", "--out", product=INDEX, required=True, help="Folder of the index.")
@click.option("--bundle", type=PATH, help="Compare moments in the coordinates of this model.")
@click.option("--by", type=click.Choice(["window", "code"]), default="window", show_default=True,
              help="Compare the channels of a moment, or the codes of the bundle's encoder.")  # fmt: skip
@click.option(
    "--seconds", type=within(ranges.SomeSeconds), default=1.0, show_default=True, help="Length of a moment in seconds."
)
@time_column
@as_json
def index(
    traces: tuple[Path, ...], out: Path, overwrite: bool, bundle: Path | None, by: str, seconds: float,
    time_: str | None, json_: bool,
) -> None:  # fmt: skip
    """Build a search index of recordings: every moment gets a binary code.

    Example: rtsysid index logs -o archive --bundle bundle
    """
    from rtsysid.recordings.names import recording_files
    from rtsysid.recordings.pieces import texts
    from rtsysid.recordings.reading import each_recording
    from rtsysid.recordings.trace import Trace, clock
    from rtsysid.retrieval.build import building
    from rtsysid.retrieval.index import summary

    opened = _open_optional_bundle(bundle)
    if opened is None:
        recordings = Trace.read_each(traces, None, **clock("t" if time_ is None else time_, None))
    else:
        recordings = each_recording(traces, opened.data(time_), opened.spec.channels)
    files = sum(len(recording_files(path)) for path in traces)
    notes = _under_bars(building(recordings, out, bundle=opened, by=by, seconds=seconds, overwrite=overwrite), files)
    console.notes(notes)
    console.report({**summary(out), **({"notes": texts(notes)} if json_ else {})}, json_)


@click.command("find")
@click.argument("archive", metavar="INDEX", type=PATH)
@click.argument("trace", type=PATH)
@click.option(
    "--at", type=within(ranges.Moment, Moment), required=True, metavar="SECONDS",
    help="Centre of the moment in the recording's time: 12.3s.",
)  # fmt: skip
@click.option("--top", type=within(ranges.Top), default=10, show_default=True, help="Number of moments to find.")
@click.option("--bundle", type=PATH, help="Bundle of the index; required for an index by code.")
@click.option("--exact", is_flag=True, help="Compare every window instead of candidates: slow, for verification.")
@output("--plot", product=MOMENTS, help="Write overlaid plots of the moments to this .html file.")
@time_column
@as_json
def find_command(
    archive: Path, trace: Path, at: float, top: int, bundle: Path | None, exact: bool, plot: Path | None,
    overwrite: bool, time_: str | None, json_: bool,
) -> None:  # fmt: skip
    """Find the moments of an index that are most similar to a moment of a recording.

    Example: rtsysid find archive flight.csv --at 12.3s --top 5
    """
    import time

    from rtsysid.errors import TraceError
    from rtsysid.retrieval import search
    from rtsysid.retrieval.index import Index
    from rtsysid.retrieval.page import render_moments_page
    from rtsysid.storage import replacing

    opened = Index.open(archive, _open_optional_bundle(bundle))
    recording = _read_like(opened, trace, time_)
    query = search.query_at(opened, recording, at)
    begun = time.perf_counter()
    matches = (search.find_exactly if exact else search.find)(opened, query, top)
    taken = time.perf_counter() - begun
    if not matches:
        found = f"none of its {len(opened)} moments is apart from the one at {at:g} s"
        raise TraceError(f"index {archive}", found, "index more recordings")
    if plot is not None:
        title = f"{recording.episodes[0].recording} at {at:g}s"
        with replacing(plot, MOMENTS, inputs=(archive, trace), overwrite=overwrite) as scratch:
            scratch.write_text(render_moments_page(title, opened, query, matches), encoding="utf-8")
    if json_:
        fields = {
            "index": str(archive),
            "moments": len(opened),
            "seconds": taken,
            "found": msgspec.to_builtins(matches),
        }
        return console.report(fields, True)
    console.block(_match_table(matches))
    console.echo(f"{len(opened):,} moments in {1e3 * taken:.0f} ms; distance 1 is that of two random moments")


def _read_like(index: Index, trace: Path, time_: str | None) -> Trace:
    """Read a recording as those of the index were read."""
    from rtsysid.recordings.reading import read_recordings
    from rtsysid.recordings.trace import Trace, clock

    data, channels = index.manifest.reading, index.spec.channels
    if data is None:
        return Trace.read(trace, channels, **clock("t" if time_ is None else time_, index.spec.rate_hz))
    return read_recordings([trace], data if time_ is None else msgspec.structs.replace(data, time=time_), channels)


def _match_table(matches: list[Match]) -> str:
    names = list(matches[0].alike) if matches else []
    rows = [
        [str(f.rank), f.recording, f"{f.time_s:.2f}", f"{f.distance:.3f}", *(f"{100 * f.alike[n]:.0f}" for n in names)]
        for f in matches
    ]
    return console.table(["rank", "recording", "time s", "distance", *(f"{name} %" for name in names)], rows)


def _open_optional_bundle(bundle: Path | None) -> Bundle | None:
    from rtsysid.model.bundle import Bundle

    return None if bundle is None else Bundle.open(bundle)


def _under_bars(steps: Iterator[Progress], files: int) -> tuple[LeftOut, ...]:
    """Show one progress bar for reading the recordings, one for encoding the moments; return the notes at the end."""
    notes: tuple[LeftOut, ...] = ()
    with console.progress(files, "reading") as bar:
        for _ in takewhile(lambda step: step.what == "reading", steps):
            bar.update(1)
    with console.progress(1, "encoding") as bar:
        for step in steps:
            bar.length = step.total
            bar.update(step.done - bar.pos)
            notes = step.notes
    return notes
