"""Provide the command `report`. A bundle needs the plain installation only; a run is exported first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, horizon_option
from rtsysid.cli.outputs import output
from rtsysid.storage.products import REPORT

if TYPE_CHECKING:
    from rtsysid.evaluation.report.causes import Cause
    from rtsysid.evaluation.report.judged import JudgedModel
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.trace import Trace


@click.command("report")
@click.argument("models", metavar="RUN|BUNDLE...", type=PATH, nargs=-1, required=True)
@click.option("--data", type=PATH, multiple=True, help="Recording or folder of recordings to judge on; repeatable.")
@click.option(
    "--training", type=PATH, multiple=True,
    help="Recordings of the training, to compare with them; repeatable.  [default: none]",
)  # fmt: skip
@output("-o", "--out", product=REPORT, required=True, help="HTML file to write.")
@horizon_option
@as_json
def report_command(
    models: tuple[Path, ...],
    data: tuple[Path, ...],
    training: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    horizon: int,
    json_: bool,
) -> None:
    """Judge a model on recordings and write one HTML page: a verdict, what to do first, forecasts, and the evidence.

    Given the recordings of the training run, it uses their validation part. Several models are compared on one page.

    Example: rtsysid report bundle --data unseen -o report.html

    Example: rtsysid report old new --data unseen -o report.html
    """
    from rtsysid.errors import TraceError
    from rtsysid.evaluation.report import content
    from rtsysid.storage import replacing

    if not data:
        remedy = "give --data: unseen recordings, or the recordings of the training run"
        raise TraceError("report", "no recording to judge on", remedy)
    with ExitStack() as stack:
        opened = [(path, *stack.enter_context(_open_model(path))) for path in models]
        names = _model_names(models)
        judged = [
            _judged(name, bundle, history, data, training, horizon)
            for name, (_, bundle, history) in zip(names, opened, strict=True)
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
    name: str,
    bundle: Bundle,
    history: list[dict[str, Any]],
    data: Sequence[Path],
    training: Sequence[Path],
    horizon: int,
) -> JudgedModel:
    """Measure everything about one model."""
    from rtsysid.evaluation.report.coverage import coverage_of
    from rtsysid.evaluation.report.judge import judge, stride_for
    from rtsysid.evaluation.report.judged import JudgedModel
    from rtsysid.evaluation.report.observed import observe
    from rtsysid.evaluation.report.response import responses_of
    from rtsysid.evaluation.report.unused import unused_columns
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.held_out import read_held_out
    from rtsysid.recordings.reading import read_recordings

    config, trained_on = bundle.manifest.training.config, bundle.manifest.trained_on
    trace, recordings = read_held_out(data, bundle.spec.channels, config, trained_on)
    stride = stride_for(trace)
    with console.progress(len(trace.episodes), f"judging {name}") as bar:
        every, evaluation = observe(bundle, trace, horizon, stride, lambda: bar.update(1))
    console.notes(evaluation.notes)
    columns = unused_columns(bundle, data, every)
    judgement = judge(
        bundle, every, recordings, evaluation, stride, columns=columns, faults=_grave_faults(trace, bundle)
    )
    known = read_recordings(training, bundle.data(), bundle.spec.channels) if training else None
    cut = None if known is None else known.segments(bundle.spec.rate_hz, nan="split")
    worst = [(each.recording, each.start_s) for each in judgement.worst]
    coverage = coverage_of(bundle.spec, every, worst, cut)
    responses = responses_of(bundle.spec, Predictor.load(bundle), every)
    return JudgedModel(name, bundle, judgement, history, responses, coverage)


def _grave_faults(trace: Trace, bundle: Bundle) -> list[Cause]:
    """Return the grave faults that `rtsysid check` finds in recordings: of conventions, units and amounts."""
    from rtsysid.checking.check import trace_findings
    from rtsysid.evaluation.report.causes import Cause

    found = [each for each in trace_findings(trace, bundle.manifest.training.config)[0] if each.grave]
    return [
        Cause(each.fault, each.channels, each.channels, 1.0, 1.0, each.evidence, each.remedy)
        for each in found
        if each.fault != "little data"  # the recordings to judge on may be few
    ]


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


@contextmanager
def _open_model(model: Path) -> Iterator[tuple[Bundle, list[dict[str, Any]]]]:
    """Open a bundle, or export a run to a temporary folder; yield the bundle and the history of the training."""
    from rtsysid.errors import ConfigError
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.history import history_of

    if (model / "manifest.json").exists():
        bundle = Bundle.open(model)
        yield bundle, history_of(bundle)
    elif (model / "run.json").exists():
        from export.bundle import export

        with tempfile.TemporaryDirectory() as folder:
            bundle, _ = export(model, Path(folder) / "bundle")
            yield bundle, history_of(bundle)
    else:
        remedy = "give a folder that rtsysid train or rtsysid export has written"
        raise ConfigError(str(model), "neither a run nor a bundle", remedy)
