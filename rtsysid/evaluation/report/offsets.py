"""Name the sensor whose offset explains a constant error of the forecasts.

A sensor that reads b too high moves the forecasts of all outputs in a pattern that only the model knows: it is measured
by feeding recordings with a small offset on each output in turn. The output whose pattern fits the mean errors of
stretches of the recordings best has drifted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsysid.evaluation.report.explained import clipped
from rtsysid.evaluation.report.study import Study
from rtsysid.model.backends.protocol import stacked
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats

ROWS = 600  # of one episode that are fed again for each output
STARTS = 12  # forecasts of them
SIZE = 0.3  # of a standard deviation
STRETCHES = 12  # from the starts of the recordings to their ends, whose mean errors are compared
FITS = 0.5  # of the squared mean errors


class SensorOffset(NamedTuple):
    """State by how much an output reads too high: on average, at the start and at the end of recordings."""

    name: str
    unit: str
    mean: float
    first: float
    last: float


def sensor_offset(study: Study, predictor: Predictor) -> SensorOffset | None:
    """Return the offset that explains the mean errors best; None where no single sensor explains most of them."""
    spec, scale = study.spec, np.maximum(study.motion, 1e-12)
    errors = clipped(study.far_errors)[np.argsort(study.progress, kind="stable")]
    means = np.stack([part.mean(0) for part in np.array_split(errors, STRETCHES) if len(part)]) / scale
    turning = {column for q in study.shown.quantities if len(q.outputs) == 4 for column in q.outputs}
    best, fit = None, FITS
    for output in (k for k in range(spec.n_outputs) if k not in turning):
        pattern = _pattern(study, predictor, output) / scale
        power = float(pattern @ pattern)
        if power * spec.scaling.std[spec.n_inputs + output] ** 2 < 1e-4:
            continue
        sizes = means @ pattern / power
        left = float(((means - np.outer(sizes, pattern)) ** 2).sum() / max((means**2).sum(), 1e-300))
        if 1 - left > fit:
            fit, channel = 1 - left, spec.outputs[output]
            best = SensorOffset(channel.name, channel.unit, float(sizes.mean()), float(sizes[0]), float(sizes[-1]))
    return best


def _pattern(study: Study, predictor: Predictor, output: int) -> Doubles:
    """Return the error at the end of the horizon by an offset of one unit on an output, [nq]."""
    spec, episode = study.spec, max(study.every, key=lambda o: len(o.episode)).episode
    size = np.float32(SIZE * spec.scaling.std[spec.n_inputs + output])
    rows = episode.values[: ROWS + study.horizon]
    moved = rows.copy()
    moved[:, spec.n_inputs + output] += size
    ends = [_last_ticks(study, predictor, each) for each in (rows, moved)]
    measured = np.zeros_like(ends[0])
    measured[:, output] = size  # the measurement has the offset, too
    with np.errstate(over="ignore", invalid="ignore"):
        errors = study.shown.differences(ends[1] - measured, ends[0])
    return np.asarray(np.nan_to_num(np.median(errors, axis=0)) / size)


def _last_ticks(study: Study, predictor: Predictor, rows: Floats) -> Doubles:
    """Return the last tick of forecasts from some rows [n, C], [k, ny]."""
    spec, n = study.spec, study.horizon
    last = len(rows) - n
    starts = np.unique(np.linspace(min(spec.settling_samples, last) - 1, last - 1, STARTS).astype(int))
    kept = []
    predictor.reset()
    for tick, sample in enumerate(rows[: starts[-1] + 1]):
        predictor.step(sample)
        if tick in starts:
            kept.append(predictor.snapshot())
    plans = rows[starts[:, None] + np.arange(n), : spec.n_inputs]
    return predictor.rollout(stacked(kept), plans)[:, -1].astype(np.float64)
