"""Provide the commands of the workstation: train, export, compare, demo. They need the [train] extra."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rtsysid.cli import calibrate, check, console
from rtsysid.cli.options import PATH, as_json, horizon_option, seeds_option, within
from rtsysid.cli.outputs import output
from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.storage.products import BUNDLE, COMPARISON, DEMO, UNFINISHED_RUN

if TYPE_CHECKING:
    from rtsysid.config import Config
    from rtsysid.experiments.compare import ComparedModel
    from rtsysid.recordings.trace import Trace
    from rtsysid.train.auto.trainer import AutoTrainer
    from rtsysid.train.loop import Epoch, Trainer

BETWEEN = 3.0  # seconds between two lines of progress


@click.command()
@click.argument("config")
@click.option("--data", type=PATH, multiple=True, required=True, help="Recording or folder of recordings; repeatable.")
@output("-o", "--out", product=UNFINISHED_RUN, required=True, help="Run folder. An unfinished run in it is continued.")
@click.option("--minutes", type=within(ranges.Minutes), help="How long a default training takes, about.")
@click.option("--linear", is_flag=True, help="End a default training with the linear model, within seconds.")
@click.option("--effort", type=within(ranges.Effort), help="Factor on the epochs of every stage: train.effort.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a key of CONFIG, as train.stride=20; repeatable.",
)
@click.option("--force", is_flag=True, help="Train in spite of grave findings of a check.")
@as_json
def train(
    config: str, data: tuple[Path, ...], out: Path, minutes: float | None, linear: bool, effort: float | None,
    settings: tuple[str, ...], force: bool, json_: bool,
) -> None:  # fmt: skip
    """Train the model of CONFIG (a TOML file, or an embedded one: quadrotor, nanodrone).

    A file of [data] alone is enough: everything else is chosen from the recordings. `docs/configuration.md` lists all
    keys of such a file.

    Example: rtsysid train arm.toml --data logs -o run --minutes 5
    """
    from rtsysid.config import config_text, with_settings

    said = settings if effort is None else (*settings, f"train.effort={effort!r}")
    text = "".join([config_text(config), *(f"# changed by the command line: {each}\n" for each in said)])
    parsed = with_settings(text, said, config)
    last = _train_to_end(parsed, data, out, text, linear=linear, minutes=minutes, force=force)
    if last.pop("finished_before"):
        remedy = "export it, or name another folder to train again"
        raise ConfigError(f"run {out}", "its training is already finished, nothing was trained", remedy)
    if not json_:
        del last["notes"]
    console.report({"run": str(out), **last}, json_)


@click.command("export")
@click.argument("run", type=PATH)
@output("-o", "--out", product=BUNDLE, required=True, help="Bundle folder. An existing bundle is replaced.")
@click.option(
    "--target",
    "targets",
    help="Any of onnx,c,int8,casadi,aarch64,armv7.  [default: onnx, and c where a compiler is installed]",
)
@as_json
def export_command(run: Path, out: Path, overwrite: bool, targets: str | None, json_: bool) -> None:
    """Export a finished run to a verified bundle.

    Example: rtsysid export run -o bundle --target onnx,c,int8
    """
    from export.bundle import export as export_run
    from export.targets import default_targets, parse_targets, without_c

    chosen = default_targets() if targets is None else parse_targets(targets)
    if targets is None and (without := without_c()):
        console.echo(without, err=True)
    bundle, rows = export_run(run, out, chosen, overwrite=overwrite)
    console.show_verification(bundle, rows, json_)
    if (line := calibrate.calibration_line(bundle)) is not None:
        console.echo(line, err=True)


@click.command("compare")
@click.argument("configs", nargs=-1, required=True)
@click.option("--data", type=PATH, multiple=True, help="Training recordings; repeatable.")
@click.option("--test", type=PATH, multiple=True, help="Test recordings; repeatable.  [default: the validation part]")
@output("-o", "--out", product=COMPARISON, required=True, help="Folder for runs and bundles.")
@seeds_option
@horizon_option
@click.option(
    "--effort", type=within(ranges.Effort), default=1.0, show_default=True, help="Factor on the epochs of every stage."
)
@as_json
def compare_command(
    configs: tuple[str, ...], data: tuple[Path, ...], test: tuple[Path, ...], out: Path, seeds: int, horizon: int,
    effort: float, json_: bool,
) -> None:  # fmt: skip
    """Train several configurations and compare them.

    A single CONFIG is trained in the four variants of the source talk; hidden widths are chosen so that all have the
    same number of parameters. Without --data, CONFIG is the benchmark nanodrone or schunk-arm, with its recordings and
    its split.

    Example: rtsysid compare quadrotor --data flights -o comparison --seeds 3
    """
    from rtsysid.benchmarks import forecasting_benchmark
    from rtsysid.config import embedded, parse_config, read_config
    from rtsysid.experiments.benchmark import quickened
    from rtsysid.experiments.compare import rows, variants_of
    from rtsysid.guards.text import file_names
    from rtsysid.storage import enter

    known = None if data else forecasting_benchmark(configs)
    if known is None:
        titles = file_names(Path(name).stem for name in configs)
        read = [(title, read_config(name)) for title, name in zip(titles, configs, strict=True)]
    else:
        read = [(known.name, parse_config(embedded(known.config), known.config))]
    read = [(name, quickened(config, effort)) for name, config in read]
    enter(out, COMPARISON)
    jobs = variants_of(read[0][1]) if len(read) == 1 else read
    results: list[ComparedModel] = []
    for title, config in jobs:
        if known:
            trace, held_out = known.training(config.data.channels), known.testing(config.data.channels)
        else:
            trace, held_out = _training_and_test(config, data, test)
        results += [_compared_model(title, config, seed, trace, held_out, out, horizon) for seed in range(seeds)]
    if json_:
        return console.report({"results": msgspec.to_builtins(results)}, json_)
    columns = [f"{n} ticks" for n in results[0].evaluation.table_ticks]
    console.block(
        console.table(
            ["variant", "group", *columns, "sum", "parameters", "MACs", "step us", "RAM bytes"], rows(results)
        )
    )


def _training_and_test(config: Config, data: Sequence[Path], test: Sequence[Path]) -> tuple[Trace, Trace]:
    """Read both; without test recordings the validation part is the test."""
    from rtsysid.recordings.held_out import validation_part

    config, trace = _read_recordings(config, data)
    held_out = _read_recordings(config, test)[1] if test else validation_part(trace, config)
    held_out.segments(config.data.rate_hz, nan="split")  # refused before the training, not after it
    return trace, held_out


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
    """Run all steps: recordings, training, export, verification, evaluation on unseen flights, live replay.

    Example: rtsysid demo --data nanodrone
    """
    from export.bundle import export as export_run
    from rtsysid.config import read_config
    from rtsysid.experiments.demo import demo_recordings, stream
    from rtsysid.storage import enter

    enter(out, DEMO)
    out = out / data
    config = read_config("nanodrone" if data == "nanodrone" else "quadrotor")
    console.heading(f"1  recordings ({data})", json_)
    training, unseen_folder = demo_recordings(data, out / "recordings")
    unseen = _read_recordings(config, [unseen_folder])[1]
    console.heading(f"2  training {config.model.variant}, schedule {config.train.preset}", json_)
    _train_to_end(config, [training], out / "run", "", restart=True)
    console.heading("3  export and verification", json_)
    bundle, rows = export_run(out / "run", out / "bundle")
    if not json_:
        console.block(console.verification(rows))
    console.heading(f"4  {len(unseen.episodes)} unseen flights, forecasts of {horizon} ticks", json_)
    result = console.evaluating(bundle, unseen, horizon, 1)
    live = stream(bundle, unseen.episodes[0])
    if json_:
        return console.report(
            {"bundle": str(out / "bundle"), "evaluation": msgspec.to_builtins(result), "live": live.summary}, json_
        )
    console.block(console.evaluation(result))
    console.heading(f"5  {live.name} streamed sample by sample", json_)
    latency = live.summary["latency"]
    console.echo(
        f"{live.samples} samples in {live.seconds:.2f} s; step p50 {latency['p50'] * 1e6:.1f} us, "
        f"p99 {latency['p99'] * 1e6:.1f} us, worst {latency['worst'] * 1e6:.0f} us"
    )
    console.block(f"\nbundle: {out / 'bundle'} (id {bundle.id})")


def _compared_model(
    title: str, config: Config, seed: int, trace: Trace, held_out: Trace, out: Path, horizon: int
) -> ComparedModel:
    """Train and measure one model; print a line per epoch, or that a run of an earlier call is used."""
    from rtsysid.experiments.compare import ComparedModel, run_one, seeded

    name, trained = f"{title} seed {seed}", False
    for item in run_one(title, seeded(config, seed), trace, held_out, out / f"{title}-seed{seed}", horizon):
        if isinstance(item, ComparedModel):
            if not trained:
                console.echo(f"{name}: its run was finished before and is used again", err=True)
            return item
        trained = True
        console.echo(f"{name}: {item.stage} {item.epoch}/{item.epochs} {item.validation:.4g}", err=True)
    raise AssertionError("run_one yields the model last")


def _read_recordings(config: Config, paths: Sequence[Path]) -> tuple[Config, Trace]:
    """Read the recordings; return the configuration with what alignment chose."""
    from rtsysid.recordings.reading import read_resolved

    data, trace = read_resolved(paths, config.data)
    return msgspec.structs.replace(config, data=data), trace


def _train_to_end(
    config: Config,
    data: Sequence[Path],
    out: Path,
    text: str,
    *,
    restart: bool = False,
    linear: bool = False,
    minutes: float | None = None,
    force: bool | None = None,
) -> dict[str, Any]:
    """Train to the end and show the progress; return the last epoch, if any, and notes on the recordings.

    ``finished_before``: there was nothing to train. `force`: train in spite of grave findings; None: no check.
    """
    from rtsysid.recordings.pieces import texts
    from rtsysid.train.auto.trainer import AutoTrainer
    from rtsysid.train.fit import begin

    config, recordings = _read_recordings(config, data)
    unchecked = force is None or (out / "run.json").exists()
    likely = [] if unchecked else check.before_training(data, config, recordings, bool(force))
    trainer = begin(config, recordings, out, text, restart=restart, linear=linear, minutes=minutes)
    console.notes(trainer.notes)
    finished_before = trainer.run.complete and not restart
    last = _show_default(trainer) if isinstance(trainer, AutoTrainer) else _show_epochs(trainer, likely)
    return {**last, "notes": texts(trainer.notes), "finished_before": finished_before}


def _show_epochs(trainer: Trainer, likely: Sequence[str]) -> dict[str, Any]:
    """Show the epochs of a schedule by a progress bar; return the last one."""
    from rtsysid.train.loop import linear_loss, poor_loss

    last: dict[str, Any] = {}
    reached: list[float] = []  # in the last stage
    with console.progress(trainer.total, "training") as bar:
        bar.update(trainer.done)
        for epoch in trainer.epochs():
            reached = [*(reached if last.get("stage") == epoch.stage else []), epoch.validation]
            last = vars(epoch)
            bar.update(1, f"{epoch.stage} {epoch.epoch}/{epoch.epochs}, loss {epoch.validation:.3f}")
    if last and (warning := poor_loss(min(reached), linear_loss(trainer.stages[-1]), likely)):
        console.echo(warning, err=True)
    return last


def _show_default(trainer: AutoTrainer) -> dict[str, Any]:
    """Print what a default training finds, line by line; return the last epoch of the network that judges.

    An interrupt keeps the best network so far.
    """
    console.echo(*trainer.findings(), err=True)
    last: dict[str, Any] = {}
    try:
        for epoch, line in _timed(trainer):
            last = vars(epoch)
            console.echo(*([line] if line else []), err=True)
    except KeyboardInterrupt:
        if trainer.keep_best():
            console.echo("stopped: the run holds the best so far", *trainer.conclusions(), err=True)
        raise
    console.echo(*trainer.conclusions(), err=True)
    return last


def _timed(trainer: AutoTrainer) -> Iterator[tuple[Epoch, str]]:
    """Yield each epoch, with a line where one is due: time left, and error of the judge by ticks ahead.

    Between two lines lie `BETWEEN` seconds or more.
    """
    first = shown = time.monotonic()
    left = trainer.total - trainer.done
    for count, epoch in enumerate(trainer.epochs()):
        now = time.monotonic()
        first = first if count else now  # the short runs come before the first epoch
        seconds = (now - first) / max(count, 1) * max(0, left - count - 1)
        line = f"{_time_left(seconds):>21}   {'  '.join(f'{each:5.3f}' for each in epoch.ahead)}"
        due = now - shown > BETWEEN and bool(epoch.ahead)
        shown = now if due else shown
        yield epoch, line if due else ""


def _time_left(seconds: float) -> str:
    return f"about {seconds:.0f} s left" if seconds else ""
