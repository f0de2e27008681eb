"""The verb that judges a model on one page. A bundle needs the plain install; a run is exported first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", metavar="RUN|BUNDLE", type=PATH)
@click.option("--data", type=PATH, multiple=True, help="A recording or a folder of them to judge on; repeatable.")
@click.option("-o", "--out", type=PATH, required=True, help="The HTML file.")
@click.option("--horizon", default=50, show_default=True, help="Ticks to forecast.")
@console.as_json
def report(model: Path, data: tuple[Path, ...], out: Path, horizon: int, json_: bool) -> None:
    """Judge a model on recordings and write one HTML page: errors, residual tests, worst stretches, what to do.

    Given the recordings of the training run, it is judged on their validation part.

    Example: rtsysid report bundle --data unseen -o report.html
    """
    from rtsysid.errors import TraceError
    from rtsysid.evaluation.report import content
    from rtsysid.evaluation.report.judge import judge, recordings_to_judge, stride_for
    from rtsysid.storage import replacing

    with _opened(model) as (bundle, history):
        if not data:
            found = "no recording to judge on"
            raise TraceError("report", found, "give --data: unseen recordings, or those of the training run")
        trace, recordings = recordings_to_judge(bundle, data)
        stride = stride_for(trace)
        evaluation = console.evaluating(bundle, trace, horizon, stride)
        judgement = judge(bundle, trace, recordings, evaluation, stride)
        with replacing(out) as path:
            path.write_text(
                content.page("/".join(model.resolve().parts[-2:]), bundle, judgement, history), encoding="utf-8"
            )
    if json_:
        findings = content.findings_as_builtins(judgement, history)
        return console.report({"report": str(out), **judgement.to_builtins(), "findings": findings}, True)
    click.echo(console.evaluation(evaluation))
    click.echo(f"report: {out}")


@contextmanager
def _opened(model: Path) -> Iterator[tuple[Bundle, list[dict[str, Any]]]]:
    """A bundle, or a run exported to a folder that lasts as long as the block, with its history."""
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
        raise ConfigError(str(model), "neither a run nor a bundle", "give a folder of rtsysid train or export")
