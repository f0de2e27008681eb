"""The verbs around known recordings: benchmark (needs the [train] install), data list, data get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console, study
from rtsysid.errors import ConfigError

if TYPE_CHECKING:
    from rtsysid.benchmarks import Benchmark
    from rtsysid.config import Config
    from rtsysid.experiments.benchmark import BenchmarkResult

PATH = click.Path(path_type=Path)
as_json = console.as_json


@click.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="A share of the epochs: minutes, to notice a regression.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Models to train, seeds 0, 1, ..")
@click.option("--predictions", type=PATH, help="Write the raw predictions of seed 0 to this .npz file.")
@click.option("-o", "--out", type=PATH, help="Folder for runs and bundles.  [default: out/benchmarks/NAME]")
@click.option(
    "--leave-out", metavar="KIND", help="Nano-drone: judge on these training manoeuvres, left out of training."
)
@click.option("--validate", is_flag=True, help="Simulations: judge on the last fifth of the training records instead.")
@click.option("--bundle", type=PATH, help="Score this bundle instead of training one.")
@as_json
def benchmark(
    name: str, quick: bool, seeds: int, predictions: Path | None, out: Path | None, leave_out: str | None,
    validate: bool, bundle: Path | None, json_: bool,
) -> None:  # fmt: skip
    """Train and score on real recordings, beside the published results.

    NAME may be a study too: autoencoders, novelty or intervals (`docs/autoencoders.md`, `docs/novelty.md`).

    Example: rtsysid benchmark cascaded-tanks --quick
    """
    if name == "autoencoders" or name in study.NAMES:
        if seeds > 1 or predictions or leave_out or validate or bundle:
            found = "--seeds, --predictions, --leave-out, --validate or --bundle"
            raise ConfigError(f"benchmark {name}", found, "it takes --quick, -o and --json")
        if name == "autoencoders":
            return _autoencoders(quick, out or Path("out/benchmarks") / name, json_)
        return study.study(name, quick, out, json_)
    from rtsysid.benchmarks import benchmark as named

    chosen = _with_test_data(named(name), leave_out, validate)
    if bundle is not None:
        results = [_score_bundle(chosen, bundle)]
    else:
        judged = leave_out or ("validate" if validate else "")
        folder = (out or Path("out/benchmarks") / name) / ("quick" if quick else "full") / judged
        results = _train_seeds(chosen, _benchmark_config(chosen, quick, validate), seeds, folder)
    if predictions is not None:
        _write_predictions(predictions, results[0])
    return _show(chosen, quick, results, json_)


def _benchmark_config(chosen: Benchmark, quick: bool, validate: bool) -> Config:
    """The benchmark's own configuration, as it is asked for."""
    from rtsysid.config import embedded, parse_config
    from rtsysid.experiments.benchmark import quickened, without_validation_training

    config = parse_config(embedded(chosen.config), chosen.config)
    config = without_validation_training(config) if validate else config
    return quickened(config, chosen.quick) if quick else config


def _score_bundle(chosen: Benchmark, bundle: Path) -> BenchmarkResult:
    from rtsysid.experiments.benchmark import scored
    from rtsysid.model.bundle import Bundle

    return scored(chosen, Bundle.open(bundle))


def _train_seeds(chosen: Benchmark, config: Config, seeds: int, folder: Path) -> list[BenchmarkResult]:
    from rtsysid.experiments.compare import seeded

    return [_train_one(chosen, seeded(config, seed), folder / f"seed{seed}") for seed in range(seeds)]


def _show(chosen: Benchmark, quick: bool, results: list[BenchmarkResult], json_: bool) -> None:
    """The scores beside those that must be beaten."""
    from rtsysid.benchmarks.score import rows
    from rtsysid.experiments.benchmark import baselines

    beside, first = baselines(chosen), results[0]
    if json_:
        ours = [{k: v for k, v in msgspec.structs.asdict(r).items() if k != "predictions"} for r in results]
        fields = {"benchmark": chosen.name, "quick": quick, "results": ours, "beside": beside}
        return console.report(msgspec.to_builtins(fields), True)
    scores = [*beside, *(score for result in results for score in result.scores)]
    click.echo(console.table(["model", "protocol", *chosen.measures], rows(scores, chosen.measures)))
    click.echo(
        f"{len(results)} seed(s), {first.parameters} parameters, {first.macs} MACs per step; bundle {first.bundle}"
    )
    return None


def _with_test_data(chosen: Benchmark, kind: str | None, validate: bool) -> Benchmark:
    """What choices are made by, where that is asked for, in the place of the test recordings."""
    from rtsysid.benchmarks.nanodrone import Nanodrone
    from rtsysid.benchmarks.simulation import Simulation

    if validate:
        if not isinstance(chosen, Simulation) or kind:
            raise ConfigError("--validate", f"benchmark {chosen.name}", "it is for simulations; see --leave-out")
        return chosen.validating()
    if kind is None:
        return chosen
    if not isinstance(chosen, Nanodrone):
        raise ConfigError("--leave-out", f"benchmark {chosen.name}", "it is for the nano-drone's manoeuvres")
    return chosen.without(kind)


def _autoencoders(quick: bool, folder: Path, json_: bool) -> None:
    """The family on real windows: tables, and a page with plots in the folder."""
    from rtsysid.experiments.autoencoders import FULL, QUICK, findings
    from rtsysid.experiments.autoencoders_page import page, tables
    from rtsysid.storage import replacing

    command, found = f"rtsysid benchmark autoencoders{' --quick' if quick else ''}", []
    for finding in findings(QUICK if quick else FULL):
        found.append(finding)
        click.echo(f"{finding.ground}: {finding.member} {finding.size or ''}", err=True)
    target = folder / f"{'quick' if quick else 'full'}.html"
    with replacing(target) as path:
        path.write_text(page(found, command), "utf-8")
    if json_:
        return console.report({"quick": quick, "findings": msgspec.to_builtins(found)}, True)
    for each in tables(found):
        click.echo(f"{each.title}\n{console.table(each.header, each.rows)}\n")
    click.echo(f"page: {target}")


def _train_one(chosen: Benchmark, config: Config, folder: Path) -> BenchmarkResult:
    from rtsysid.experiments.benchmark import BenchmarkResult, run

    for item in run(chosen, config, folder):
        if isinstance(item, BenchmarkResult):
            return item
        click.echo(
            f"{chosen.name} seed {config.train.seed}: {item.stage} {item.epoch}/{item.epochs}, "
            f"loss {item.validation:.4g}, {item.seconds:.1f} s",
            err=True,
        )
    raise AssertionError("a run ends with its result")


def _write_predictions(path: Path, result: BenchmarkResult) -> None:
    import numpy as np

    from rtsysid.errors import StorageError
    from rtsysid.storage import replacing

    if path.suffix != ".npz":
        raise StorageError(f"predictions {path}", f"suffix {path.suffix!r}", "name a .npz file")
    with replacing(path) as scratch:
        np.savez_compressed(scratch, allow_pickle=False, **result.predictions)


@click.group()
def data() -> None:
    """Known recordings: where they come from, whether they are here, and how to get them.

    Example: rtsysid data list
    """


@data.command("list")
@click.argument("names", nargs=-1)
@click.option(
    "--files", "per_file", is_flag=True, help="One line per file with its SHA-256 (of the content before gzip)."
)
@as_json
def data_list(names: tuple[str, ...], per_file: bool, json_: bool) -> None:
    """Print every known set of recordings, its terms, and how much of it is here.

    Example: rtsysid data list ced --files
    """
    from rtsysid.benchmarks.sources import files_of, sources, state
    from rtsysid.recordings.home import home

    folder = home()
    chosen = {name: [(file, state(file, folder)) for file in files_of(name)] for name in names or sources()}
    if json_:
        fields = {
            name: {**msgspec.to_builtins(sources()[name]),
                   "files": [{**msgspec.to_builtins(file), "state": here} for file, here in found]}
            for name, found in chosen.items()
        }  # fmt: skip
        return console.report({"folder": str(folder), "sets": fields}, True)
    if per_file:
        lines = [[f.path, str(f.bytes), f.sha256, here] for found in chosen.values() for f, here in found]
        return click.echo(console.table(["file", "bytes", "SHA-256", "here"], lines))
    for name, found in chosen.items():
        source, present = sources()[name], sum(here == "present" for _, here in found)
        megabytes = sum(file.bytes for file, _ in found) / 1e6
        click.echo(f"{name}: {present} of {len(found)} files here, {megabytes:.1f} MB\n  {source.title}")
        click.echo(f"  terms: {source.terms}\n  from: {source.page}")
        for file, here in found:
            if here == "differs":
                click.echo(f"  {file.path} is another file than the one known")
    click.echo(f"folder: {folder}")


@data.command("get")
@click.argument("names", nargs=-1, required=True)
@as_json
def data_get(names: tuple[str, ...], json_: bool) -> None:
    """Fetch what is absent from the original publisher and check its SHA-256.

    Example: rtsysid data get ced
    """
    from rtsysid.benchmarks.sources import fetch, sources

    states = {}
    for name in names:
        for file, here in fetch(name):
            states[file.path] = here
            click.echo(f"{here}: {file.path}", err=json_)
        click.echo(f"{name}: {sources()[name].terms}", err=json_)
    if json_:
        console.report({"files": states}, True)
