"""Provide the command `report`. A bundle needs the plain installation only; a run is exported first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, horizon_option
from rtsysid.cli.outputs import output
from rtsysid.storage.products import REPORT

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle


@click.command("report")
@click.argument("model", metavar="RUN|BUNDLE", type=PATH)
@click.option("--data", type=PATH, multiple=True, help="Recording or folder of recordings to judge on; repeatable.")
@output("-o", "--out", product=REPORT, required=True, help="HTML file to write.")
@horizon_option
@as_json
def report_command(model: Path, data: tuple[Path, ...], out: Path, overwrite: bool, horizon: int, json_: bool) -> None:
    """Judge a model on recordings and write one HTML page: errors, residual tests, worst forecasts, next steps.

    Given the recordings of the training run, it uses their validation part.

    Example: rtsysid report bundle --data unseen -o report.html
    """
    from rtsysid.errors import TraceError
    from rtsysid.evaluation.report import content
    from rtsysid.evaluation.report.judge import judge, stride_for
    from rtsysid.recordings.held_out import read_held_out
    from rtsysid.storage import replacing

    with _open_model(model) as (bundle, history):
        if not data:
            remedy = "give --data: unseen recordings, or the recordings of the training run"
            raise TraceError("report", "no recording to judge on", remedy)
        training = bundle.manifest.training
        trace, recordings = read_held_out(data, bundle.spec.channels, training.config, bundle.manifest.trained_on)
        stride = stride_for(trace)
        evaluation = console.evaluating(bundle, trace, horizon, stride)
        judgement = judge(bundle, trace, recordings, evaluation, stride)
        with replacing(out, REPORT, inputs=(model, *data), overwrite=overwrite) as path:
            path.write_text(
                content.report_page("/".join(model.resolve().parts[-2:]), bundle, judgement, history), encoding="utf-8"
            )
    if json_:
        findings = content.findings_as_builtins(judgement, history)
        return console.report({"report": str(out), **judgement.to_builtins(), "findings": findings}, True)
    console.block(console.evaluation(evaluation))
    console.echo(f"report: {out}")


@contextmanager
def _open_model(model: Path) -> Iterator[tuple[Bundle, list[dict[str, Any]]]]:
    """Open a bundle, or export a run to a temporary folder; yield the bundle and the history of the run."""
    from rtsysid.errors import ConfigError
    from rtsysid.model.bundle import Bundle

    if (model / "manifest.json").exists():
        yield Bundle.open(model), []
    elif (model / "run.json").exists():
        from export.bundle import export
        from rtsysid.train.run import Run

        with tempfile.TemporaryDirectory() as folder:
            bundle, _ = export(model, Path(folder) / "bundle")
            yield bundle, Run(model).history()
    else:
        remedy = "give a folder that rtsysid train or rtsysid export has written"
        raise ConfigError(str(model), "neither a run nor a bundle", remedy)
