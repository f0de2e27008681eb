"""Provide the commands of a sweep: run, show, export. They need the [sweep] extra."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from rtsysid.cli import console, faults
from rtsysid.cli.check import before_training
from rtsysid.cli.complete import config_names
from rtsysid.cli.options import PATH, FiniteRange, as_json, within
from rtsysid.cli.outputs import output
from rtsysid.cli.sections import Sections
from rtsysid.errors import ConfigError, RtsysidError
from rtsysid.guards import ranges
from rtsysid.storage.products import CONFIGURATION, SWEEP

if TYPE_CHECKING:
    import optuna

    from rtsysid.config import Config
    from rtsysid.experiments.sweep.space import Space
    from rtsysid.experiments.sweep.study import Plan
    from rtsysid.experiments.sweep.worker import Limits
    from rtsysid.recordings.trace import Trace

UNITS = {"s": 1, "m": 60, "h": 3600}
DEFAULT_BUDGET_S = 3600.0
RATIO, INTERVAL = "ratio_to_the_configuration", "interval_of_the_ratio"  # of the errors, on the validation recordings


class Duration(FiniteRange):
    """A time in seconds, minutes or hours: ``60s``, ``20m``, ``8h``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds. Raises click.BadParameter for anything else."""
        if isinstance(value, str) and value[-1:] not in UNITS:
            self.fail(f"{value!r} is not a time such as 60s, 20m or 8h.", param, ctx)
        if not isinstance(value, str):
            return super().convert(value, param, ctx)
        number = super().convert(value[:-1], param, ctx)
        return super().convert(number * UNITS[value[-1]], param, ctx)


class _Task(NamedTuple):
    """What a worker process is told. The address of the storage has the password, so it is never an argument."""

    plan: Plan
    data: tuple[Path, ...]
    folder: Path
    address: str | None
    limits: Limits
    pruning: bool


storage_option = click.option(
    "--storage", metavar="URL", help="PostgreSQL server that several machines share.  [default: a file in the folder]"
)


@click.group(cls=Sections)
def sweep() -> None:
    """Search for a better or a smaller model, and export what was found.

    Example: rtsysid sweep run arm.toml --data logs --budget 8h -o sweep
    """


@sweep.command("run")
@click.argument("config", shell_complete=config_names)
@click.option("--data", type=PATH, multiple=True, required=True, help="Recording or folder of recordings; repeatable.")
@output("-o", "--out", product=SWEEP, required=True, help="Sweep folder. A sweep in it is continued.")
@click.option(
    "--budget", type=within(ranges.SomeSeconds, Duration), metavar="TIME",
    help="Time of the whole sweep over all calls: 60s, 20m, 8h.  [default: 1h, or none with --trials]",
)  # fmt: skip
@click.option("--trials", type=within(ranges.Count), help="Finished trials of the whole sweep after which it ends.")
@click.option("--jobs", type=within(ranges.Few), default=1, show_default=True, help="Worker processes to start.")
@click.option("--no-pruning", is_flag=True, help="Train every trial to its end, also one that is far behind.")
@storage_option
@click.option("--space", "space_path", type=PATH, help="TOML file of what to vary.  [default: from CONFIG]")
@click.option("--force", is_flag=True, help="Search in spite of grave findings of a check.")
@as_json
def run_command(
    config: str, data: tuple[Path, ...], out: Path, budget: float | None, trials: int | None, jobs: int,
    no_pruning: bool, storage: str | None, space_path: Path | None, force: bool, json_: bool,
) -> None:  # fmt: skip
    """Search the space around CONFIG for models with a small validation error and a small cost.

    A killed sweep continues with the same command. The error is measured on the validation recordings of CONFIG; test
    recordings have no place here.

    Example: rtsysid sweep run arm.toml --data logs --budget 8h --jobs 2 -o sweep
    """
    from rtsysid.experiments.sweep.folder import begin_sweep, studied
    from rtsysid.experiments.sweep.storage import require_server
    from rtsysid.experiments.sweep.worker import Limits, Worker

    begun = time.monotonic()
    if storage is not None:
        require_server(storage)
    plan, trace = _plan(config, data, out, storage, space_path, force)
    Worker(plan, trace, out)  # what is wrong with space or recordings is found out before anything is written
    plan = begin_sweep(out, plan, storage)
    unlimited = float("inf")
    default = unlimited if trials else DEFAULT_BUDGET_S
    seconds = (budget or default) - (time.monotonic() - begun)
    task = _Task(plan, data, out, storage, Limits(seconds, trials or unlimited), not no_pruning)
    if jobs == 1:
        _run_trials(task, trace)
    else:
        _run_workers(task, jobs)
    with studied(out, plan, storage) as study:
        _print_result(out, study, json_)


def _plan(
    config: str, data: Sequence[Path], out: Path, storage: str | None, space_path: Path | None, force: bool
) -> tuple[Plan, Trace]:
    """Return the plan of the folder, or a new one, and the recordings."""
    from rtsysid.config import read_config
    from rtsysid.experiments.sweep.folder import known_plan
    from rtsysid.experiments.sweep.space import read_space
    from rtsysid.experiments.sweep.storage import parse_url, public
    from rtsysid.experiments.sweep.study import Plan, asked_for
    from rtsysid.train.auto.begin import completed

    address = "" if storage is None else public(parse_url(storage))
    parsed = read_config(config)
    space = None if space_path is None else read_space(space_path)
    parsed, trace = _recordings(parsed, data)
    asked = asked_for(parsed, space, trace.sources)
    if (known := known_plan(out, asked, address)) is not None:
        return known, trace
    before_training(data, parsed, trace, force)
    whole = completed(parsed, trace)
    return Plan(whole, space or _derived_space(whole, trace), asked, address), trace


def _derived_space(config: Config, trace: Trace) -> Space:
    """Derive a space from a configuration and from what its recordings allow."""
    from dataclasses import replace

    from rtsysid.experiments.sweep.objective import parts_of_training
    from rtsysid.experiments.sweep.space import default_space

    parts = parts_of_training(config, replace(trace, channels=config.data.channels))
    return default_space(config, min(max(map(len, part)) for part in parts))


def _recordings(config: Config, data: Sequence[Path]) -> tuple[Config, Trace]:
    """Read the recordings; return the configuration with what alignment chose."""
    from rtsysid.recordings.reading import read_resolved

    settings, trace = read_resolved(data, config.data)
    return msgspec.structs.replace(config, data=settings), trace


def _run_trials(task: _Task, trace: Trace) -> None:
    from rtsysid.experiments.sweep.folder import studied
    from rtsysid.experiments.sweep.worker import Worker

    worker = Worker(task.plan, trace, task.folder)
    with studied(task.folder, task.plan, task.address, pruning=task.pruning) as study:
        for done in worker.outcomes(study, task.limits):
            error = "" if done.error is None else f", error {done.error:.4g}"
            reason = f": {done.reason}" if done.reason else ""
            console.echo(f"trial {done.number} {done.state}{error}{reason}", err=True)


def _run_workers(task: _Task, jobs: int) -> None:
    """Start worker processes and wait for them; they end with this one."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(task,), daemon=True) for _ in range(jobs)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    codes = [each.exitcode or 0 for each in workers]
    if max(codes) > 0:
        raise click.exceptions.Exit(max(codes))
    killed = sum(code < 0 for code in codes)
    if killed == jobs:
        raise RtsysidError(
            "sweep", "every worker was killed", "give the same command again: only their trials are lost"
        )
    if killed:
        console.echo(f"{killed} of {jobs} workers were killed; the others went on", err=True)


def _work(task: _Task) -> None:
    """Run trials in a process of its own; an error is printed as the command line prints it."""
    try:
        _run_trials(task, _recordings(task.plan.config, task.data)[1])
    except BaseException as error:
        code, lines = faults.outcome(error)
        if code != faults.INTERRUPTED:  # the process that started this one says it
            console.echo(*(f"rtsysid: {line}" for line in lines), err=True)
        sys.exit(code)


@sweep.command("show")
@click.argument("sweep_path", metavar="SWEEP", type=PATH)
@storage_option
@as_json
def show_command(sweep_path: Path, storage: str | None, json_: bool) -> None:
    """Print one line per finished trial, best first, and write the page SWEEP/sweep.html.

    A line has the trial's number, its error (1 is as good as hold), multiply-accumulates of a step, bytes of its
    weights as float32, and what was chosen.

    Example: rtsysid sweep show sweep
    """
    from rtsysid.experiments.sweep.folder import read_plan, studied
    from rtsysid.experiments.sweep.page import render_sweep_page
    from rtsysid.experiments.sweep.study import finished
    from rtsysid.storage import replacing
    from rtsysid.storage.products import SWEEP_PAGE

    plan = read_plan(sweep_path)
    with studied(sweep_path, plan, storage) as study:
        rows = [_trial_row(trial, plan) for trial in finished(study)]
        text = render_sweep_page(sweep_path.resolve().name, study, plan)
        summary = _summary(study)
    with replacing(sweep_path / "sweep.html", SWEEP_PAGE) as path:
        path.write_text(text, "utf-8")
    if json_:
        return console.report({"trials": rows, **summary}, True)
    for row in rows:
        chosen = (f"{path}={json.dumps(value, separators=(',', ':'))}" for path, value in row["chosen"].items())
        console.echo(" ".join([f"{row['trial']} {row['error']:.6g} {row['macs']} {row['weight_bytes']}", *chosen]))
    console.echo(console.text(summary), f"page: {sweep_path / 'sweep.html'}", err=True)
    _say_whether_sure(summary)
    return None


@sweep.command("export")
@click.argument("sweep_path", metavar="SWEEP", type=PATH)
@click.argument("trial", type=click.IntRange(0, 1_000_000))
@output("-o", "--out", product=CONFIGURATION, required=True, help="TOML file to write.")
@storage_option
@as_json
def export_trial_command(
    sweep_path: Path, trial: int, out: Path, overwrite: bool, storage: str | None, json_: bool
) -> None:
    """Write the configuration of a finished trial, ready for `rtsysid train`.

    Example: rtsysid sweep export sweep 17 -o better.toml
    """
    from rtsysid.experiments.sweep.folder import read_plan, studied
    from rtsysid.experiments.sweep.space import configured
    from rtsysid.experiments.sweep.study import chosen, finished
    from rtsysid.storage import replacing
    from rtsysid.train.config_text import toml_text

    plan = read_plan(sweep_path)
    with studied(sweep_path, plan, storage) as study:
        known = {each.number: each for each in finished(study)}
    if trial not in known:
        listed = ", ".join(map(str, sorted(known)[:20])) or "none yet"
        raise ConfigError(f"sweep {sweep_path}", f"trial {trial} is not finished", f"finished are {listed}")
    config = configured(plan.config, chosen(known[trial], plan.space), plan.space)
    with replacing(out, CONFIGURATION, inputs=(sweep_path,), overwrite=overwrite) as path:
        path.write_text(toml_text(config), "utf-8")
    row = _trial_row(known[trial], plan)
    console.report({"configuration": str(out), **row, **_cost_on_a_board(config)}, json_)


def _cost_on_a_board(config: Config) -> dict[str, int]:
    """Count the instructions of a step on the emulated Cortex-M4F, and the flash; nothing without its tools."""
    from export.step_cost import can_count, step_cost
    from rtsysid.experiments.sweep.space import fitting_spec
    from rtsysid.spec import unit_scaling

    if not can_count():
        return {}
    spec = fitting_spec(config)
    instructions, image = step_cost(msgspec.structs.replace(spec, scaling=unit_scaling(spec)), "strict")
    return {"instructions": instructions, "flash_bytes": image.flash}


def _trial_row(trial: optuna.trial.FrozenTrial, plan: Plan) -> dict[str, Any]:
    from rtsysid.experiments.sweep.study import BYTES, MACS, chosen

    cost = {name: trial.user_attrs[name] for name in (MACS, BYTES)}
    return {"trial": trial.number, "error": trial.value, **cost, "chosen": chosen(trial, plan.space)}


def _summary(study: optuna.Study) -> dict[str, Any]:
    from rtsysid.experiments.sweep.comparison import ratio_of_trials
    from rtsysid.experiments.sweep.study import counts, finished, of_configuration, seconds_used

    trials = finished(study)
    best, own = (next(iter(each), None) for each in (trials, of_configuration(trials)))
    found = {} if best is None else {"best_trial": best.number, "error": best.value}
    gain = None if best is None or own is None or best is own else ratio_of_trials(best, own)
    named = {"error_of_the_configuration": None if own is None else own.value}
    compared = {} if gain is None else {RATIO: gain.ratio, INTERVAL: [gain.low, gain.high]}
    return {**counts(study), **found, **named, **compared, "seconds": round(seconds_used(study), 1)}


def _say_whether_sure(summary: dict[str, Any]) -> None:
    if INTERVAL in summary and summary[INTERVAL][1] >= 1.0:
        console.echo(f"trial {summary['best_trial']} is not surely better than the configuration", err=True)


def _print_result(out: Path, study: optuna.Study, json_: bool) -> None:
    summary = _summary(study)
    console.report({"sweep": str(out), **summary}, json_)
    _say_whether_sure(summary)
    if not summary["finished"]:
        found = f"no trial is finished after {summary['seconds']:g} s"
        raise RtsysidError(f"sweep {out}", found, "give the same command with a larger --budget, which continues it")
