"""ModelPlan a training: choose coordinates, linear model, sizes and schedule from the recordings."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from rtsysid.circle import differences
from rtsysid.config import Config, Model
from rtsysid.errors import ConfigError
from rtsysid.evaluation.linear.choice import BANDS, LAGS, LinearChoice, Search, choose_linear
from rtsysid.evaluation.linear.folds import folds_of
from rtsysid.evaluation.linear.maps import Runs, linear_run
from rtsysid.model.coordinates import coordinates
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, ModelSpec
from rtsysid.train.auto.frames import choose_relative, scaled, target_groups

SETTLING = 50  # rows at most until the first forecast
TAPS = 8  # of a window, at least
ENCODER_TAPS = 8  # newest rows that the encoder sees
HORIZON = 50
SMALLEST = 1e-3  # unit of a target, as a share of its standard deviation
SIZES = ((3_000, 24), (10_000, 32), (30_000, 48))  # rows below which the cell has this many units


class ModelPlan(NamedTuple):
    """Hold what was chosen. ``spec``: complete, with its scaling. ``model``: the linear model of all recordings.

    ``unit`` [N, ny]: mean absolute error that the linear model leaves after 1 .. N ticks on recordings left out.
    """

    spec: ModelSpec
    choice: LinearChoice
    unit: Doubles
    horizon: int


def plan_of(config: Config, trace: Trace, blank: ModelSpec, shortest: int, *, linear: bool = False) -> ModelPlan:
    """Choose what the configuration does not say. `shortest`: rows of the longest piece of the smaller part.

    With `linear` the network is as small as it can be: it adds nothing. Raises ConfigError where the configuration
    refuses a linear path, or gains by age.
    """
    _check_said(config.model)
    settling = min(SETTLING, shortest // 2)
    horizon = min(HORIZON, shortest - settling)
    folds = folds_of(_pieces_by_recording(trace), horizon)
    start = msgspec.structs.replace(blank, taps=max(2, min(20, settling)), encoder=(), age_bands=BANDS)
    if config.model.relative is None and blank.rigid_body is None:
        start = choose_relative(start, folds, horizon)
    longest = config.model.taps or settling
    lags = [each for each in LAGS if each <= longest] or [longest]
    search = Search(scaled(start, folds), folds, horizon, lags)
    choice = choose_linear(search, target_groups(search.spec), config.model.near_ticks)
    spec = _completed(config, choice, len(trace), settling)
    if linear:
        spec = msgspec.structs.replace(spec, encoder=(1,), hidden=1, encoder_taps=1)
    scaling = msgspec.structs.replace(spec.scaling, target_std=tuple(_target_unit(choice, search.runs).tolist()))
    spec = msgspec.structs.replace(spec, scaling=scaling)
    return ModelPlan(spec, choice, _loss_unit(choice, search.runs), horizon)


def _check_said(model: Model) -> None:
    for key, refused in (("linear_path", False), ("age_bands", ())):
        if getattr(model, key) == refused:
            found = f"{str(refused).lower()}, but the preset auto is built on it"
            raise ConfigError(f"model.{key}", found, 'leave the key out, or set train.preset = "two-stage"')


def _pieces_by_recording(trace: Trace) -> list[list[Any]]:
    by_name: dict[str, list[Any]] = {}
    for episode in trace.episodes:
        by_name.setdefault(episode.recording, []).append(episode.values)
    return list(by_name.values())


def _completed(config: Config, choice: LinearChoice, rows: int, settling: int) -> ModelSpec:
    """Return the whole specification, with a unit of targets that the network's corrections have."""
    said, hidden = config.model, next((units for below, units in SIZES if rows < below), 64)
    taps = said.taps or min(max(choice.model.lags, TAPS), settling)
    seen = (0 if taps <= ENCODER_TAPS else ENCODER_TAPS) if said.encoder_taps is None else said.encoder_taps
    code = min(hidden // 2, (seen or taps) * choice.spec.n_features)  # not wider than what the encoder sees
    return msgspec.structs.replace(
        choice.spec,
        taps=taps,
        encoder=(3 * hidden // 2, code) if said.encoder is None else said.encoder,
        encoder_taps=seen,
        hidden=said.hidden or hidden,
        linear_path=True,
        warmup=settling - taps if said.warmup is None else said.warmup,
        near_ticks=choice.model.near_ticks,
        age_bands=said.age_bands or BANDS,
    )


def _loss_unit(choice: LinearChoice, runs: Runs) -> Doubles:
    spec = choice.spec
    error = np.abs(differences(linear_run(spec, choice.crossed, runs), runs.truth, spec.outputs)).mean(0)
    unit: Doubles = np.maximum(error, 1e-9 * np.asarray(spec.scaling.std[spec.n_inputs :]))
    return unit


def _target_unit(choice: LinearChoice, runs: Runs) -> Doubles:
    """RMS error at the end of the runs in target coordinates, divided by their number of ticks: [T]."""
    spec = choice.spec
    predicted, truth = linear_run(spec, choice.crossed, runs)[:, -1], runs.truth[:, -1].astype(np.float64)
    newest = np.concatenate((np.zeros((len(truth), spec.n_inputs)), truth), 1)
    coords = coordinates(spec, np)
    error = coords.targets(newest, predicted) - coords.targets(newest, truth)
    per_tick = np.sqrt(np.mean(error**2, 0)) / runs.truth.shape[1]
    least: Doubles = np.maximum(per_tick, SMALLEST * np.asarray(spec.scaling.target_std))
    return least
