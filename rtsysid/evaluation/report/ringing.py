"""Find forecasts that ring: oscillations of the model that grow with time, which no measurement shows.

Two signs. Within the horizon: second differences of the forecasts become larger than those of the measurements, and
keep growing. Beyond it: after a small change of its start, the model under constant inputs swings with growing
amplitude. A robot that is unstable without its controller may do the same; it does not swing at its own horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.evaluation.report.observed import Observed
from rtsysid.evaluation.report.quantities import ShownOutputs
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, ModelSpec

MOMENTS = 32  # starts that are disturbed
LEAST_TICKS, HORIZONS = 200, 6  # ticks of a disturbed run: at least, and in horizons
ROUGHER = 1.5  # second differences of forecasts over those of measurements
GROWTH = 1.3  # of the amplitude, from one third to the next
SWINGS = 4  # changes of direction
SMALL = 0.02  # of a standard deviation: the first push


class Ringing(NamedTuple):
    """Describe a growing oscillation of one shown value.

    ``column``: of the shown values. ``tick``: from where on forecasts are rougher than measurements; past the horizon
    where only longer runs ring. ``hz``: its frequency. ``growth``: factor of the amplitude over a horizon.
    """

    column: int
    tick: int
    hz: float
    growth: float


def ringing_of(spec: ModelSpec, predictor: Predictor, every: Sequence[Observed], shown: ShownOutputs) -> list[Ringing]:
    """Return the values whose forecasts ring, the earliest first."""
    horizon = every[0].truth.shape[1]
    rough = _roughness(every, shown)
    swung = _sizes_of_turns(
        shown, disturbed_response(spec, predictor, every, shown, max(LEAST_TICKS, HORIZONS * horizon))
    )
    found = [
        _of_column(rough[..., column], swung[..., column], column, spec.rate_hz) for column in range(swung.shape[-1])
    ]
    return sorted((each for each in found if each is not None), key=lambda each: each.tick)


def _sizes_of_turns(shown: ShownOutputs, off: Doubles) -> Doubles:
    """Replace the vector of each turn by its angle: seen from a body that turns, a constant difference goes round."""
    off = off.copy()
    for columns in (list(q.columns) for q in shown.quantities if len(q.columns) == 3):
        off[..., columns] = np.linalg.norm(off[..., columns], axis=-1, keepdims=True)
    return off


def _roughness(every: Sequence[Observed], shown: ShownOutputs) -> Doubles:
    """Return the RMS of second differences by tick, of forecasts and of measurements: [2, N - 2, nq]."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.concatenate([shown.differences(o.predicted, o.truth) for o in every])
        truth = np.concatenate([_changes_of_truth(shown, o) for o in every])
        guess = truth + off
        turning = [column for q in shown.quantities if len(q.columns) == 3 for column in q.columns]
        guess[..., turning] = truth[..., turning]  # their axes turn with the body
        rough = [np.sqrt(np.nanmean(np.diff(each, n=2, axis=1) ** 2, axis=0)) for each in (guess, truth)]
    return np.stack(rough) if rough[0].size else np.zeros((2, 0, off.shape[-1]))


def _changes_of_truth(shown: ShownOutputs, o: Observed) -> Doubles:
    """Return the change of the truth from the first tick of each forecast on, [K, N, nq]."""
    return shown.differences(o.truth, np.broadcast_to(o.truth[:, :1], o.truth.shape))


def disturbed_response(
    spec: ModelSpec, predictor: Predictor, every: Sequence[Observed], shown: ShownOutputs, ticks: int
) -> Doubles:
    """Return how far runs under constant inputs are apart after a small change of an output, [B, ticks, nq]."""
    base, u = some_moments(spec, every, ticks, MOMENTS)
    deviation = np.asarray(spec.scaling.std[spec.n_inputs :], np.float32)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(u), spec.n_outputs)).astype(np.float32)
    moved = base.window.copy()
    moved[:, -1, spec.n_inputs :] += SMALL * deviation * signs
    with np.errstate(over="ignore", invalid="ignore"):
        runs = [predictor.rollout(base._replace(window=window), u) for window in (base.window, moved)]
        return shown.differences(*(run.astype(np.float64) for run in reversed(runs)))


def some_moments(
    spec: ModelSpec, every: Sequence[Observed], ticks: int, count: int
) -> tuple[Snapshot, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Choose moments spread over the episodes, and hold their inputs [B, ticks, nu]."""
    whole = [np.concatenate([getattr(o.snapshots, name) for o in every]) for name in Snapshot._fields]
    chosen = np.unique(np.linspace(0, len(whole[0]) - 1, count).astype(int))
    snapshot = Snapshot(*(part[chosen] for part in whole))
    return snapshot, np.repeat(snapshot.window[:, -1:, : spec.n_inputs], ticks, axis=1)


def _of_column(rough: Doubles, swung: Doubles, column: int, rate_hz: float) -> Ringing | None:
    """Judge one shown value: roughness [2, N - 2], and disturbed runs [B, ticks]."""
    growth, hz = growing_swing(swung, rate_hz)
    horizon = rough.shape[1] + 2
    limit = ROUGHER * rough[1]
    beyond = np.flatnonzero(~(rough[0] <= limit))
    third = max(1, rough.shape[1] // 3)
    early, late = (float(np.nanmean(part)) if part.size else 0.0 for part in (rough[0, :third], rough[0, -third:]))
    rings = len(beyond) > 0 and beyond[-1] == rough.shape[1] - 1 and not late <= GROWTH * early
    if growth is None and not rings:
        return None
    if rings:
        after = np.flatnonzero(rough[0] <= limit)
        tick = int(after.max()) + 2 if len(after) else 2
        return Ringing(column, tick, hz, growth or late / max(early, 1e-30))
    return Ringing(column, horizon + 1, hz, growth or np.inf)


def growing_swing(runs: Doubles, rate_hz: float) -> tuple[float | None, float]:
    """Judge runs [B, ticks] after a small push: return the growth of their swing in a third, None without; and Hz.

    A swing changes its direction in every third of the run; a value that runs away in one direction does not.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(runs, axis=1)
    finite = np.isfinite(steps).all(0) & (np.abs(steps).max(0) < 1e12)
    end = int(finite.argmin()) if not finite.all() else steps.shape[1]
    third = end // 3
    if third < SWINGS:
        return None, 0.0
    parts = [steps[:, k * third : (k + 1) * third] for k in range(3)]
    size = [np.sqrt((part**2).mean(1)) for part in parts]
    turns = np.min([_turns(part) for part in parts[1:]], axis=0)
    rings = (size[2] > GROWTH * size[1]) & (size[1] > 1e-12) & (turns >= SWINGS / 2)
    hz = float(np.median(turns)) / 2 * rate_hz / third
    if rings.mean() < 0.5:
        return None, hz
    return float(np.median((size[2] / size[1])[rings])), hz


def _turns(steps: Doubles) -> Doubles:
    """Count the changes of direction of each run [B, ticks]."""
    signs = np.sign(steps)
    return np.asarray((signs[:, 1:] * signs[:, :-1] < 0).sum(1))
