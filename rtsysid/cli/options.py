"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
backend_option = click.option(
    "--backend", type=click.Choice(["auto", "c", "onnx", "numpy"]), default="auto", show_default=True,
    help="Implementation that runs the model; auto: the fastest one of this machine.",
)  # fmt: skip
max_gap = click.option("--max-gap", default=5, show_default=True, help="Missing samples to replace before a reset.")
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead of text.")
time_column = click.option(
    "--time", "time_", default="t", show_default=True, metavar="COLUMN",
    help="Name of the time column; \"\" where there is none and rows are even.",
)  # fmt: skip
horizon_option = click.option("--horizon", default=50, show_default=True, help="Ticks to forecast.")
