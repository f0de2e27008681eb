"""Judge one model for a report: on recordings that were read and cut, with the faults that a check finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rtsysid.checking.check import is_late, trace_findings
from rtsysid.evaluation.probabilistic.evaluate import ProbabilisticEvaluation, evaluate_samples
from rtsysid.evaluation.report.causes import Cause
from rtsysid.evaluation.report.coverage import coverage_of
from rtsysid.evaluation.report.judge import judge, stride_for
from rtsysid.evaluation.report.judged import JudgedModel
from rtsysid.evaluation.report.lags import LateInput
from rtsysid.evaluation.report.observed import observe
from rtsysid.evaluation.report.response import responses_of
from rtsysid.evaluation.report.unused import unused_columns
from rtsysid.guards.stages import say_stage
from rtsysid.model.bundle import Bundle
from rtsysid.model.history import history_of
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace

FUTURES, STARTS = 60, 150  # sampled for a report


def judged_model(
    name: str,
    bundle: Bundle,
    trace: Trace,
    recordings: str,
    horizon: int,
    *,
    paths: Sequence[Path] = (),
    training: Trace | None = None,
) -> JudgedModel:
    """Measure everything that a page shows of a model.

    `trace` was cut at every gap; `recordings` describes it in words. `paths`: its files, to look for columns that the
    model does not use. `training`: recordings of the training, to compare with. Raises TraceError where no recording is
    long enough.
    """
    stride = stride_for(trace)
    every, evaluation = observe(bundle, trace, horizon, stride, f"judging {name}")
    columns = unused_columns(bundle, paths, every) if paths else []
    say_stage("looking for causes")
    faults, late = recording_faults(trace, bundle)
    judgement = judge(bundle, every, recordings, evaluation, stride, columns=columns, faults=faults, late=late)
    cut = None if training is None else training.segments(bundle.spec.rate_hz, nan="split")
    worst = [(each.recording, each.start_s) for each in judgement.worst]
    coverage = coverage_of(bundle.spec, every, worst, cut)
    responses = responses_of(bundle, Predictor.load(bundle), every)
    return JudgedModel(
        name, bundle, judgement, history_of(bundle), responses, coverage, _sampled_scores(bundle, trace, horizon)
    )


def _sampled_scores(bundle: Bundle, trace: Trace, horizon: int) -> ProbabilisticEvaluation | None:
    """Score sampled futures where the model has a distribution; None for points, and for a single recording."""
    if not bundle.spec.distribution or len({episode.recording for episode in trace.episodes}) < 2:
        return None
    return evaluate_samples(bundle, trace, horizon, futures=FUTURES, starts=STARTS)


def recording_faults(trace: Trace, bundle: Bundle) -> tuple[list[Cause], list[LateInput]]:
    """Return what `rtsysid check` finds in recordings: grave faults of conventions, units and amounts; late inputs."""
    findings, delayed, *_ = trace_findings(trace, bundle.manifest.training.config)
    late = [LateInput(each.input, each.ticks, each.low, each.high, each.undelayed) for each in delayed if is_late(each)]
    faults = [
        Cause(each.fault, each.channels, each.channels, 1.0, 1.0, each.evidence, each.remedy)
        for each in findings
        if each.grave and each.fault != "little data"  # the recordings to judge on may be few
    ]
    return faults, late
