"""Reduce a judgement to the metrics in the table of advice: one number per output, group or forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.horizon import Evaluation
from rtsysid.evaluation.report.advice import ModelFacts
from rtsysid.evaluation.report.judge import Judgement, WorstForecast
from rtsysid.evaluation.residuals import LAGS, Z99
from rtsysid.spec import Doubles

History = Sequence[Mapping[str, Any]]  # lines of history.jsonl; empty where there is no run


def metric_values(judgement: Judgement, history: History = ()) -> dict[str, dict[str, float]]:
    """Compute the value of each metric by name; metrics that do not apply are left out."""
    j = judgement
    every = {
        "horizon error": baseline_ratios(j.evaluation, j.evaluation.horizon),
        "first-tick error": baseline_ratios(j.evaluation, 1),
        "one-step fit": {fit.name: fit.nrmse for fit in j.fits},
        "free-run fit": {fit.name: fit.free_nrmse for fit in j.fits},
        "bias": {fit.name: abs(fit.bias) for fit in j.fits},
        "whiteness": _by_output(j, j.whiteness.r[..., None], np.full((len(j.shown.error_names), 1), j.whiteness.bound)),
        **_input_measures(j),
        "worst forecast, range known": {title(s): s.times for s in j.worst if not s.outside},
        "worst forecast, beyond the range": {title(s): s.times for s in j.worst if s.outside},
        "latency": {row.backend: row.step_us * 1e-6 * j.spec.rate_hz for row in j.backends},
        "training": _still_falling(history),
    }
    return {metric: values for metric, values in every.items() if values}


def metric_details(judgement: Judgement) -> dict[str, dict[str, str]]:
    """Say where the value of a metric was found, by metric and name: the input and the lag, or how far was tested."""
    j, lags = judgement, judgement.cross.lags
    found = {}
    for metric, chosen in _input_lags(j).items() if j.spec.n_inputs else ():
        r, own = j.cross.r[chosen], lags[chosen]
        tested = f"at lags of {own.min():.0f} to {own.max():.0f} ticks" if len(own) else ""
        names = enumerate(j.shown.error_names)
        found[metric] = {name: _peak(j, r[:, i], own, tested, i) for i, name in names if len(own)}
    return found


def model_facts(j: Judgement) -> ModelFacts:
    """Return what the advice must know of the model, so that it never advises what the model has."""
    lags = _input_lags(j).get("missed input, before the window")
    needed = 0
    if lags is not None and j.spec.n_inputs and lags.any():
        r = np.abs(j.cross.r[lags])
        beyond = (r > j.cross.bounds).any((1, 2)) & (r >= r.max() / 2).any((1, 2))
        needed = int(j.cross.lags[lags][beyond].max(initial=0))
    named = [cause.taps for cause in j.causes if cause.taps]
    return ModelFacts(j.spec.linear_path, j.spec.taps, max([needed, *named], default=0), j.spec.hidden, j.spec.encoder)


def _peak(j: Judgement, r: Doubles, lags: Doubles, tested: str, output: int) -> str:
    """Name the input and the lag of the largest correlation r [lags, nu] that is not chance, or what was tested."""
    if not significant(r, j.cross.bounds[output]):
        return tested
    lag, column = np.unravel_index(int(np.abs(r).argmax()), r.shape)
    ticks, way = abs(lags[lag]), "before" if lags[lag] > 0 else "after"
    return f"with {j.spec.inputs[int(column)].name} {ticks:.0f} ticks ({ticks / j.spec.rate_hz:.3g} s) {way}"


def title(forecast: WorstForecast) -> str:
    """Name the recording, and the time from its start at which a forecast starts."""
    return f"{forecast.recording} at {forecast.start_s:.2f} s"


def baseline_ratios(evaluation: Evaluation, tick: int) -> dict[str, float]:
    """Divide the error of the model after `tick` ticks by the error of the better baseline, by group."""
    ratios = {}
    for group, ours in evaluation.errors["model"].items():
        best = min(errors[group][tick - 1] for name, errors in evaluation.errors.items() if name != "model")
        error = ours[tick - 1]
        ratios[group] = error / best if best > 0 else (1.0 if error == 0 else float("inf"))
    return ratios


def significant(r: Doubles, bounds: Doubles) -> float:
    """Return the largest absolute correlation of `r` [lags, n], or 0 where all may be chance.

    `bounds` [n] are 99 % bounds of a single correlation. They are widened here (Bonferroni), so that the chance of any
    false finding among all of `r` is at most 1 %.
    """
    if not r.size:
        return 0.0
    strictest = NormalDist().inv_cdf(1.0 - 0.005 / r.size) / Z99
    beyond = np.abs(r) > strictest * bounds
    return float(np.abs(r[beyond]).max(initial=0.0))


def _input_lags(j: Judgement) -> dict[str, NDArray[np.bool_]]:
    """Mark the lags that each metric of the inputs is about."""
    lags, taps = j.cross.lags, j.spec.taps
    return {
        "missed input, in the window": (lags >= 1) & (lags <= taps),
        "missed input, before the window": lags > taps,
        "feedback": (lags < 1) & (lags >= -LAGS),  # a controller responds at once
    }


def _input_measures(j: Judgement) -> dict[str, dict[str, float]]:
    rows = _input_lags(j)
    if not j.spec.n_inputs:
        return {}
    return {metric: _by_output(j, j.cross.r[chosen], j.cross.bounds) for metric, chosen in rows.items() if chosen.any()}


def _by_output(j: Judgement, r: Doubles, bounds: Doubles) -> dict[str, float]:
    """Apply `significant` to each output of r [lags, ny, n] and bounds [ny, n]."""
    return {name: significant(r[:, i], bounds[i]) for i, name in enumerate(j.shown.error_names)}


def _still_falling(history: History) -> dict[str, float]:
    """Relative decrease of the best validation loss over the last fifth of the epochs of the last stage."""
    losses = [line["validation"] for line in history if line["stage"] == history[-1]["stage"]]
    before = len(losses) - max(1, len(losses) // 5)
    if before < 1 or not np.isfinite(losses).all():
        return {}
    earlier = min(losses[:before])
    return {f"stage {history[-1]['stage']}": 1.0 - min(losses) / earlier if earlier > 0 else 0.0}
