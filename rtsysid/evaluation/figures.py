"""Draw forecasts over measurements with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.forecasts import ForecastBatch, forecasts
from rtsysid.evaluation.horizon import stretches
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.episode import Episode
from rtsysid.recordings.figures import axis_label, panels
from rtsysid.recordings.pieces import too_short
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles

COVERAGE = 0.9  # of the intervals that are drawn
FANS = 40  # forecasts in a figure, at most


def forecast_figure(bundle: Bundle, predictor: Predictor, trace: Trace, horizon: int, at: float | None) -> Any:
    """Draw the longest piece of a recording, and forecasts of `horizon` ticks over it, with their intervals: a Figure.

    `at`: time in s of the only forecast; by default one begins where the last one ends. Raises TraceError where no
    forecast fits, RtsysidError where matplotlib is not installed.
    """
    pieces = stretches(bundle, trace)
    piece = max(pieces.episodes, key=len) if at is None else _piece_at(pieces, at)
    outputs = bundle.spec.outputs
    figure, axes = panels([axis_label([channel]) for channel in outputs])
    batches = list(forecasts(predictor, piece.values, horizon, horizon if at is None else 1))
    chosen = _fans(batches, piece, at)
    half = _half_widths(predictor, horizon)
    for column, axis in enumerate(axes):
        axis.plot(piece.t, piece.values[:, bundle.spec.n_inputs + column], color="0.35", lw=1, label="measured")
        for number, (start, predicted) in enumerate(chosen):
            rows = slice(start + 1, start + 1 + horizon)
            label = f"forecast of {horizon} ticks" if not number else None
            axis.plot(piece.t[rows], predicted[:, column], color="C0", lw=1.4, label=label)
            if half is not None:
                low, high = (
                    predicted[: len(half), column] - half[:, column],
                    predicted[: len(half), column] + half[:, column],
                )
                within = f"{COVERAGE:.0%} interval" if not number else None
                axis.fill_between(piece.t[rows][: len(half)], low, high, color="C0", alpha=0.2, lw=0, label=within)
    axes[0].legend(loc="upper right", fontsize="small")
    if at is not None:
        axes[0].set_xlim(at - horizon / bundle.spec.rate_hz, at + 1.2 * horizon / bundle.spec.rate_hz)
    return figure


def _piece_at(pieces: Trace, at: float) -> Episode:
    for piece in pieces.episodes:
        if piece.t[0] <= at <= piece.t[-1]:
            return piece
    first, last = pieces.episodes[0].t[0], pieces.episodes[-1].t[-1]
    raise TraceError(f"time {at:g} s", f"the recordings hold {first:.6g} to {last:.6g} s", "name a time in them")


def _fans(batches: list[ForecastBatch], piece: Episode, at: float | None) -> list[tuple[int, Doubles]]:
    """Choose forecasts: row of the start, and outputs [N, ny]."""
    every = [pair for batch in batches for pair in zip(batch.starts.tolist(), batch.predicted, strict=True)]
    if not every:
        raise too_short("a forecast", [piece], 1, "give a longer recording, or a shorter horizon")
    if at is not None:
        return [min(every, key=lambda pair: abs(piece.t[pair[0]] - at))]
    return every[:: -(-len(every) // FANS)]


def _half_widths(predictor: Predictor, horizon: int) -> Doubles | None:
    """Return the half widths [N, ny] of the intervals; None where the bundle has none that wide."""
    intervals = predictor.intervals
    if intervals is None or intervals.max_coverage < COVERAGE:
        return None
    return np.asarray(intervals.half_widths(COVERAGE, min(horizon, intervals.horizon)), np.float64)
