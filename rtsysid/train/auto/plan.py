"""Plan a training: choose coordinates, linear model, sizes and schedule from the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from rtsysid.circle import differences
from rtsysid.config import Config, Model, NoiseLevels
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.linear.choice import BANDS, LAGS, NEAR_TICKS, LinearChoice, Search, choose_linear
from rtsysid.evaluation.linear.folds import folds_of
from rtsysid.evaluation.linear.maps import Runs, linear_run
from rtsysid.model.coordinates import coordinates
from rtsysid.recordings.held_out import unscaled_spec
from rtsysid.recordings.kinds import kinds_of
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel, Doubles, Floats, ModelSpec, digest, to_builtins
from rtsysid.train.auto.frames import choose_relative, scaled, target_groups

Halves: TypeAlias = Sequence[Sequence[Any]]  # pieces [n, C] for training, and those for validation
LEAST = 8  # rows of the longest piece of a half
SETTLING = 50  # rows at most until the first forecast
TAPS = 8  # of a window, at least
ENCODER_TAPS = 8  # newest rows that the encoder sees
HORIZON = 50
CHOSEN = (
    "taps", "encoder", "encoder_taps", "hidden", "linear_path", "warmup", "near_ticks", "age_bands", "head_sees_code"
)  # fmt: skip
RESOLVED = 1e-5  # of the error of hold: a smaller one is exact for every purpose
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


def settling_of(model: Model, halves: Halves) -> int:
    """Return the rows until the first forecast.

    Taps and warm-up of the configuration are kept. Raises TraceError where a half has no piece that is longer.
    """
    shortest = min(max(map(len, half)) for half in halves)
    settling = min(SETTLING, shortest // 2)
    if model.taps is not None and model.warmup is not None:
        settling = model.taps + model.warmup
    elif model.taps is not None or model.warmup is not None:
        settling = max(settling, (model.taps or 2) + (model.warmup or 0))
    if shortest < max(LEAST, settling + 2):
        found = f"the longest piece without a gap of a half has {shortest} rows, {max(LEAST, settling + 2)} are needed"
        raise TraceError("training and validation", found, "record longer, or leave out model.taps and model.warmup")
    return settling


def horizon_of(settling: int, halves: Halves) -> int:
    """Return the ticks of a forecast that fit into a piece [n, C] of both halves after `settling` rows."""
    return min(HORIZON, min(max(map(len, half)) for half in halves) - settling)


def blank_spec(config: Config, channels: Sequence[Channel]) -> ModelSpec:
    """Return the specification before anything is chosen: what the plan chooses has its default there.

    Raises ConfigError where no linear model with gains is left to start from, and for a variational code, SpecError
    where the configuration contradicts itself.
    """
    refusals = (("linear_path", False), ("age_bands", ()), ("variational", True), ("distribution", "variational"))
    for name, refused in refusals:
        if getattr(config.model, name) == refused:
            found = f"{msgspec.json.encode(refused).decode()}, which the preset auto cannot train"
            raise ConfigError(f"model.{name}", found, "leave it out, or choose another preset")
    for name, default in (("sensor_noise", NoiseLevels()), ("history", True)):
        if getattr(config.train, name) != default:
            raise ConfigError(f"train.{name}", "said, but the preset auto fits to rows as recorded", "choose a preset")
    model = msgspec.structs.replace(config.model, **dict.fromkeys(CHOSEN))
    return unscaled_spec(msgspec.structs.replace(config, model=model), channels)


class LinearSearch(NamedTuple):
    """Hold the linear model that was chosen, its forecasts [K, N, ny] of what was left out, and where they began.

    ``settling``: rows before a forecast.
    """

    choice: LinearChoice
    predicted: Doubles
    runs: Runs
    settling: int


def plan_of(
    config: Config,
    trace: Trace,
    blank: ModelSpec,
    halves: Halves,
    *,
    linear: bool = False,
    known: dict[str, LinearSearch] | None = None,
) -> ModelPlan:
    """Choose what the configuration does not say.

    With `linear` the network is as small as it can be: it adds nothing. `known`: linear models of these recordings that
    were chosen before; a new one is added. Raises TraceError where the recordings are too short or a channel is
    constant, ConfigError where the configuration contradicts the training.
    """
    said, known = config.model, {} if known is None else known
    key = digest([to_builtins(blank), said.taps, said.warmup, said.near_ticks, said.age_bands])
    if key not in known:
        known[key] = _linear_search(config, trace, blank, halves)
    choice, predicted, runs, settling = known[key]
    spec = _completed(config, choice, len(trace), settling)
    if linear:
        spec = msgspec.structs.replace(spec, encoder=(1,), hidden=1, encoder_taps=1, head_sees_code=False)
    unit = _target_unit(choice.spec, predicted, runs.truth)
    spec = msgspec.structs.replace(spec, scaling=msgspec.structs.replace(spec.scaling, target_std=tuple(unit.tolist())))
    return ModelPlan(spec, choice, _loss_unit(choice.spec, predicted, runs), runs.truth.shape[1])


def _linear_search(config: Config, trace: Trace, blank: ModelSpec, halves: Halves) -> LinearSearch:
    said, settling = config.model, settling_of(config.model, halves)
    horizon = horizon_of(settling, halves)
    bands = BANDS if said.age_bands is None else said.age_bands
    folds = folds_of(_pieces_to_leave_out(trace), horizon, settling + horizon)
    longest = said.taps or settling - (said.warmup or 0)
    start = msgspec.structs.replace(blank, taps=max(2, min(20, longest)), encoder=(), age_bands=bands)
    if said.relative is None and blank.rigid_body is None:
        start = choose_relative(start, folds, horizon, longest)
    search = Search(scaled(start, folds), folds, horizon, [lags for lags in LAGS if lags <= longest] or [longest])
    near_ticks = NEAR_TICKS if said.near_ticks is None else (said.near_ticks,)
    choice = choose_linear(search, target_groups(search.spec), near_ticks, bands)
    return LinearSearch(choice, linear_run(choice.spec, choice.crossed, search.runs), search.runs, settling)


def _pieces_to_leave_out(trace: Trace) -> list[list[Any]]:
    """Return the pieces that a fold leaves out together: those of a kind of manoeuvre, or of a recording."""
    kinds = kinds_of(list(dict.fromkeys(episode.recording for episode in trace.episodes)))
    by_kind: dict[str, list[Any]] = {}
    for episode in trace.episodes:
        by_kind.setdefault(kinds[episode.recording], []).append(episode.values)
    return list(by_kind.values())


def _completed(config: Config, choice: LinearChoice, rows: int, settling: int) -> ModelSpec:
    """Return the whole specification, with a unit of targets that the network's corrections have."""
    said = config.model
    hidden = said.hidden or next((units for below, units in SIZES if rows < below), 64)
    chosen = max(choice.model.lags, TAPS, said.encoder_taps or 0)
    taps = said.taps or min(chosen, settling - (said.warmup or 0))
    spec = msgspec.structs.replace(
        choice.spec,
        taps=taps,
        encoder_taps=(ENCODER_TAPS if taps > ENCODER_TAPS else 0) if said.encoder_taps is None else said.encoder_taps,
        hidden=hidden,
        linear_path=True,
        warmup=settling - taps if said.warmup is None else said.warmup,
        near_ticks=choice.model.near_ticks,
        head_sees_code=said.head_sees_code is not False,
    )
    width = min(hidden, spec.encoder_window)
    return msgspec.structs.replace(spec, encoder=(width,) if said.encoder is None else said.encoder)


def _loss_unit(spec: ModelSpec, predicted: Doubles, runs: Runs) -> Doubles:
    """Mean absolute error of forecasts [K, N, ny] by tick and output: [N, ny]; at least a share `RESOLVED` of hold's.

    An output that the linear model predicts exactly would outweigh all others.
    """
    error, held = (np.abs(differences(y, runs.truth, spec.outputs)).mean(0) for y in (predicted, runs.hold))
    least = np.maximum(1e-9 * np.asarray(spec.scaling.std[spec.n_inputs :]), RESOLVED * held)
    unit: Doubles = np.maximum(error, least)
    return unit


def _target_unit(spec: ModelSpec, predicted: Doubles, truth: Floats) -> Doubles:
    """RMS error at the end of forecasts [K, N, ny] in target coordinates, divided by their number of ticks: [T]."""
    reached = truth[:, -1].astype(np.float64)
    newest = np.concatenate((np.zeros((len(reached), spec.n_inputs)), reached), 1)
    coords = coordinates(spec, np)
    error = coords.targets(newest, predicted[:, -1]) - coords.targets(newest, reached)
    per_tick = np.sqrt(np.mean(error**2, 0)) / truth.shape[1]
    least: Doubles = np.maximum(per_tick, SMALLEST * np.asarray(spec.scaling.target_std))
    return least
