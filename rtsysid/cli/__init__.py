"""The command line: one verb is one public function, and what it needs is imported inside the verb."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from rtsysid import __version__
from rtsysid.cli import benchmark, calibrate, console, find, hil, link, recording, report, train
from rtsysid.errors import RtsysidError

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle

OWN_PACKAGES = ("export", "firmware_bridge")  # top-level names that another package may have, too
PATH = click.Path(path_type=Path)
as_json = console.as_json


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Learn a robot's dynamics from its logs and run the model beside the controller, sample by sample.

    \b
    rtsysid demo                                   the whole path in three minutes
    rtsysid train CONFIG.toml --data LOGS -o RUN   a model from recordings
    rtsysid export RUN -o BUNDLE                   one verified folder for the robot
    rtsysid replay BUNDLE TRACE                    the live path on a recording
    rtsysid run BUNDLE PORT                        the live path beside a board
    """


@cli.command()
@click.option("-o", "--out", type=PATH, required=True, help="Folder for one file per flight.")
@click.option("--flights", default=12, show_default=True)
@click.option("--seconds", default=40.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="Samples per second: a divisor of 1000 from 50 on.")
@click.option("--format", "suffix", type=click.Choice(["csv", "csv.gz", "parquet", "npz"]), default="csv")
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


@cli.command()
@click.argument("what", metavar="PATH|PORT")
@as_json
def info(what: str, json_: bool) -> None:
    """Say what a recording, a run, a bundle or an index holds, or what the board at a port is.

    Example: rtsysid info flight.csv
    """
    path = Path(what)
    if link.is_port(what):
        return console.report(link.describe_port(what), json_)
    if (path / "manifest.json").exists():
        return console.report(_bundle_info(path), json_)
    if (path / "index.json").exists():
        from rtsysid.retrieval.index import summary

        return console.report(summary(path), json_)
    if (path / "run.json").exists():
        from rtsysid.train.run import Run

        run = Run(path)
        fields = {"complete": run.complete, "epochs": len(run.history()), "fingerprint": run.spec.fingerprint}
        return console.report({"run": str(path), **fields, "sources": len(run.about["sources"])}, json_)
    from rtsysid.recordings.trace import Trace

    bag = path.suffix.lower() == ".mcap"
    if bag and recording.show_bag(path, json_):
        return None
    described = {**Trace.read(path).describe(), **(recording.recording_facts(path) if bag else {})}
    if json_:
        return console.report(described, json_)
    console.report({k: v for k, v in described.items() if not isinstance(v, list)}, json_)
    keys = [key for key in described["channels"][0] if key != "role"]
    click.echo(console.table(keys, [[console.text(row[key]) for key in keys] for row in described["channels"]]))


@cli.command()
@click.argument("bundle", type=PATH)
@as_json
def verify(bundle: Path, json_: bool) -> None:
    """Run every backend of this machine over the bundle's golden trace.

    Example: rtsysid verify bundle
    """
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.parity import verify as verify_bundle

    opened = Bundle.open(bundle)
    rows = verify_bundle(opened)
    console.show_verification(opened, rows, json_)
    for row in rows:
        row.require(f"bundle {bundle}", "use a backend that passes, or export again")


@cli.command()
@click.argument("bundle", type=PATH)
@click.argument("trace", type=PATH)
@click.option("--speed", default="max", show_default=True, help="max, or a factor of the recorded pace: 1 is live.")
@click.option("-o", "--out", type=PATH, help="Write the predictions here (.csv, .csv.gz or .npz).")
@click.option("--against", type=PATH, help="Compare with predictions written earlier; exit code 2 if they differ.")
@click.option("--backend", type=click.Choice(["auto", "c", "onnx", "numpy"]), default="auto", show_default=True)
@click.option("--max-gap", default=5, show_default=True, help="Missing samples to hold before a reset.")
@console.time_column
@as_json
def replay(
    bundle: Path, trace: Path, speed: str, out: Path | None, against: Path | None, backend: Any, max_gap: int,
    time_: str, json_: bool,
) -> None:  # fmt: skip
    """Stream a recording through the live path, one prediction per sample.

    A recorded live session (.mcap) is replayed from its bytes on the wire, and compared with what was predicted then.

    Example: rtsysid replay bundle flight.csv --speed 1 -o predictions.csv
    """
    from rtsysid.errors import SpecError
    from rtsysid.live.deadline import Deadline
    from rtsysid.live.replay import replay as replay_samples
    from rtsysid.live.session import Session
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.trace import Trace, clock

    try:
        pace = None if speed == "max" else float(speed)
    except ValueError:
        raise SpecError("--speed", repr(speed), "give max or a number") from None
    opened = Bundle.open(bundle)
    opened.require_live()
    if trace.suffix.lower() == ".mcap" and pace is None and out is None and against is None:
        reproduced = recording.reproduced(opened, trace, backend)
        if reproduced is not None:
            console.report(reproduced, json_)
            sys.exit(0 if reproduced["equal"] else 2)
    predictor, deadline = Predictor.load(opened, backend), Deadline(1.0 / opened.spec.rate_hz)
    session = Session(predictor, max_gap=max_gap, deadline=deadline)
    samples = Trace.stream(trace, opened.spec.channels, **clock(time_, opened.spec.rate_hz))
    found = _consume(opened, replay_samples(session, samples, speed=pace), out, against)
    console.report({**console.flat(session.summary()), **found}, json_)
    if found.get("equal") is False:
        sys.exit(2)


@cli.command()
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@click.option("--horizon", default=50, show_default=True, help="Ticks to forecast.")
@click.option("--stride", default=1, show_default=True, help="Ticks between the starts of forecasts.")
@console.time_column
@as_json
def evaluate(bundle: Path, traces: tuple[Path, ...], horizon: int, stride: int, time_: str, json_: bool) -> None:
    """Print the error per horizon beside hold and linear ARX.

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


for verb in (
    train.train, train.export_command, train.compare_command, train.demo, recording.recover, link.run,
    link.record, link.sim_device, hil.hil, report.report_command, benchmark.benchmark_command,
    benchmark.data, calibrate.calibrate, find.index, find.find_command,
):  # fmt: skip
    cli.add_command(verb)


def main() -> None:
    """Entry point: an error of ours is one line and its exit code; no traceback for a user's fault."""
    try:
        cli.main(standalone_mode=False)
    except RtsysidError as error:
        click.echo(f"rtsysid: {error}", err=True)
        _leave(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("rtsysid: stopped; what was finished is kept", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        click.echo(f"rtsysid: {missing_module(error.name or '')}", err=True)
        sys.exit(1)


def missing_module(name: str) -> str:
    """Say in one line why a module cannot be imported: another package hides it, or it is not installed."""
    package, _, inner = name.partition(".")
    other = find_spec(package) if package in OWN_PACKAGES and inner else None
    if other is not None:
        where = other.origin or next(iter(other.submodule_search_locations or ()), "an unknown place")
        return f"package {package}: found that of somebody else at {where}; run elsewhere, or rename it"
    return f"{name} is not installed; pip install 'rtsysid[train]'"


def _leave(code: int) -> NoReturn:
    """End at once. A file reader's own thread may still wait for a refused recording, and aborts a usual exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _consume(bundle: Bundle, predictions: Iterator[Any], out: Path | None, against: Path | None) -> dict[str, Any]:
    """Write, compare or just count what a replay yields; each prediction is looked at once."""
    from rtsysid.live.replay import compare as compare_predictions
    from rtsysid.live.replay import read_predictions, write_predictions

    if against is not None:
        comparison = compare_predictions(predictions, read_predictions(against))
        return {**msgspec.to_builtins(comparison), "equal": comparison.equal}
    if out is not None:
        return {"written": write_predictions(out, bundle.spec.outputs, predictions), "to": str(out)}
    for _ in predictions:
        pass
    return {}


def _bundle_info(path: Path) -> dict[str, Any]:
    from rtsysid.model.bundle import Bundle

    bundle = Bundle.open(path)
    spec = bundle.spec
    return {
        "bundle": str(path), "id": bundle.id, "fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash,
        "variant": spec.variant, "rate_hz": spec.rate_hz, "feedthrough": bundle.feedthrough, "taps": spec.taps,
        "encoder": list(spec.encoder), "hidden": spec.hidden, "multiply_accumulates": spec.macs,
        "inputs": ", ".join(map(str, spec.inputs)), "outputs": ", ".join(map(str, spec.outputs)),
        **calibrate.calibration_summary(bundle), "files": list(bundle.manifest.files),
    }  # fmt: skip
