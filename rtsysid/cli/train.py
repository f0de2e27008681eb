"""The commands train and export. They need the [train] extra."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from rtsysid.cli import calibrate, console
from rtsysid.cli.complete import config_names, setting_keys, target_names
from rtsysid.cli.options import PATH, as_json, within
from rtsysid.cli.outputs import output
from rtsysid.cli.training import data_text, show_outcome, train_paths
from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.storage.products import BUNDLE, UNFINISHED_RUN


@click.command()
@click.argument("config", shell_complete=config_names)
@click.option("--data", type=PATH, multiple=True, required=True, help="Recording or folder of recordings; repeatable.")
@output("-o", "--out", product=UNFINISHED_RUN, required=True, help="Run folder. An unfinished run in it is continued.")
@click.option("--minutes", type=within(ranges.Minutes), help="How long a default training takes, in minutes, about.")
@click.option("--linear", is_flag=True, help="End a default training with the linear model, within seconds.")
@click.option("--effort", type=within(ranges.Effort), help="Factor on the epochs of every stage: train.effort.")
@click.option("--seed", type=within(ranges.Seed), help="Seed of all random draws: train.seed.  [default: 0]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=setting_keys,
    help="Another value for a key of CONFIG, as train.stride=20; repeatable.",
)
@click.option("--force", is_flag=True, help="Train in spite of grave findings of a check.")
@as_json
def train(
    config: str, data: tuple[Path, ...], out: Path, minutes: float | None, linear: bool, effort: float | None,
    seed: int | None, settings: tuple[str, ...], force: bool, json_: bool,
) -> None:  # fmt: skip
    """Train the model of CONFIG (a TOML file, or an embedded one: quadrotor, nanodrone).

    A file of [data] alone is enough: everything else is chosen from the recordings. `docs/configuration.md` lists all
    keys of such a file.

    Example: rtsysid train arm.toml --data logs -o run --minutes 5
    """
    from rtsysid.config import config_text, with_settings

    begun = time.monotonic()
    given = {"train.effort": effort, "train.seed": seed}
    said = (*settings, *(f"{key}={value!r}" for key, value in given.items() if value is not None))
    text = "".join([config_text(config), *(f"# changed by the command line: {each}\n" for each in said)])
    parsed = with_settings(text, said, config)
    last = train_paths(parsed, data, out, text, linear=linear, minutes=minutes, force=force)
    if last.pop("finished_before"):
        remedy = f"export it: rtsysid export {out} -o BUNDLE; or name another folder to train again"
        raise ConfigError(f"run {out}", "its training is already finished, nothing was trained", remedy)
    _conclude(out, data, last, time.monotonic() - begun, json_)


def _conclude(out: Path, data: Sequence[Path], last: dict[str, Any], seconds: float, json_: bool) -> None:
    """Print how a training ended, and the next command."""
    from rtsysid.train.outcome import training_end
    from rtsysid.train.run import Run

    outcome = training_end(Run(out))
    if json_:
        found = {"kept": outcome.kept, "training_s": seconds, "score": msgspec.to_builtins(outcome.evaluation)}
        return console.report({"run": str(out), **last, **found}, True)
    show_outcome(outcome, seconds)
    run = shlex.quote(str(out))
    console.echo(f"next: rtsysid report {run} --data {data_text(data)} -o {run}.html")
    console.echo(f"and:  rtsysid export {run} -o {run}-bundle")


@click.command("export")
@click.argument("run", type=PATH)
@output("-o", "--out", product=BUNDLE, required=True, help="Bundle folder. An existing bundle is replaced.")
@click.option(
    "--target",
    "targets",
    shell_complete=target_names,
    help="Any of onnx,c,int8,gradient,casadi,acados,aarch64,armv7.  [default: onnx, and c with a compiler]",
)
@click.option("--name", default="", help="Name of the model, for people and fleets.")
@click.option("--model-version", "version", default="", metavar="TEXT", help="Version of the model.")
@click.option("--note", default="", help="A note on the model, one line.")
@click.option("--card", type=PATH, metavar="FILE", help="Text for the model card; what the run knows follows it.")
@as_json
def export_command(
    run: Path, out: Path, overwrite: bool, targets: str | None, name: str, version: str, note: str, card: Path | None,
    json_: bool,
) -> None:  # fmt: skip
    """Export a finished run to a verified bundle, signed with your key.

    Example: rtsysid export run -o bundle --target onnx,c,int8 --name arm --model-version 1.2
    """
    from rtsysid.model.about import about_of

    about, own = about_of(name, version, note), "" if card is None else _card_text(card)
    console.stage("loading torch")
    from rtsysid.api import export_run

    chosen = None if targets is None else targets.split(",")
    model, rows = export_run(run, out, chosen, about=about, card=own, overwrite=overwrite)
    console.show_verification(model.bundle, rows, json_)
    if (line := calibrate.calibration_line(model.bundle)) is not None:
        console.echo(line, err=True)


def _card_text(path: Path) -> str:
    """Read the maker's part of a model card. Raises ConfigError where it is no short plain text."""
    from rtsysid.model.about import MOST_CARD_BYTES, plain_card

    try:
        with path.open("rb") as stream:
            return plain_card(stream.read(MOST_CARD_BYTES // 2 + 1), f"model card {path}")
    except OSError as error:
        raise ConfigError(f"model card {path}", error.strerror or str(error), "name a text file") from None
