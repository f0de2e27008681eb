"""The command that flies a simulated quadrotor."""

from __future__ import annotations

from pathlib import Path

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json


@click.command()
@click.option("-o", "--out", type=PATH, required=True, help="Folder for one file per flight.")
@click.option("--flights", default=12, show_default=True, help="Number of flights.")
@click.option("--seconds", default=40.0, show_default=True, help="Length of each flight in seconds.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random manoeuvres.")
@click.option("--rate", default=100.0, show_default=True, help="Samples per second: a divisor of 1000 from 50 on.")
@click.option(
    "--format", "suffix", type=click.Choice(["csv", "csv.gz", "parquet", "npz"]), default="csv", show_default=True
)
@as_json
def simulate(out: Path, flights: int, seconds: float, seed: int, rate: float, suffix: str, json_: bool) -> None:
    """Fly a simulated quadrotor and write its recordings.

    Example: rtsysid simulate -o flights --flights 4 --seconds 20
    """
    from rtsysid.recordings.simulate import fly
    from rtsysid.recordings.trace import Trace

    trace = fly(flights, seconds, seed, rate)
    with console.progress(flights, "writing") as bar:
        for episode in trace.episodes:
            Trace(trace.channels, (episode,)).write(out / f"{episode.name}.{suffix}")
            bar.update(1)
    console.report({"folder": str(out), "flights": flights, "rows": len(trace)}, json_)
