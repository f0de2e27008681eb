"""The linear path: a linear map of the window that predicts before the network has learned anything.

On smoothed recordings one tick is so smooth that a network alone does not reach linear extrapolation in reasonable
time. The map is fitted by least squares; where coordinates see the robot from its body, so does the map, and it
generalises to flights that no linear map of world coordinates does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.errors import SpecError
from rtsysid.metrics import forecast_windows
from rtsysid.model.bundle import Arrays
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Doubles, Floats, ModelSpec
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.network import Network
from rtsysid.train.windows import balanced, windows

RIDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # relative to unit variance, of which the best in free run is taken
# Weights on inputs that jump from tick to tick say more of the controller than of the robot. Chosen by leaving kinds of
# real manoeuvres out: the sum of errors over 50 ticks fell from 33.6 to 28.6 and from 26.5 to 20.7.
INPUT_RIDGE = 1e-6
BLOCK = 2048  # windows at a time
STARTS = 1000  # free runs on the validation recordings that choose the ridge
_Part: TypeAlias = tuple[Floats, Floats, float]  # what is shown of a recording, the recording, and what it counts
ROUNDING = 1e-9  # spread below which a feature is a constant: a displacement in a window of one row
SMALLEST = 1e-3  # share of a target's spread that is left to the network at least


@torch.no_grad()
def fit_linear_path(
    spec: ModelSpec,
    train: Sequence[Floats],
    validation: Sequence[Floats],
    yardstick: Doubles,
    augmentation: Augmentation,
    episode_weighting: float = 0.0,
) -> tuple[ModelSpec, Arrays]:
    """The map with the ridge that is best in free run on `validation`: its `weight` [T, F] and `bias` [T].

    It leads from the augmented inputs to what follows in the recording. Each recording is weighted by
    `episode_weighting`.

    `yardstick` [N, ny] is the unit of error after 1..N ticks. In the specification that comes back, the targets' unit
    is what the map leaves to the network: its free-run error per tick. Raises SpecError where no map is stable.
    """
    network = Network(spec).eval()
    silence(network.head)
    shown = [augmentation.sensor_noise.episodes(part) for part in (train, validation)]
    parts = zip(shown[0], train, balanced(train, spec, episode_weighting), strict=True)
    gram, moment = _normal_equations(spec, augmentation.cold_start, parts)
    runs = _free_runs(spec, shown[1], validation, len(yardstick), augmentation.cold_start)
    candidates = [_solved(spec, gram, moment, ridge) for ridge in RIDGES]
    scores = [_score(_free_run(network, weights, runs), runs.truth, yardstick) for weights in candidates]
    if not np.isfinite(scores).any():
        found = f"every linear map diverges within {len(yardstick)} ticks of free run"
        raise SpecError("linear_path", found, "lower degree or other taps, or set linear_path = false")
    best = candidates[int(np.argmin(scores))]
    scaling = spec.scaling
    unit = _error_per_tick(spec, _free_run(network, best, runs), runs.truth)
    best = best * (np.asarray(scaling.target_std) / unit)
    scaling = msgspec.structs.replace(scaling, target_std=tuple(unit.tolist()))
    return msgspec.structs.replace(spec, scaling=scaling), _arrays(best)


@torch.no_grad()
def set_linear_path(network: Network, arrays: Arrays) -> None:
    """Give a new network its fitted linear path, and silence the head, so that training starts from the map."""
    network.linear_path.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    silence(network.head)


def silence(layer: torch.nn.Linear) -> None:
    """Let a layer say nothing until it has learned."""
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)


def _normal_equations(spec: ModelSpec, cold_start: ColdStart, parts: Iterable[_Part]) -> tuple[Doubles, Doubles]:
    """Mean products of the features in differences, with a final 1, among themselves and with the scaled targets."""
    scaling, count = spec.scaling, 0.0
    gram = np.zeros((spec.window_size + 1, spec.window_size + 1))
    moment = np.zeros((spec.window_size + 1, spec.n_targets))
    coords = coordinates(spec, np)
    for seen, following, counts in _blocks(parts, spec.taps):
        rows, tail = coords.features(cold_start.windows(seen))
        scaled = ((rows - scaling.feature_mean) / scaling.feature_std).reshape(len(seen), -1)
        features = scaled if tail is None else np.concatenate((scaled, tail), -1)
        differences = np.concatenate((_differenced(features, spec), np.ones((len(seen), 1))), -1)
        target = coords.targets(seen[:, -1], following[:, spec.n_inputs :])
        gram += counts * differences.T @ differences
        moment += counts * differences.T @ ((target - scaling.target_mean) / scaling.target_std)
        count += counts * len(seen)
    return gram / count, moment / count


def _differenced(features: Doubles, spec: ModelSpec) -> Doubles:
    """Of outputs, the newest row and the differences between neighbours instead of the rows: [m, F] -> [m, F].

    A ridge on their absolute values would pull apart what is smooth; in differences it prefers smooth continuation.
    """
    size, nu = spec.taps * spec.n_features, spec.n_inputs
    rows = features[:, :size].reshape(len(features), spec.taps, -1).copy()
    rows[:, :-1, nu:] = np.diff(rows[:, :, nu:], axis=1)
    return np.concatenate((rows.reshape(len(features), -1), features[:, size:]), 1)


def _ridges(spec: ModelSpec, ridge: float) -> Doubles:
    """Of each feature; the bias goes free: [F + 1]."""
    each = np.full(spec.window_size + 1, ridge)
    rows = each[: spec.taps * spec.n_features].reshape(spec.taps, -1)
    rows[:, : spec.n_inputs] = max(ridge, INPUT_RIDGE)
    each[-1] = 0.0
    return each


def _solved(spec: ModelSpec, gram: Doubles, moment: Doubles, ridge: float) -> Doubles:
    """Weights on the features themselves, the bias last: [F + 1, T]."""
    spread = np.sqrt(np.maximum(gram.diagonal() - gram[-1] ** 2, 0.0))
    spread[-1] = 1.0
    alive = np.flatnonzero(spread > ROUNDING)
    scale = spread[alive]
    system = gram[np.ix_(alive, alive)] / np.outer(scale, scale)
    system[np.diag_indices(len(alive))] += _ridges(spec, ridge)[alive]
    solution = np.zeros_like(moment)
    solution[alive] = np.linalg.solve(system, moment[alive] / scale[:, None]) / scale[:, None]
    back = _differenced(np.eye(spec.window_size), spec)  # row i: what feature i adds to each difference
    return np.concatenate((back @ solution[:-1], solution[-1:]))


def _blocks(parts: Iterable[_Part], taps: int) -> Iterator[tuple[Doubles, Doubles, float]]:
    """Windows [m, L, C] of what is shown, the samples that follow in the recording [m, C], and what they count."""
    for seen, episode, counts in parts:
        for start in range(0, len(episode) - taps, BLOCK):
            rows, after = (np.asarray(part[start : start + BLOCK + taps], np.float64) for part in (seen, episode))
            yield sliding_window_view(rows[:-1], taps, axis=0).transpose(0, 2, 1), after[taps:], counts


class _Runs(NamedTuple):
    windows: torch.Tensor  # [K, N, L, C]
    truth: torch.Tensor  # [K, N, ny] measured after each


def _free_runs(
    spec: ModelSpec, shown: Sequence[Floats], episodes: Sequence[Floats], horizon: int, cold_start: ColdStart
) -> _Runs:
    """Forecasts from evenly spread starts, and what came of them in the recording."""
    spans = [max(len(episode) - spec.taps - horizon, 0) for episode in episodes]
    stride = max(1, sum(spans) // STARTS)
    rows, truth = [], []
    for seen, episode, span in zip(shown, episodes, spans, strict=True):
        first = np.arange(0, span, stride)
        rows.append(seen[first[:, None] + np.arange(spec.taps + horizon - 1)])
        truth.append(forecast_windows(episode, spec.n_inputs, first + spec.taps - 1, horizon)[1])
    inputs = windows(cold_start.apply(torch.from_numpy(np.concatenate(rows)), spec.taps), spec.taps)
    return _Runs(inputs, torch.from_numpy(np.concatenate(truth)))


def _free_run(network: Network, weights: Doubles, runs: _Runs) -> torch.Tensor:
    network.linear_path.load_state_dict({name: torch.from_numpy(array) for name, array in _arrays(weights).items()})
    return network.rollout(runs.windows, network.initial_state(runs.windows[:, 0]))


def _score(predicted: torch.Tensor, truth: torch.Tensor, yardstick: Doubles) -> float:
    """Mean square of the error in units of the yardstick; infinite for a map that diverges."""
    score = float(((predicted - truth) / torch.from_numpy(yardstick)).square().mean())
    return score if np.isfinite(score) else np.inf


def _error_per_tick(spec: ModelSpec, predicted: torch.Tensor, truth: torch.Tensor) -> Doubles:
    """RMS over the runs of the error at their end, as targets [T], divided by their length."""
    reached = truth[:, -1].double().numpy()
    newest = np.concatenate((np.zeros((len(reached), spec.n_inputs)), reached), 1)
    coords = coordinates(spec, np)
    error = coords.targets(newest, predicted[:, -1].double().numpy()) - coords.targets(newest, reached)
    per_tick = np.sqrt(np.mean(error**2, 0)) / truth.shape[1]
    unit: Doubles = np.maximum(per_tick, SMALLEST * np.asarray(spec.scaling.target_std))
    return unit


def _arrays(weights: Doubles) -> Arrays:
    single = weights.astype(np.float32)
    return {"weight": np.ascontiguousarray(single[:-1].T), "bias": single[-1]}
