"""Provide the command `report`. A bundle needs the plain installation only; a run is exported first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, horizon_option, time_column
from rtsysid.cli.outputs import output
from rtsysid.storage.products import REPORT

if TYPE_CHECKING:
    from rtsysid.evaluation.report.judged import JudgedModel
    from rtsysid.model.bundle import Bundle


@click.command("report")
@click.argument("models", metavar="RUN|BUNDLE...", type=PATH, nargs=-1, required=True)
@click.option("--data", type=PATH, multiple=True, help="Recording or folder of recordings to judge on; repeatable.")
@click.option(
    "--training", type=PATH, multiple=True,
    help="Recordings of the training, to compare with them; repeatable.  [default: none]",
)  # fmt: skip
@output("-o", "--out", product=REPORT, required=True, help="HTML file to write.")
@horizon_option
@time_column
@as_json
def report_command(
    models: tuple[Path, ...],
    data: tuple[Path, ...],
    training: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    horizon: int,
    time_: str | None,
    json_: bool,
) -> None:
    """Judge a model on recordings and write one HTML page: a verdict, what to do first, forecasts, and the evidence.

    Given the recordings of the training run, it uses their validation part. Several models are compared on one page.

    Example: rtsysid report bundle --data unseen -o report.html

    Example: rtsysid report old new --data unseen -o report.html
    """
    from rtsysid.api import load
    from rtsysid.errors import TraceError
    from rtsysid.evaluation.report import content
    from rtsysid.storage import replacing

    if not data:
        remedy = "give --data: unseen recordings, or the recordings of the training run"
        raise TraceError("report", "no recording to judge on", remedy)
    console.stage("opening the model")
    opened = [load(path).bundle for path in models]
    judged = [
        _judged(name, bundle, data, training, horizon, time_)
        for name, bundle in zip(_model_names(models), opened, strict=True)
    ]
    with replacing(out, REPORT, inputs=(*models, *data, *training), overwrite=overwrite) as path:
        path.write_text(content.report_page(judged), encoding="utf-8")
    if json_:
        return console.report(_as_json(out, judged), True)
    for each in judged:
        before = f"{each.name}: " if len(judged) > 1 else ""
        console.block(console.evaluation(each.judgement.evaluation))
        console.echo(f"{before}{each.judgement.verdict.sentence}")
    console.echo(f"report: {out}")


def _judged(
    name: str, bundle: Bundle, data: Sequence[Path], training: Sequence[Path], horizon: int, time: str | None
) -> JudgedModel:
    """Read the recordings, and measure everything about one model."""
    from rtsysid.checking.judged_model import judged_model
    from rtsysid.recordings.held_out import read_held_out
    from rtsysid.recordings.reading import read_recordings

    trace, recordings = read_held_out(data, bundle.spec.channels, bundle.config(time), bundle.manifest.trained_on)
    known = read_recordings(training, bundle.data(), bundle.spec.channels) if training else None
    judged = judged_model(name, bundle, trace, recordings, horizon, paths=data, training=known)
    console.notes(judged.judgement.evaluation.notes)
    return judged


def _model_names(models: Sequence[Path]) -> list[str]:
    """Name models by the last parts of their paths; several by as few parts as tell them apart."""
    parts = [path.resolve().parts for path in models]
    few = 2 if len(models) == 1 else next(
        (n for n in range(1, max(map(len, parts)) + 1) if len({each[-n:] for each in parts}) == len(parts)), 2
    )  # fmt: skip
    return ["/".join(each[-few:]) for each in parts]


def _as_json(out: Path, judged: Sequence[JudgedModel]) -> dict[str, Any]:
    """Return the numbers of the first model, and the verdicts of all."""
    from rtsysid.evaluation.report import content

    first = judged[0]
    findings = content.findings_as_builtins(first.judgement, first.history)
    fields = {"report": str(out), **first.judgement.to_builtins(), "findings": findings}
    return {**fields, "verdicts": content.verdicts_as_builtins(judged)} if len(judged) > 1 else fields
