"""Command for a model on a board: play recordings to it, and compare its predictions with those of the bundle."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, time_column, within
from rtsysid.errors import TraceError
from rtsysid.guards import ranges

if TYPE_CHECKING:
    from rtsysid.recordings.trace import Episode, Trace
    from rtsysid.spec import ModelSpec


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@click.option("--device", default="qemu", show_default=True, metavar="sim|qemu|PORT", help="What runs the model.")
@click.option(
    "--rows", type=within(ranges.CountOrNone), default=1000, show_default=True,
    help="Rows of each recording, from the first; 0: all.",
)  # fmt: skip
@click.option("--int8", is_flag=True, help="Store the weights on the board as int8.")
@click.option("--live", is_flag=True, help="Play at the recorded rate instead of as fast as possible.")
@time_column
@as_json
def hil(
    bundle: Path, traces: tuple[Path, ...], device: str, rows: int, int8: bool, live: bool, time_: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """Play recordings to the model on a board; exit code 2 where one bit of a prediction differs.

    The firmware is built from the bundle and run as a process (sim) or on an emulated STM32F405 (qemu). A real board
    at PORT runs firmware that was built from the same bundle.

    Example: rtsysid hil bundle unseen/flight_17.csv --device qemu
    """
    from export.hil import open_board, play
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.reading import read_recordings

    console.stage("opening the bundle")
    opened = Bundle.open(bundle)
    opened.require_live()
    recorded = read_recordings(traces, opened.data(time_), opened.spec.channels)
    console.notes(recorded.notes)
    pieces, left_out = _to_compare(recorded, opened.spec, rows)
    console.stage("building the firmware and starting the board")
    with open_board(opened, device, int8=int8) as board:
        reports = []
        console.stage("playing recordings", 0, len(pieces))
        for report in play(board, opened, pieces, live=live, int8=int8):
            reports.append(report)
            console.stage("playing recordings", len(reports), len(pieces))
            if not json_:
                console.report({key: value for key, value in asdict(report).items() if value is not None}, json_)
    equal, compared = all(report.equal for report in reports), sum(report.compared for report in reports)
    found = {"equal": equal, "compared": compared, "left_out": left_out}
    console.report({**found, "recordings": [asdict(report) for report in reports]} if json_ else found, json_)
    if not compared:
        played = sum(map(len, pieces))
        raise TraceError("comparison", f"none of {played} rows was predicted", "check the ranges of the recording")
    sys.exit(0 if equal else 2)


def _to_compare(recorded: Trace, spec: ModelSpec, rows: int) -> tuple[list[Episode], int]:
    """Return the pieces of the first `rows` rows of each recording that a model can predict; count the other rows.

    A piece has neither a gap nor NaN, and more rows than the window. Raises TraceError where there is none.
    """
    first = [episode.piece(0, min(rows or len(episode), len(episode))) for episode in recorded.episodes]
    chosen = replace(recorded, episodes=tuple(first))
    whole = chosen.segments(spec.rate_hz, nan="split", min_length=spec.taps)
    return list(whole.episodes), len(chosen) - len(whole)
