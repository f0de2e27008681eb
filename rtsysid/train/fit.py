"""From a configuration and its recordings to a trained run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from rtsysid.baselines import LinearArx
from rtsysid.config import Config
from rtsysid.config import to_builtins as config_builtins
from rtsysid.errors import TraceError
from rtsysid.metrics import forecast_windows
from rtsysid.resample import resample
from rtsysid.schedule import Stage, resolve
from rtsysid.spec import Doubles, Floats, ModelSpec, to_builtins
from rtsysid.trace import Trace
from rtsysid.train.loop import Trainer
from rtsysid.train.losses import ONE_STEP_LENGTH, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Run, versions
from rtsysid.train.windows import Sequences, fit_scaling

ARX_LAGS = (2, 5, 10, 20)
ARX_RIDGES = (1e-9, 1e-8, 1e-6, 1e-4)
DIRECT_RIDGE = 1e-9  # relative to unit variance: smooth signals are extrapolated from small differences
YARDSTICK_STARTS = 2000  # free runs that measure the linear model
EXCERPT_ROWS = 400


@dataclass(frozen=True)
class Prepared:
    """Recordings cut, checked and split, and what the training part alone determines."""

    spec: ModelSpec
    stages: tuple[Stage, ...]
    train: list[Floats]
    validation: list[Floats]


def prepare(config: Config, trace: Trace) -> Prepared:
    """Check the recordings, split them, fit the scaling and fix specification and schedule."""
    if config.data.resample:
        trace = resample(trace, config.data.rate_hz, max_age=config.data.max_age)
    trace = trace.segments(config.data.rate_hz, nan=config.data.nan)
    parts = trace.split(config.data.validation)
    train, validation = ([episode.values for episode in part.episodes] for part in parts)
    model = config.model
    spec = ModelSpec(
        channels=trace.channels,
        rate_hz=config.data.rate_hz,
        scaling=fit_scaling(train, trace.channels, model),
        **msgspec.structs.asdict(model),
    )
    stages = resolve(config.stages, spec, config.train.effort)
    _check_lengths(train, validation, max(rows_needed(stage, spec) for stage in stages))
    return Prepared(spec, stages, train, validation)


def begin(config: Config, trace: Trace, folder: Path | str, config_text: str = "") -> Trainer:
    """Open or reopen the run folder and return its trainer; iterate over `Trainer.epochs` to train.

    Raises TraceError for recordings that cannot be learned from, SpecError and ScheduleError for a configuration that
    contradicts itself, ConfigError where the folder holds another run.
    """
    prepared = prepare(config, trace)
    run = Run(folder)
    about = {
        "config": config_builtins(config),
        "spec": to_builtins(prepared.spec),
        "sources": [list(source) for source in trace.sources],
        "versions": versions(),
    }
    run.begin(about, config_text)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.train.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")  # a resumed run is bit-identical on the CPU alone
    torch.manual_seed(config.train.seed)
    network = Network(prepared.spec)
    arx = _baseline(prepared)
    if prepared.spec.direct:
        fit_direct(network, prepared.train)
    run.save_arrays("baseline.npz", arx.arrays())
    run.save_arrays("excerpt.npz", {"values": _excerpt(prepared)})
    yardstick = torch.from_numpy(_yardstick(arx, prepared).astype(np.float32)).to(device)
    data = (Sequences(prepared.train, device), Sequences(prepared.validation, device))
    return Trainer(network.to(device), prepared.stages, data, yardstick, settings=config.train, run=run)


def fit_direct(network: Network, episodes: Sequence[Floats]) -> None:
    """Fit the direct path by least squares and silence the head, so that training starts from linear extrapolation.

    Each output is an autoregression of its own: y = W (x - m) / s + b in the units of the regression is rewritten for
    the means and spreads of the network.
    """
    spec, scaling = network.spec, network.spec.scaling
    weights, bias = np.zeros((spec.taps, spec.n_outputs)), np.zeros(spec.n_outputs)
    for j in range(spec.n_outputs):
        column, unit, centre = spec.n_inputs + j, scaling.target_std[j], scaling.target_mean[j]
        own = LinearArx.fit([e[:, [column]] for e in episodes], 0, lags=spec.taps, ridge=DIRECT_RIDGE)
        slopes = own.weights[0] / own.std[0]
        level = own.bias[0]
        if spec.output == "absolute":  # the regression is on the increment: add the newest value itself
            slopes[-1] += 1.0
            level += own.mean[0]
        level += slopes.sum() * (scaling.mean[column] - own.mean[0])
        weights[:, j] = slopes * scaling.std[column] / unit
        bias[j] = (level - centre) / unit
    with torch.no_grad():
        network.direct.weight.copy_(torch.from_numpy(weights))
        network.direct.bias.copy_(torch.from_numpy(bias))
        network.head.weight.zero_()
        network.head.bias.zero_()


def _baseline(prepared: Prepared) -> LinearArx:
    """The linear model to beat: lags and ridge selected on the validation recordings."""
    spec = prepared.spec
    horizon = max((stage.horizon for stage in prepared.stages), default=0) or ONE_STEP_LENGTH
    lags = tuple(sorted({*ARX_LAGS, spec.taps}))
    return LinearArx.select(
        prepared.train, prepared.validation, spec.n_inputs, horizon=horizon, lags=lags, ridges=ARX_RIDGES
    )


def _yardstick(arx: LinearArx, prepared: Prepared) -> Doubles:
    """RMS error of the linear model in 1..N steps of free run on the training recordings, [N, ny].

    Losses are counted in these units, so that every output and every horizon weighs by how much there is to gain
    over a linear model: a rollout loss of 1 is as good as linear. Where it is worse than standing still, standing
    still is the unit.
    """
    horizon = max((stage.horizon for stage in prepared.stages), default=0) or ONE_STEP_LENGTH
    nu, past = prepared.spec.n_inputs, arx.lags
    spans = [max(len(values) - past - horizon + 1, 0) for values in prepared.train]
    stride = max(1, sum(spans) // YARDSTICK_STARTS)
    errors, moves = [], []
    for values, span in zip(prepared.train, spans, strict=True):
        starts = past - 1 + np.arange(0, span, stride)
        history = values[starts[:, None] + np.arange(1 - past, 1)]
        u_future, truth = forecast_windows(values, nu, starts, horizon)
        errors.append(arx.forecast(history, u_future) - truth)
        moves.append(truth - values[starts, None, nu:])
    linear, hold = (np.sqrt(np.mean(np.concatenate(part).astype(np.float64) ** 2, 0)) for part in (errors, moves))
    unit: Doubles = np.maximum(np.fmin(linear, hold), 1e-9 * np.asarray(prepared.spec.scaling.target_std))
    return unit


def _excerpt(prepared: Prepared) -> Floats:
    """The start of the longest validation episode: real samples for the golden trace."""
    return max(prepared.validation, key=len)[:EXCERPT_ROWS]


def _check_lengths(train: list[Floats], validation: list[Floats], needed: int) -> None:
    for name, episodes in (("training", train), ("validation", validation)):
        longest = max(map(len, episodes), default=0)
        if longest < needed:
            remedy = "record longer, or shorten taps, warmup or the rollout horizon"
            raise TraceError(f"{name} recordings", f"longest episode {longest} rows, {needed} are needed", remedy)
