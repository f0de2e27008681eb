"""The command that runs the whole path once. It needs the [train] extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import as_json, horizon_option
from rtsysid.cli.outputs import output
from rtsysid.cli.training import read_resolved_config, train_to_end
from rtsysid.storage.products import DEMO

if TYPE_CHECKING:
    from rtsysid.experiments.demo import Live

QUICK = {"train.effort": 0.1, "train.stride": 40}  # of the simulated flights: a good model within a minute

STRIDE = 4  # ticks between the starts of two forecasts


@click.command()
@click.option(
    "--data",
    type=click.Choice(["simulated", "nanodrone"]),
    default="simulated",
    show_default=True,
    help="Recordings to use.",
)
@output("-o", "--out", product=DEMO, default=Path("out/demo"), show_default=True, help="Folder for all results.")
@horizon_option
@as_json
def demo(data: str, out: Path, horizon: int, json_: bool) -> None:
    """Run all steps: recordings, training, export, verification, evaluation on unseen flights, live replay, report.

    The simulated flights take a minute or two; the real ones, which have to be downloaded, take ten.

    Example: rtsysid demo --data nanodrone
    """
    console.stage("loading torch")
    from export.bundle import export as export_run
    from rtsysid.api import Model
    from rtsysid.config import read_config, with_keys
    from rtsysid.experiments.demo import demo_recordings, stream
    from rtsysid.storage import enter

    enter(out, DEMO)
    out = out / data
    config = read_config("nanodrone") if data == "nanodrone" else with_keys(read_config("quadrotor"), QUICK)
    console.heading(f"1  recordings ({data})", json_)
    training, unseen_folder = demo_recordings(data, out / "recordings")
    unseen = read_resolved_config(config, [unseen_folder])[1]
    console.heading(f"2  training {config.model.variant}, schedule {config.train.preset}", json_)
    train_to_end(config, [training], out / "run", "", restart=True)
    console.heading("3  export and verification", json_)
    bundle, rows = export_run(out / "run", out / "bundle")
    if not json_:
        console.block(console.verification(rows))
    console.heading(f"4  {len(unseen.episodes)} unseen flights, forecasts of {horizon} ticks", json_)
    result = console.evaluating(bundle, unseen, horizon, STRIDE)
    console.stage("streaming sample by sample")
    live = stream(bundle, unseen.episodes[0])
    console.stage("writing the report")
    page = Model(bundle).report(unseen, out / "report.html", horizon=horizon)
    if json_:
        return console.report(
            {
                "bundle": str(out / "bundle"),
                "evaluation": msgspec.to_builtins(result),
                "live": live.summary,
                "report": str(page),
            },
            json_,
        )
    console.block(console.evaluation(result))
    _show_live(live)
    console.block(f"\nbundle: {out / 'bundle'} (id {bundle.id})\nopen in a browser: {page.resolve().as_uri()}")


def _show_live(live: Live) -> None:
    """Print how a recording went through the live path."""
    latency = live.summary["latency"]
    console.heading(f"5  {live.name} streamed sample by sample", json_=False)
    console.echo(
        f"{live.samples} samples in {live.seconds:.2f} s; step p50 {latency['p50'] * 1e6:.1f} us, "
        f"p99 {latency['p99'] * 1e6:.1f} us, worst {latency['worst'] * 1e6:.0f} us"
    )
