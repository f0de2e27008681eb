"""The commands that check a bundle: verify, against its golden trace; evaluate, on recordings."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, horizon_option, time_column


@click.command("verify")
@click.argument("bundle", type=PATH)
@as_json
def verify_command(bundle: Path, json_: bool) -> None:
    """Run every backend of this machine over the golden trace of a bundle.

    Example: rtsysid verify bundle
    """
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.parity import verify

    opened = Bundle.open(bundle)
    rows = verify(opened)
    console.show_verification(opened, rows, json_)
    for row in rows:
        row.require(f"bundle {bundle}", "use a backend that passes, or export again")


@click.command("evaluate")
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@horizon_option
@click.option("--stride", default=1, show_default=True, help="Ticks between the starts of forecasts.")
@time_column
@as_json
def evaluate_command(
    bundle: Path, traces: tuple[Path, ...], horizon: int, stride: int, time_: str, json_: bool
) -> None:
    """Print the error per horizon, next to hold and linear ARX.

    Example: rtsysid evaluate bundle unseen/*.csv --horizon 50
    """
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.trace import Trace, clock

    opened = Bundle.open(bundle)
    trace = Trace.read_all(traces, opened.spec.channels, **clock(time_, opened.spec.rate_hz))
    result = console.evaluating(opened, trace, horizon, stride)
    if json_:
        return console.report(msgspec.to_builtins(result), json_)
    click.echo(console.evaluation(result))
