"""Ticks until a fault is detected, by innovation and by likelihood: `python -m bench.detection BUNDLE TRACE...`.

Every second recording sets the threshold of each score, such that one tick in a thousand exceeds it. In each of the
others every output becomes noisier from the middle on. The model needs a distribution; give four recordings or more.
`python -m bench.detection BUNDLE --gusts`, with a model of the simulated quadrotor: gusts grow from the middle on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench import arguments
from rtsysid.cli.console import table
from rtsysid.evaluation.horizon import stretches
from rtsysid.evaluation.surprise import surprises
from rtsysid.live.calibration import novelty_scores, smoothed
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, Floats

RATE, LATEST = 1e-3, 100  # share of ticks above the threshold; ticks after which a fault is missed
SIZES = (0.5, 1.0, 2.0)  # of the noise that is added, in root mean squares of the innovation
GUSTS = (2.0, 4.0, 8.0)  # times as strong
FLIGHTS, FLIGHT_S, RATE_HZ, CALM_SEED, GUSTY_SEED = 12, 20.0, 100.0, 3, 4


def main(bundle: Bundle, trace: Trace) -> None:
    """Print how faults of a sensor are detected: noise on every output."""
    every = [each.values for each in stretches(bundle, trace).episodes if len(each) > 4 * LATEST]
    if len(every) < 2:
        raise SystemExit(f"detection: {len(every)} recordings of more than {4 * LATEST} rows; give four or more")
    calm, measured = every[::2], every[1::2]
    spread, rng = _spread(bundle, calm), np.random.default_rng(0)
    faulty = {f"noise {size:g}": [_with_fault(bundle, each, size * spread, rng) for each in measured] for size in SIZES}
    _print_delays(bundle, calm, {"none": measured, **faulty}, spread)


def gusts(bundle: Bundle) -> None:
    """Print how disturbances are detected: stronger gusts on the simulated quadrotor."""
    calm = [each.values for each in fly(FLIGHTS, FLIGHT_S, seed=CALM_SEED).episodes]
    measured = {"none": _gusty_flights(1.0), **{f"gusts x {factor:g}": _gusty_flights(factor) for factor in GUSTS}}
    _print_delays(bundle, calm, measured, _spread(bundle, calm))


def _print_delays(
    bundle: Bundle, calm: Sequence[Floats], measured: Mapping[str, Sequence[Floats]], spread: Doubles
) -> None:
    """Print the share of detected faults and the median delay of both scores; the fault "none" counts false alarms."""
    both = [_scores(bundle, each, spread) for each in calm]
    limits = {name: float(np.quantile(np.concatenate([each[name] for each in both]), 1 - RATE)) for name in both[0]}
    rows = []
    for name, recordings in measured.items():
        found = [_scores(bundle, each, spread) for each in recordings]
        later = [len(each) - len(each) // 2 for each in recordings]
        rows.append([name, *(_false_alarms(found, limits) if name == "none" else _delays(found, later, limits))])
    print(f"{len(calm)} recordings for the thresholds, {len(measured['none'])} measured")
    print("without a fault: ticks above the threshold, per thousand")
    print(f"with one: share that is detected within {LATEST} ticks, and the median delay of all in ticks")
    print(table(["from the middle on", *limits], rows))


def _spread(bundle: Bundle, calm: Sequence[Floats]) -> Doubles:
    every: Doubles = np.sqrt(np.mean(np.concatenate([_innovations(bundle, each) for each in calm]) ** 2, 0))
    return every


def _gusty_flights(factor: float) -> list[Floats]:
    """Fly with gusts that are so many times as strong from the middle on; all else is equal for every factor."""
    rows = round(FLIGHT_S * RATE_HZ)
    strength = np.where(np.arange(rows) < rows // 2, 1.0, factor)
    return [each.values for each in fly(FLIGHTS, FLIGHT_S, GUSTY_SEED, RATE_HZ, gusts=strength).episodes]


def _with_fault(bundle: Bundle, values: Floats, size: Doubles, rng: np.random.Generator) -> Floats:
    """Add noise of a size [ny] to the outputs of the second half of a recording [n, C]."""
    faulty, half, nu = values.copy(), len(values) // 2, bundle.spec.n_inputs
    faulty[half:, nu:] += (size * rng.standard_normal((len(values) - half, len(size)))).astype(np.float32)
    return faulty


def _innovations(bundle: Bundle, values: Floats) -> Doubles:
    backend = NumpyBackend(bundle.spec, bundle.arrays("weights.npz"))
    return novelty_scores(Predictor(bundle.spec, backend), values).innovation


def _scores(bundle: Bundle, values: Floats, spread: Doubles) -> dict[str, Doubles]:
    """Compute both scores of each tick after the warm-up."""
    innovation = smoothed(_innovations(bundle, values) / spread)
    surprise = surprises(bundle.spec, bundle.arrays("weights.npz"), values)
    return {"innovation": innovation, "likelihood": surprise[len(values) - len(innovation) :]}


def _false_alarms(every: list[dict[str, Doubles]], limits: Mapping[str, float]) -> list[str]:
    return [f"{1e3 * np.mean(np.concatenate([each[name] for each in every]) > limits[name]):.1f}" for name in limits]


def _delays(every: list[dict[str, Doubles]], ticks: list[int], limits: Mapping[str, float]) -> list[str]:
    """Say for each score which share of the faults in the last `ticks` of recordings it detects, and how late."""
    cells = []
    for name, limit in limits.items():
        found = []
        for each, last in zip(every, ticks, strict=True):
            above = np.flatnonzero(each[name][-last:] > limit)
            found.append(int(above[0]) if len(above) and above[0] < LATEST else LATEST)
        delays = np.array(found)
        cells.append(f"{np.mean(delays < LATEST):.2f}, {np.median(delays):.0f}")
    return cells


if __name__ == "__main__":
    given = arguments(__doc__)
    opened = Bundle.open(given[0])
    if given[1:] == ["--gusts"]:
        gusts(opened)
    else:
        main(opened, Trace.read_all([Path(each) for each in given[1:]], opened.spec.channels))
