"""Command for a model on a board: play recordings to it, and compare its predictions with those of the bundle."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, time_column


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@click.option("--device", default="qemu", show_default=True, metavar="sim|qemu|PORT", help="What runs the model.")
@click.option("--rows", default=1000, show_default=True, help="Rows of each recording, from the first; 0: all.")
@click.option("--live", is_flag=True, help="Play at the recorded rate instead of as fast as possible.")
@time_column
@as_json
def hil(bundle: Path, traces: tuple[Path, ...], device: str, rows: int, live: bool, time_: str, json_: bool) -> None:
    """Play recordings to the model on a board; exit code 2 where one bit of a prediction differs.

    The firmware is built from the bundle and run as a process (sim) or on an emulated STM32F405 (qemu). A real board
    at PORT runs firmware that was built from the same bundle.

    Example: rtsysid hil bundle unseen/flight_17.csv --device qemu
    """
    from export.hil import open_board, play
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.trace import Trace, clock

    opened = Bundle.open(bundle)
    opened.require_live()
    recorded = Trace.read_all(traces, opened.spec.channels, **clock(time_, opened.spec.rate_hz)).episodes
    episodes = [episode.piece(0, min(rows or len(episode), len(episode))) for episode in recorded]
    with open_board(opened, device) as board:
        reports = []
        for report in play(board, opened, episodes, live=live):
            reports.append(report)
            if not json_:
                console.report({key: value for key, value in asdict(report).items() if value is not None}, json_)
    equal = all(report.equal for report in reports)
    if json_:
        console.report({"equal": equal, "recordings": [asdict(report) for report in reports]}, json_)
    sys.exit(0 if equal else 2)
