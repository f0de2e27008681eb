"""One model of a page: its name, bundle, numbers and training history; and what several models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.probabilistic.evaluate import ProbabilisticEvaluation
from rtsysid.evaluation.report.coverage import TrainingCoverage
from rtsysid.evaluation.report.judge import Judgement
from rtsysid.evaluation.report.metric_values import History
from rtsysid.evaluation.report.response import Responses
from rtsysid.model.bundle import Bundle

STYLES = ("model", "other", "third")  # of the models on a page


class JudgedModel(NamedTuple):
    """Hold everything that a page shows of one model. ``history``: its epochs; empty where they are not known."""

    name: str
    bundle: Bundle
    judgement: Judgement
    history: History = ()
    responses: Responses | None = None
    coverage: TrainingCoverage | None = None
    samples: ProbabilisticEvaluation | None = None


def require_comparable(models: Sequence[JudgedModel]) -> None:
    """Check that models of one page predict the same outputs at the same rate. Raises TraceError for others."""
    if len(models) > len(STYLES):
        raise TraceError("report", f"{len(models)} models", f"compare {len(STYLES)} at most")
    first = models[0].judgement.spec
    for each in models[1:]:
        spec = each.judgement.spec
        if spec.outputs != first.outputs or spec.rate_hz != first.rate_hz:
            found = f"{each.name} has other outputs or another rate than {models[0].name}"
            raise TraceError("report", found, "compare models of the same outputs and rate")


def shared_ranges(models: Sequence[JudgedModel]) -> dict[str, tuple[float, float]]:
    """Return the limits of the measured values of each shown value: every chart of it has this axis."""
    j = models[0].judgement
    rows = [j.shown.values(o.episode.values[:, j.spec.n_inputs :].astype(np.float64)) for o in j.every]
    low, high = np.min([r.min(0) for r in rows], 0), np.max([r.max(0) for r in rows], 0)
    margin = np.maximum(0.08 * (high - low), 1e-9 + 1e-6 * np.abs(high))
    return {n: (float(a - m), float(b + m)) for n, a, b, m in zip(j.shown.names, low, high, margin, strict=True)}
