"""Define the commands for public recordings: benchmark (needs the [train] install), data list, data get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console, distributions, robots, study
from rtsysid.cli.complete import benchmark_names, source_names
from rtsysid.cli.options import PATH, as_json, within
from rtsysid.cli.outputs import output
from rtsysid.cli.sections import Sections
from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.storage.products import AUTOENCODERS, BENCHMARK, BENCHMARK_PREDICTIONS, EXAMPLE, npz_mark

if TYPE_CHECKING:
    from rtsysid.benchmarks import Benchmark
    from rtsysid.config import Config
    from rtsysid.experiments.benchmark import BenchmarkResult

OF_ROBOTS = ("--data", "--robot")  # options of the benchmark of robots alone
OF_ONE = (*OF_ROBOTS, "--ground")  # options of one benchmark alone
TAKEN: dict[str, tuple[str, ...]] = {  # of names that take few; the others take all options but `OF_ONE`
    robots.NAME: ("--seeds", *OF_ROBOTS),
    distributions.NAME: ("--seeds", "--ground"),
    **dict.fromkeys(("autoencoders", *study.NAMES), ()),
}


@click.command("benchmark")
@click.argument("name", shell_complete=benchmark_names)
@click.option("--quick", is_flag=True, help="Train a share of the epochs: takes minutes, detects regressions.")
@click.option(
    "--seeds",
    type=within(ranges.Few),
    help="Models to train, seeds 0, 1, ..  [default: 1; robots: 3, with --quick 1]",
)
@output("--predictions", product=BENCHMARK_PREDICTIONS, help="Write the predictions of seed 0 to this .npz file.")
@output("-o", "--out", product=BENCHMARK, help="Folder for runs and bundles.  [default: out/benchmarks/NAME]")
@click.option("--leave-out", metavar="KIND", help="Nano-drone: do not train on these manoeuvres, test on them.")
@click.option(
    "--validate",
    is_flag=True,
    help="Test on what is for choices: simulations on the last fifth of the\n"
    "training records, nanodrone-live on the raw multisine flight.",
)
@click.option("--bundle", type=PATH, help="Score this bundle instead of training one.")
@click.option("--data", type=PATH, multiple=True, help="robots: folder of robots in place of RTSYSID_DATA/robots.")
@click.option("--robot", multiple=True, metavar="NAME", help="robots: only this one; repeatable.")
@click.option("--ground", multiple=True, metavar="NAME", help="generative: only this ground; repeatable.")
@as_json
def benchmark_command(
    name: str, quick: bool, seeds: int | None, predictions: Path | None, overwrite: bool, out: Path | None,
    leave_out: str | None, validate: bool, bundle: Path | None, data: tuple[Path, ...], robot: tuple[str, ...],
    ground: tuple[str, ...], json_: bool,
) -> None:  # fmt: skip
    """Train and score on real recordings, and compare with published results.

    NAME may also be `robots`, which compares the default model with its peers (`docs/accuracy.md`), or a study:
    autoencoders, novelty, intervals or generative (`docs/autoencoders.md`, `docs/novelty.md`, `docs/generative.md`).

    Example: rtsysid benchmark cascaded-tanks --quick
    """
    given = {
        "--seeds": (seeds or 1) > 1, "--predictions": predictions, "--leave-out": leave_out, "--validate": validate,
        "--bundle": bundle, "--data": data, "--robot": robot, "--ground": ground,
    }  # fmt: skip
    _refuse_options(name, [option for option, value in given.items() if value])
    if name == robots.NAME:
        return robots.robots(quick, seeds, data, robot, out or Path("out/benchmarks") / name, json_)
    if name == distributions.NAME:
        return distributions.distributions(quick, seeds, ground, out or Path("out/benchmarks") / name, json_)
    if name == "autoencoders":
        return _autoencoders(quick, out or Path("out/benchmarks") / name, json_)
    if name in study.NAMES:
        return study.study(name, quick, out, json_)
    from rtsysid.benchmarks import benchmark
    from rtsysid.storage import enter

    chosen = _with_test_data(benchmark(name), leave_out, validate)
    if bundle is not None:
        results = [_score_bundle(chosen, bundle)]
    else:
        tested_on = leave_out or ("validate" if validate else "")
        workspace = out or Path("out/benchmarks") / name
        enter(workspace, BENCHMARK)
        folder = workspace / ("quick" if quick else "full") / tested_on
        results = _train_seeds(chosen, _benchmark_config(chosen, quick, validate), seeds or 1, folder)
    if predictions is not None:
        _write_predictions(predictions, chosen, results[0], overwrite)
    return _show(chosen, quick, results, json_)


def _refuse_options(name: str, given: list[str]) -> None:
    """Raise ConfigError for options that a benchmark does not take."""
    taken = TAKEN.get(name)
    if taken is None and (wrong := [option for option in given if option in OF_ONE]):
        owner = robots.NAME if wrong[0] in OF_ROBOTS else distributions.NAME
        raise ConfigError(f"benchmark {name}", ", ".join(wrong), f"leave it out, or run benchmark {owner}")
    if taken is not None and (wrong := [option for option in given if option not in taken]):
        takes = ", ".join((*taken, "--quick", "-o"))
        raise ConfigError(f"benchmark {name}", ", ".join(wrong), f"it takes {takes} and --json")


def _benchmark_config(chosen: Benchmark, quick: bool, validate: bool) -> Config:
    """Return the configuration of the benchmark, adapted to the options."""
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
    """Print the scores, together with the published ones and that of the hold model."""
    from rtsysid.benchmarks.score import score_rows
    from rtsysid.experiments.benchmark import baselines

    references, first = baselines(chosen), results[0]
    if json_:
        ours = [{k: v for k, v in msgspec.structs.asdict(r).items() if k != "predictions"} for r in results]
        fields = {"benchmark": chosen.name, "quick": quick, "results": ours, "beside": references}
        return console.report(msgspec.to_builtins(fields), True)
    scores = [*references, *(score for result in results for score in result.scores)]
    console.block(console.table(["model", "protocol", *chosen.measures], score_rows(scores, chosen.measures)))
    console.echo(
        f"{len(results)} seed(s), {first.parameters} parameters, {first.macs} MACs per step; bundle {first.bundle}"
    )
    return None


def _with_test_data(chosen: Benchmark, kind: str | None, validate: bool) -> Benchmark:
    """Return the benchmark with the requested test data: the official ones, or training data for choices."""
    from rtsysid.benchmarks.nanodrone import Nanodrone
    from rtsysid.benchmarks.raw_flights import NanodroneLive
    from rtsysid.benchmarks.simulation import Simulation

    if validate:
        if not isinstance(chosen, Simulation | NanodroneLive) or kind:
            remedy = f"it is for simulations and {NanodroneLive.name}; see --leave-out"
            raise ConfigError("--validate", f"benchmark {chosen.name}", remedy)
        return chosen.validating()
    if kind is None:
        return chosen
    if not isinstance(chosen, Nanodrone):
        raise ConfigError("--leave-out", f"benchmark {chosen.name}", "it is for the nano-drone's manoeuvres")
    return chosen.without(kind)


def _autoencoders(quick: bool, folder: Path, json_: bool) -> None:
    """Run the study of the autoencoders: print tables, and write a page with plots."""
    from rtsysid.experiments.autoencoders import FULL, QUICK, member_results
    from rtsysid.experiments.autoencoders_page import render_autoencoders_page, tables
    from rtsysid.storage import enter, replacing, require_output

    require_output(folder, BENCHMARK)
    target = folder / f"{'quick' if quick else 'full'}.html"
    require_output(target, AUTOENCODERS)
    command, results = f"rtsysid benchmark autoencoders{' --quick' if quick else ''}", []
    for result in member_results(QUICK if quick else FULL):
        results.append(result)
        console.echo(f"{result.ground}: {result.member} {result.size or ''}", err=True)
    enter(folder, BENCHMARK)
    with replacing(target, AUTOENCODERS) as path:
        path.write_text(render_autoencoders_page(results, command), "utf-8")
    if json_:
        return console.report({"quick": quick, "findings": msgspec.to_builtins(results)}, True)
    for each in tables(results):
        console.block(f"{each.title}\n{console.table(each.header, each.rows)}\n")
    console.echo(f"page: {target}")


def _train_one(chosen: Benchmark, config: Config, folder: Path) -> BenchmarkResult:
    from rtsysid.experiments.benchmark import BenchmarkResult, run_benchmark

    name, trained = f"{chosen.name} seed {config.train.seed}", False
    for item in run_benchmark(chosen, config, folder):
        if isinstance(item, BenchmarkResult):
            if not trained:
                console.echo(f"{name}: its run was finished before and is used again", err=True)
            return item
        trained = True
        loss = f"loss {item.validation:.4g}, {item.seconds:.1f} s"
        console.echo(f"{name}: {item.stage} {item.epoch}/{item.epochs}, {loss}", err=True)
    raise AssertionError("run_benchmark yields its result last")


def _write_predictions(path: Path, chosen: Benchmark, result: BenchmarkResult, overwrite: bool) -> None:
    import numpy as np

    from rtsysid.storage import replacing

    with replacing(path, BENCHMARK_PREDICTIONS, overwrite=overwrite) as scratch:
        channels = np.array([channel.name for channel in chosen.outputs])
        arrays = {**result.predictions, "channels": channels, **npz_mark(BENCHMARK_PREDICTIONS)}
        np.savez_compressed(scratch, allow_pickle=False, **arrays)


@click.group(cls=Sections)
def data() -> None:
    """List and download public recordings.

    Example: rtsysid data list
    """


@data.command("list")
@click.argument("names", nargs=-1, shell_complete=source_names)
@click.option(
    "--files", "per_file", is_flag=True, help="Print one line per file, with its SHA-256 (of the content before gzip)."
)
@as_json
def data_list(names: tuple[str, ...], per_file: bool, json_: bool) -> None:
    """List the known sets of recordings, their terms of use, and the number of local files.

    Example: rtsysid data list ced --files
    """
    from rtsysid.benchmarks.sources import file_state, source_files, sources
    from rtsysid.recordings.home import home

    folder = home()
    chosen = {name: [(file, file_state(file, folder)) for file in source_files(name)] for name in names or sources()}
    if json_:
        fields = {
            name: {**msgspec.to_builtins(sources()[name]),
                   "files": [{**msgspec.to_builtins(file), "state": state} for file, state in listed]}
            for name, listed in chosen.items()
        }  # fmt: skip
        return console.report({"folder": str(folder), "sets": fields}, True)
    if per_file:
        lines = [[f.path, str(f.bytes), f.sha256, state] for listed in chosen.values() for f, state in listed]
        return console.block(console.table(["file", "bytes", "SHA-256", "here"], lines))
    for name, listed in chosen.items():
        source, present = sources()[name], sum(state == "present" for _, state in listed)
        megabytes = sum(file.bytes for file, _ in listed) / 1e6
        console.echo(f"{name}: {present} of {len(listed)} files here, {megabytes:.1f} MB", f"  {source.title}")
        console.echo(f"  terms: {source.terms}", f"  from: {source.page}")
        for file, state in listed:
            if state == "differs":
                console.echo(f"  {file.path} differs from the published file")
    console.echo(f"folder: {folder}")


@data.command("get")
@click.argument("names", nargs=-1, required=True, shell_complete=source_names)
@as_json
def data_get(names: tuple[str, ...], json_: bool) -> None:
    """Download absent files from the original publisher and check their SHA-256.

    Example: rtsysid data get ced
    """
    from rtsysid.benchmarks.sources import fetch, sources

    states = {}
    for name in names:
        for file, state in fetch(name):
            states[file.path] = state
            console.echo(f"{state}: {file.path}", err=json_)
        console.echo(f"{name}: {sources()[name].terms}", err=json_)
    if json_:
        console.report({"files": states}, True)


@data.command("example")
@output("-o", "--out", product=EXAMPLE, required=True, help="Folder for the recordings.")
@as_json
def data_example(out: Path, overwrite: bool, json_: bool) -> None:
    """Write the recordings that come with the package: eight runs of a six-jointed arm, as CSV, without a download.

    OUT/train has six runs for training, OUT/unseen two to judge the model on. Licence: CC0.

    Example: rtsysid data example -o arm
    """
    from rtsysid.recordings.example_runs import write_example

    paths = list(write_example(out, overwrite=overwrite))
    console.report({"folder": str(out), "recordings": len(paths), "licence": "CC0 1.0"}, json_)
