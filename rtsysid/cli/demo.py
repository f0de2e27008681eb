"""The command that runs the whole path once. It needs the [train] extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import as_json, horizon_option, within
from rtsysid.cli.outputs import output
from rtsysid.cli.training import read_resolved_config, train_paths
from rtsysid.guards import ranges
from rtsysid.storage.products import DEMO

if TYPE_CHECKING:
    from rtsysid.evaluation.horizon import Evaluation
    from rtsysid.experiments.closed_loop import Loop
    from rtsysid.experiments.demo import Live
    from rtsysid.model.bundle import Bundle

CONTROL = {"train.effort": 0.15}  # of twenty flights of 40 s: a minute
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
@click.option(
    "--control", is_flag=True, help="Learn the simulated quadrotor, and fly it with model predictive control."
)
@click.option(
    "--seeds", type=within(ranges.Few), default=5, show_default=True, help="With --control: flights of each row."
)
@as_json
def demo(data: str, out: Path, horizon: int, control: bool, seeds: int, json_: bool) -> None:
    """Run all steps: recordings, training, export, verification, evaluation on unseen flights, live replay, report.

    The simulated flights take a minute or two; the real ones, which have to be downloaded, take ten. With --control:
    recordings, training, export, and a closed loop with each controller and model.

    Example: rtsysid demo --data nanodrone
    """
    if control:
        return _demo_control(out, seeds, json_)
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
    train_paths(config, [training], out / "run", "", restart=True)
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
        found = {"evaluation": msgspec.to_builtins(result), "live": live.summary, "report": str(page)}
        return console.report({"bundle": str(out / "bundle"), **found}, json_)
    _show_live(result, live)
    _show_places(bundle, page)


def _demo_control(out: Path, seeds: int, json_: bool) -> None:
    """Learn the simulated quadrotor, and fly it with the controllers of the examples."""
    console.stage("loading torch")
    from export.bundle import export as export_run
    from rtsysid.config import read_config, with_keys
    from rtsysid.experiments.closed_loop import control_flights, flights_as_builtins, save_loop_page
    from rtsysid.experiments.demo import control_recordings
    from rtsysid.storage import enter

    enter(out, DEMO)
    out = out / "control"
    console.heading("1  recordings: simulated flights whose commands are dithered", json_)
    recordings = control_recordings(out / "recordings")
    console.heading("2  training", json_)
    train_paths(with_keys(read_config("quadrotor"), CONTROL), [recordings], out / "run", "", restart=True)
    console.heading("3  export and verification", json_)
    bundle, rows = export_run(out / "run", out / "bundle", targets=("onnx", "c", "casadi"))
    if not json_:
        console.block(console.verification(rows))
    console.heading("4  model predictive control in closed loop", json_)
    total, flying = control_flights(bundle, seeds)
    flights = []
    with console.progress(total, "flying") as bar:
        for flight in flying:
            flights.append(flight)
            bar.update(1)
    page = save_loop_page(out / "closed_loop.html", flights)
    if json_:
        found = {"flights": flights_as_builtins(flights), "page": str(page)}
        return console.report({"bundle": str(out / "bundle"), **found}, json_)
    _show_flights(flights)
    _show_places(bundle, page)


def _show_places(bundle: Bundle, page: Path) -> None:
    """Print where the results are."""
    console.block(f"\nbundle: {bundle.folder} (id {bundle.id})\nopen in a browser: {page.resolve().as_uri()}")


def _show_flights(flights: list[Loop]) -> None:
    """Print a table for each task."""
    from rtsysid.experiments.closed_loop import HEADER, TITLES, loop_cells, loop_rows

    for task in dict.fromkeys(each.task for each in flights):
        console.block(f"\n{TITLES[task]}\n{console.table(HEADER, loop_cells(loop_rows(flights, task)))}")


def _show_live(result: Evaluation, live: Live) -> None:
    """Print how good the model is, and how a recording went through the live path."""
    console.block(console.evaluation(result))
    latency = live.summary["latency"]
    console.heading(f"5  {live.name} streamed sample by sample", json_=False)
    console.echo(
        f"{live.samples} samples in {live.seconds:.2f} s; step p50 {latency['p50'] * 1e6:.1f} us, "
        f"p99 {latency['p99'] * 1e6:.1f} us, worst {latency['worst'] * 1e6:.0f} us"
    )
