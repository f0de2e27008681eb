"""The command that trains several configurations and compares them. It needs the [train] extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.complete import config_names
from rtsysid.cli.options import PATH, as_json, horizon_option, seeds_option, within
from rtsysid.cli.outputs import output
from rtsysid.cli.training import read_resolved_config
from rtsysid.guards import ranges
from rtsysid.storage.products import COMPARISON

if TYPE_CHECKING:
    from rtsysid.config import Config
    from rtsysid.experiments.compare import ComparedModel
    from rtsysid.recordings.trace import Trace


@click.command("compare")
@click.argument("configs", nargs=-1, required=True, shell_complete=config_names)
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

    A single CONFIG is trained in the four variants of the source talk; hidden widths are chosen so that all have about
    the same number of parameters. Without --data, CONFIG is the benchmark nanodrone or schunk-arm, with its recordings
    and its split.

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
            job = _Compared(config, known.training(config.data.channels), known.testing(config.data.channels))
        else:
            job = _compared(config, data, test)
        results += [_compared_model(title, job, seed, out, horizon) for seed in range(seeds)]
    if json_:
        return console.report({"results": msgspec.to_builtins(results)}, json_)
    columns = [f"{n} ticks" for n in results[0].evaluation.table_ticks]
    console.block(
        console.table(
            ["variant", "group", *columns, "sum", "parameters", "MACs", "step us", "RAM bytes"], rows(results)
        )
    )


class _Compared(NamedTuple):
    """Hold a configuration, and the recordings that train it and that test it."""

    config: Config
    training: Trace
    test: Trace


def _compared(config: Config, data: Sequence[Path], test: Sequence[Path]) -> _Compared:
    """Read both. Without test recordings the validation part is the test.

    A default training gets the other part alone then: its last stage trains on everything that it is given.
    """
    from rtsysid.recordings.held_out import training_parts

    config, trace = read_resolved_config(config, data)
    if test:
        held_out = read_resolved_config(config, test)[1]
    else:
        training, held_out = training_parts(trace, config)
        if config.auto:
            trace = training
            config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, validation=()))
    held_out.segments(config.data.rate_hz, nan="split")  # refused before the training, not after it
    return _Compared(config, trace, held_out)


def _compared_model(title: str, job: _Compared, seed: int, out: Path, horizon: int) -> ComparedModel:
    """Train and measure one model; print a line per epoch, or that a run of an earlier call is used."""
    from rtsysid.experiments.compare import ComparedModel, run_one, seeded

    name, trained = f"{title} seed {seed}", False
    config, folder = seeded(job.config, seed), out / f"{title}-seed{seed}"
    for item in run_one(title, config, job.training, job.test, folder, horizon):
        if isinstance(item, ComparedModel):
            if not trained:
                console.echo(f"{name}: its run was finished before and is used again", err=True)
            return item
        trained = True
        console.echo(f"{name}: {item.stage} {item.epoch}/{item.epochs} {item.validation:.4g}", err=True)
    raise AssertionError("run_one yields the model last")
