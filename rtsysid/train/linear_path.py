"""Fit the linear path: a linear map of the window that predicts before the network has learned anything.

On smoothed recordings a network alone does not reach linear extrapolation in reasonable time. The map is fitted by
ridge regression. It uses the coordinates of the model: in body coordinates it generalises to other flights better than
a linear map in world coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.errors import SpecError
from rtsysid.evaluation.metrics import forecast_windows
from rtsysid.model.coordinates import coordinates
from rtsysid.model.npz import Arrays
from rtsysid.spec import Doubles, ModelSpec
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.network import Network
from rtsysid.train.sensor_noise import NoisyRecordings
from rtsysid.train.windows import episode_weights, row_windows

RIDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # relative to unit variance; the best one in free run is used
# The smallest ridge on inputs. Weights that change sign from tick to tick describe the controller, not the robot.
# Chosen by leaving out kinds of real manoeuvres: the sum of errors over 50 ticks fell from 33.6 to 28.6 and from 26.5
# to 20.7.
INPUT_RIDGE = 1e-6
BLOCK = 2048  # windows at a time
STARTS = 1000  # free runs on the validation recordings, to choose the ridge
ROUNDING = 1e-9  # standard deviation below which a feature is constant, such as a difference in a window of one row
SMALLEST = 1e-3  # smallest unit of a target, as a share of its standard deviation


@torch.no_grad()
def fit_linear_path(
    spec: ModelSpec,
    train: NoisyRecordings,
    validation: NoisyRecordings,
    yardstick: Doubles,
    cold_start: ColdStart,
    episode_weighting: float = 0.0,
) -> tuple[ModelSpec, Arrays]:
    """Fit the map by ridge regression on `train`, with the ridge that is best in free run on `validation`.

    Inputs of the map are the noisy recordings, targets the clean ones. Each episode is weighted by `episode_weighting`.
    `yardstick` [N, ny]: the unit of error after 1 .. N ticks.

    Returns `weight` [T, F] and `bias` [T], and the specification with a new unit of the targets: the error per tick
    that the map leaves to the network in free run. Raises SpecError where every candidate diverges.
    """
    network = Network(spec).eval()
    silence(network.head)
    gram, moment = _ridge_equations(spec, cold_start, train, episode_weights(train.clean, spec, episode_weighting))
    runs = _validation_runs(spec, validation, len(yardstick), cold_start)
    candidates = [_ridge_solution(spec, gram, moment, ridge) for ridge in RIDGES]
    errors = (network.coordinates.error(_run_map(network, weights, runs), runs.truth) for weights in candidates)
    losses = [_free_run_loss(error, yardstick) for error in errors]
    if not np.isfinite(losses).any():
        found = f"every linear map diverges within {len(yardstick)} ticks of free run"
        raise SpecError("linear_path", found, "lower degree, change taps, or set linear_path = false")
    best = candidates[int(np.argmin(losses))]
    scaling = spec.scaling
    unit = _error_per_tick(spec, _run_map(network, best, runs), runs.truth)
    best = best * (np.asarray(scaling.target_std) / unit)
    scaling = msgspec.structs.replace(scaling, target_std=tuple(unit.tolist()))
    return msgspec.structs.replace(spec, scaling=scaling), _arrays(best)


@torch.no_grad()
def set_linear_path(network: Network, arrays: Arrays) -> None:
    """Copy fitted maps into a new network and zero its head, so that training starts from them.

    Without a map of its own for young rows, `linear_near` starts as the same. `gain` [K, T], where it is given, scales
    the maps by band of ages.
    """
    _load_map(network, arrays)
    if "gain" in arrays:
        network.linear_gain.copy_(torch.from_numpy(arrays["gain"]))
    silence(network.head)


def _load_map(network: Network, arrays: Arrays) -> None:
    for name in ("weight", "bias"):
        network.linear_path.get_parameter(name).copy_(torch.from_numpy(arrays[name]))
        if network.spec.near_ticks:
            network.linear_near.get_parameter(name).copy_(torch.from_numpy(arrays.get(f"near_{name}", arrays[name])))


def silence(layer: torch.nn.Linear) -> None:
    """Set weights and bias of a layer to zero."""
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)


def _ridge_equations(
    spec: ModelSpec, cold_start: ColdStart, recordings: NoisyRecordings, weights: list[float]
) -> tuple[Doubles, Doubles]:
    """Normal equations of the differenced features with a final 1: gram [F + 1, F + 1] and moment [F + 1, T]."""
    scaling, count = spec.scaling, 0.0
    gram = np.zeros((spec.window_size + 1, spec.window_size + 1))
    moment = np.zeros((spec.window_size + 1, spec.n_targets))
    coords = coordinates(spec, np)
    for noisy, following, weight in _training_blocks(recordings, weights, spec.taps):
        rows, extra = coords.features(cold_start.windows(noisy))
        scaled = ((rows - scaling.feature_mean) / scaling.feature_std).reshape(len(noisy), -1)
        features = scaled if extra is None else np.concatenate((scaled, extra), -1)
        differences = np.concatenate((_differenced(features, spec), np.ones((len(noisy), 1))), -1)
        target = coords.targets(noisy[:, -1], following[:, spec.n_inputs :])
        gram += weight * differences.T @ differences
        moment += weight * differences.T @ ((target - scaling.target_mean) / scaling.target_std)
        count += weight * len(noisy)
    return gram / count, moment / count


def _differenced(features: Doubles, spec: ModelSpec) -> Doubles:
    """Replace the output rows of a window by the newest row and the differences of neighbours: [m, F] -> [m, F].

    A ridge on these coordinates prefers smooth continuation. A ridge on the rows themselves would not.
    """
    size, nu = spec.taps * spec.n_features, spec.n_inputs
    rows = features[:, :size].reshape(len(features), spec.taps, -1).copy()
    rows[:, :-1, nu:] = np.diff(rows[:, :, nu:], axis=1)
    return np.concatenate((rows.reshape(len(features), -1), features[:, size:]), 1)


def _ridges(spec: ModelSpec, ridge: float) -> Doubles:
    """The ridge of each feature, [F + 1]; 0 for the bias."""
    each = np.full(spec.window_size + 1, ridge)
    rows = each[: spec.taps * spec.n_features].reshape(spec.taps, -1)
    rows[:, : spec.n_inputs] = max(ridge, INPUT_RIDGE)
    each[-1] = 0.0
    return each


def _ridge_solution(spec: ModelSpec, gram: Doubles, moment: Doubles, ridge: float) -> Doubles:
    """Solve for the weights of the features before differencing, the bias last: [F + 1, T]."""
    spread = np.sqrt(np.maximum(gram.diagonal() - gram[-1] ** 2, 0.0))
    spread[-1] = 1.0
    alive = np.flatnonzero(spread > ROUNDING)
    scale = spread[alive]
    system = gram[np.ix_(alive, alive)] / np.outer(scale, scale)
    system[np.diag_indices(len(alive))] += _ridges(spec, ridge)[alive]
    solution = np.zeros_like(moment)
    solution[alive] = np.linalg.solve(system, moment[alive] / scale[:, None]) / scale[:, None]
    back = _differenced(np.eye(spec.window_size), spec)  # row i: the share of feature i in each difference
    return np.concatenate((back @ solution[:-1], solution[-1:]))


def _training_blocks(
    recordings: NoisyRecordings, weights: list[float], taps: int
) -> Iterator[tuple[Doubles, Doubles, float]]:
    """Noisy windows [m, L, C], the clean samples that follow them [m, C], and the weight of their episode."""
    for noisy, clean, weight in zip(recordings.noisy, recordings.clean, weights, strict=True):
        for start in range(0, len(clean) - taps, BLOCK):
            rows, after = (np.asarray(e[start : start + BLOCK + taps], np.float64) for e in (noisy, clean))
            yield sliding_window_view(rows[:-1], taps, axis=0).transpose(0, 2, 1), after[taps:], weight


class _ValidationRuns(NamedTuple):
    windows: torch.Tensor  # [K, N, L, C]
    truth: torch.Tensor  # [K, N, ny] measured one tick after each window


def _validation_runs(
    spec: ModelSpec, recordings: NoisyRecordings, horizon: int, cold_start: ColdStart
) -> _ValidationRuns:
    """Windows and targets of about `STARTS` free runs, evenly spread over the episodes."""
    spans = [max(len(episode) - spec.taps - horizon, 0) for episode in recordings.clean]
    if not sum(spans):  # then the only run that fits may end with the last row
        spans = [max(len(episode) - spec.taps - horizon + 1, 0) for episode in recordings.clean]
    stride = max(1, sum(spans) // STARTS)
    rows, truth = [], []
    for clean, noisy, span in zip(*recordings, spans, strict=True):
        first = np.arange(0, span, stride)
        rows.append(noisy[first[:, None] + np.arange(spec.taps + horizon - 1)])
        truth.append(forecast_windows(clean, spec.n_inputs, first + spec.taps - 1, horizon)[1])
    inputs = row_windows(cold_start.apply(torch.from_numpy(np.concatenate(rows)), spec.taps), spec.taps)
    return _ValidationRuns(inputs, torch.from_numpy(np.concatenate(truth)))


def _run_map(network: Network, weights: Doubles, runs: _ValidationRuns) -> torch.Tensor:
    _load_map(network, _arrays(weights))
    return network.rollout(runs.windows, network.initial_state(runs.windows[:, 0]))


def _free_run_loss(error: torch.Tensor, yardstick: Doubles) -> float:
    """Mean square error in units of the yardstick; inf where the map diverges."""
    loss = float((error / torch.from_numpy(yardstick)).square().mean())
    return loss if np.isfinite(loss) else np.inf


def _error_per_tick(spec: ModelSpec, predicted: torch.Tensor, truth: torch.Tensor) -> Doubles:
    """RMS error at the end of the runs in target coordinates, divided by their number of ticks: [T]."""
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
