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
    arx, direct = _linear_models(prepared)
    if prepared.spec.direct:
        set_direct(network, direct)
    run.save_arrays("baseline.npz", arx.arrays())
    run.save_arrays("excerpt.npz", {"values": _excerpt(prepared)})
    yardstick = torch.from_numpy(_yardstick(arx, prepared).astype(np.float32)).to(device)
    data = (Sequences(prepared.train, device), Sequences(prepared.validation, device))
    return Trainer(network.to(device), prepared.stages, data, yardstick, settings=config.train, run=run)


def set_direct(network: Network, arx: LinearArx) -> None:
    """Write a linear ARX into the direct path and silence the head, so that training starts from the linear model.

    The network standardises with its own means and spreads: y = W (x - m) / s + b is rewritten for them.
    """
    spec, scaling = network.spec, network.spec.scaling
    columns = list(spec.direct_columns)
    mean, std = np.asarray(scaling.mean)[columns], np.asarray(scaling.std)[columns]
    weights = arx.weights.reshape(spec.n_outputs, arx.lags, len(columns)) / arx.std
    bias = arx.bias + (weights * (mean - arx.mean)).sum((1, 2))
    target_mean, target_std = np.asarray(scaling.target_mean), np.asarray(scaling.target_std)
    padded = np.zeros((spec.n_outputs, spec.taps, len(columns)))
    padded[:, spec.taps - arx.lags :] = weights * std / target_std[:, None, None]
    with torch.no_grad():
        network.direct.weight.copy_(torch.from_numpy(padded.reshape(spec.n_outputs, -1)))
        network.direct.bias.copy_(torch.from_numpy((bias - target_mean) / target_std))
        network.head.weight.zero_()
        network.head.bias.zero_()


def _linear_models(prepared: Prepared) -> tuple[LinearArx, LinearArx]:
    """The baseline, selected on validation, and the one for the direct path: the best that fits into its taps."""
    spec = prepared.spec
    horizon = max((stage.horizon for stage in prepared.stages), default=0) or ONE_STEP_LENGTH
    lags = tuple(sorted({*ARX_LAGS, spec.taps}))

    def select(among: Sequence[int]) -> LinearArx:
        return LinearArx.select(
            prepared.train, prepared.validation, spec.n_inputs, horizon=horizon, lags=among, ridges=ARX_RIDGES
        )

    baseline = select(lags)
    fits = baseline.lags <= spec.taps or not spec.direct
    return baseline, baseline if fits else select([p for p in lags if p <= spec.taps])


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
