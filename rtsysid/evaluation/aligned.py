"""Predict every row of recordings, some ticks ahead or in free run; one forecast after any history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.evaluation.horizon import stretches
from rtsysid.evaluation.surprise import surprises
from rtsysid.model.backends.cells import Weights
from rtsysid.model.bundle import Bundle
from rtsysid.model.likelihood import tick_log_densities
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.episode import Episode
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, Floats, ModelSpec


def predictions_ahead(bundle: Bundle, predictor: Predictor, trace: Trace, ahead: int) -> Floats:
    """Predict the outputs of each row from the rows up to `ahead` ticks before it, and the inputs since: [T, ny].

    NaN where the model had not enough rows before. Raises TraceError where the recordings are not evenly spaced at the
    rate of the model.
    """

    def predict(values: Floats) -> Floats:
        found = np.full((len(values), predictor.spec.n_outputs), np.nan, np.float32)
        for batch in forecasts(predictor, values, ahead):
            found[batch.starts + ahead] = batch.predicted[:, -1]
        return found

    return _of_each_piece(bundle, trace, predict)


def free_runs(bundle: Bundle, predictor: Predictor, trace: Trace) -> Floats:
    """Simulate each recording from its first rows and all of its inputs: outputs [T, ny].

    NaN in the rows that the model starts from. Raises the errors of `predictions_ahead`.
    """
    first = predictor.settling_samples

    def simulate(values: Floats) -> Floats:
        found = np.full((len(values), predictor.spec.n_outputs), np.nan, np.float32)
        if len(values) > first:
            step_through(predictor, values[:first])
            found[first:] = predictor.forecast(values[first - 1 : -1, : predictor.spec.n_inputs])
        return found

    return _of_each_piece(bundle, trace, simulate)


def step_through(predictor: Predictor, values: Floats) -> None:
    """Step through rows [n, C], after a reset."""
    predictor.reset()
    for row in values:
        predictor.step(row)


def history_rows(bundle: Bundle, trace: Trace, u_future: Floats) -> Floats:
    """Return the last piece without a gap as rows [n, C] of the model, its last one with the first planned input.

    `u_future` [N, nu]: the inputs from the last row on. Raises TraceError where the piece is too short.
    """
    spec, nu = bundle.spec, bundle.spec.n_inputs
    last = trace.episodes[-1]
    values = last.values.copy()
    values[-1, :nu] = u_future[0]
    filled = replace(trace, episodes=(replace(last, values=values),))
    whole = filled.segments(spec.rate_hz, nan="split", min_length=1).with_continuous(spec.rotations)
    piece = whole.episodes[-1]
    if piece.t[-1] != last.t[-1] or len(piece) < spec.settling_samples:
        found = f"{len(piece)} rows without a gap before its end"
        raise TraceError(f"history {last.name}", found, f"give the last {spec.settling_samples} rows or more")
    rows = piece.values.copy()
    if bundle.feedthrough:  # rows are [u_{k+1}, y_k]; the last one keeps the planned input
        rows[:-1, :nu] = rows[1:, :nu]
    return rows


def log_densities(bundle: Bundle, trace: Trace) -> Doubles:
    """Compute the log density of each row under a model with a distribution: [T].

    NaN where the model had not enough rows before. Raises SpecError where the model has no distribution, TraceError
    where the recordings are not evenly spaced at the rate of the model.
    """
    return _of_each_row(bundle, trace, tick_log_densities)


def row_surprises(bundle: Bundle, trace: Trace) -> Doubles:
    """Compute the smoothed negative log density of each row, in nats: [T]. NaN and errors as in `log_densities`.

    Raises SpecError, TraceError.
    """
    return _of_each_row(bundle, trace, surprises)


def _of_each_row(bundle: Bundle, trace: Trace, compute: Callable[[ModelSpec, Weights, Floats], Doubles]) -> Doubles:
    """Compute a number for each row of the pieces without a gap, and put them next to the rows of the trace: [T]."""
    spec, weights, found = bundle.spec, bundle.arrays("weights.npz"), list[Doubles]()
    for episode in trace.episodes:
        found.append(np.full(len(episode), np.nan))
        for piece in stretches(bundle, replace(trace, episodes=(episode,))).episodes:
            start = int(np.searchsorted(episode.t, piece.t[0]))
            found[-1][start : start + len(piece)] = compute(spec, weights, piece.values)
    return np.concatenate(found)


def _of_each_piece(bundle: Bundle, trace: Trace, compute: Callable[[Floats], Floats]) -> Floats:
    """Compute the outputs [n, ny] of each piece without a gap, and put them next to the rows of the trace: [T, ny]."""
    return np.concatenate([_episode_outputs(bundle, trace, episode, compute) for episode in trace.episodes])


def _episode_outputs(bundle: Bundle, trace: Trace, episode: Episode, compute: Callable[[Floats], Floats]) -> Floats:
    found = np.full((len(episode), bundle.spec.n_outputs), np.nan, np.float32)
    for piece in stretches(bundle, replace(trace, episodes=(episode,))).episodes:
        start = int(np.searchsorted(episode.t, piece.t[0]))
        found[start : start + len(piece)] = compute(piece.values)
    return found


def mean_determination(pairs: Iterable[tuple[Doubles, Floats]]) -> float:
    """Return R^2 over all predictions and truths [K, N, ny], averaged over the outputs. Raises TraceError for none."""
    both = [tuple(each.reshape(-1, each.shape[-1]).astype(np.float64) for each in pair) for pair in pairs]
    if not both:
        raise TraceError(
            "score", "no recording is long enough for a forecast", "give longer ones, or a shorter horizon"
        )
    predicted, truth = (np.concatenate(half) for half in zip(*both, strict=True))
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    return float(np.mean(1 - ((truth - predicted) ** 2).sum(0) / np.maximum(spread, 1e-30)))
