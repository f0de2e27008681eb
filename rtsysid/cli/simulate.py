"""The command that flies a simulated quadrotor."""

from __future__ import annotations

from pathlib import Path

import click

from rtsysid.cli import console
from rtsysid.cli.options import as_json, within
from rtsysid.cli.outputs import output
from rtsysid.guards import ranges
from rtsysid.storage.products import SIMULATION


@click.command()
@output("-o", "--out", product=SIMULATION, required=True, help="Folder for one file per flight.")
@click.option("--flights", type=within(ranges.Few), default=12, show_default=True, help="Number of flights.")
@click.option(
    "--seconds",
    type=within(ranges.SomeSeconds),
    default=40.0,
    show_default=True,
    help="Length of each flight in seconds.",
)
@click.option("--seed", type=within(ranges.Seed), default=0, show_default=True, help="Seed of the random manoeuvres.")
@click.option(
    "--rate",
    type=within(ranges.RateHz),
    default=100.0,
    show_default=True,
    help="Samples per second: a divisor of 1000 from 50 on.",
)
@click.option(
    "--dither", type=within(ranges.Share), default=0.0, show_default=True,
    help="Noise on each motor's command: its standard deviation, of 1. It shows a model what a controller may try.",
)  # fmt: skip
@click.option(
    "--gusts",
    type=within(ranges.Amount),
    default=1.0,
    show_default=True,
    help="Factor on the strength of the gusts, up to 50.",
)
@click.option(
    "--format", "suffix", type=click.Choice(["csv", "csv.gz", "parquet", "npz"]), default="csv", show_default=True
)
@as_json
def simulate(
    out: Path, overwrite: bool, flights: int, seconds: float, seed: int, rate: float, dither: float, gusts: float,
    suffix: str, json_: bool,
) -> None:  # fmt: skip
    """Fly a simulated quadrotor and write its recordings.

    Example: rtsysid simulate -o flights --flights 4 --seconds 20
    """
    from rtsysid.recordings.simulate import fly, write_flights

    console.stage("flying the simulated quadrotor")
    trace = fly(flights, seconds, seed, rate, dither=dither, gusts=gusts)
    with console.progress(flights, "writing") as bar:
        for _ in write_flights(trace, out, suffix, overwrite=overwrite):
            bar.update(1)
    console.report({"folder": str(out), "flights": flights, "rows": len(trace)}, json_)
