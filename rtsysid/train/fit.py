"""From a configuration and its recordings to a trained run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from rtsysid.config import Config
from rtsysid.config import to_builtins as config_builtins
from rtsysid.errors import TraceError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.metrics import forecast_windows
from rtsysid.recordings.resample import resample
from rtsysid.recordings.trace import Integers, Trace
from rtsysid.schedule import Stage, resolve
from rtsysid.spec import Doubles, Floats, ModelSpec, to_builtins
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.linear_path import fit_linear_path, set_linear_path
from rtsysid.train.loop import Trainer
from rtsysid.train.losses import ONE_STEP_LENGTH, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Run, versions
from rtsysid.train.sensor_noise import SensorNoise
from rtsysid.train.windows import Sequences, balanced, fit_scaling

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
    trace = trace.segments(config.data.rate_hz, nan=config.data.nan).with_feedthrough(config.data.feedthrough)
    parts = trace.split(config.data.validation)
    train, validation = ([episode.values for episode in part.episodes] for part in parts)
    if config.data.train_on_validation:
        train = [*train, *validation]
    blank = ModelSpec(channels=trace.channels, rate_hz=config.data.rate_hz, **msgspec.structs.asdict(config.model))
    spec = msgspec.structs.replace(blank, scaling=fit_scaling(train, blank))
    stages = resolve(config.stages, spec, config.train.effort)
    _check_lengths(train, validation, max(rows_needed(stage, spec) for stage in stages))
    return Prepared(spec, stages, train, validation)


def begin(config: Config, trace: Trace, folder: Path | str, config_text: str = "") -> Trainer:
    """Open or reopen the run folder and return its trainer; iterate over `Trainer.epochs` to train.

    Raises TraceError for recordings that cannot be learned from, SpecError and ScheduleError for a configuration that
    contradicts itself, ConfigError where the folder holds another run.
    """
    prepared = prepare(config, trace)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.train.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")  # a resumed run is bit-identical on the CPU alone
    augmentation = Augmentation.of(config.train, prepared.spec)
    about = {
        "config": config_builtins(config),
        "sources": [list(source) for source in trace.sources],
        "versions": versions(),
    }
    run = Run(folder)
    if run.begun:
        run.refuse_another(about)
    else:
        _prepare_folder(run, about, prepared, augmentation, config.train.episode_weighting, config_text)
    torch.manual_seed(config.train.seed)
    network = Network(run.spec)
    if config.train.forget_ticks:
        network.cell.set_forget_ticks(config.train.forget_ticks)
    if network.spec.linear_path:
        set_linear_path(network, run.arrays("linear_path.npz"))
    yardstick = torch.from_numpy(run.arrays("yardstick.npz")["rms"]).to(device)
    data = [
        Sequences(part, device, balanced(part, prepared.spec, 1.0)) for part in (prepared.train, prepared.validation)
    ]
    network = network.to(device)
    return Trainer(
        network,
        prepared.stages,
        (data[0], data[1]),
        yardstick,
        augmentation=augmentation,
        settings=config.train,
        run=run,
    )


def _prepare_folder(
    run: Run,
    about: dict[str, Any],
    prepared: Prepared,
    augmentation: Augmentation,
    episode_weighting: float,
    config_text: str,
) -> None:
    """Fit what is linear and write all that training starts from; `run.json` last, so that it stands for the whole."""
    arx, spec = _baseline(prepared, augmentation.sensor_noise), prepared.spec
    yardstick = _yardstick(arx, prepared, augmentation)
    if spec.linear_path:
        train = augmentation.symmetries.all(prepared.train)
        spec, linear_path = fit_linear_path(
            spec, train, prepared.validation, yardstick, augmentation, episode_weighting
        )
        run.save_arrays("linear_path.npz", linear_path)
    run.save_arrays("baseline.npz", arx.arrays())
    run.save_arrays("yardstick.npz", {"rms": yardstick.astype(np.float32)})
    run.save_arrays("excerpt.npz", {"values": _excerpt(prepared)})
    run.save_arrays("validation.npz", _validation(prepared, augmentation.sensor_noise))
    run.begin({**about, "spec": to_builtins(spec)}, config_text)


def _baseline(prepared: Prepared, sensor_noise: SensorNoise) -> LinearArx:
    """The linear model to beat: lags and ridge selected on the validation recordings, as sensors would show them."""
    spec = prepared.spec
    horizon = max((stage.horizon for stage in prepared.stages), default=0) or ONE_STEP_LENGTH
    lags = tuple(sorted({*ARX_LAGS, spec.taps}))
    train, validation = sensor_noise.episodes(prepared.train), sensor_noise.episodes(prepared.validation)
    return LinearArx.select(train, validation, spec.n_inputs, horizon=horizon, lags=lags, ridges=ARX_RIDGES)


def _yardstick(arx: LinearArx, prepared: Prepared, augmentation: Augmentation) -> Doubles:
    """RMS error of the linear model in 1..N steps of free run on the training recordings, [N, ny].

    Losses are counted in these units, so that every output and every horizon weighs by how much there is to gain
    over a linear model: a rollout loss of 1 is as good as linear. Where it is worse than standing still, standing
    still is the unit.
    """
    horizon = max((stage.horizon for stage in prepared.stages), default=0) or ONE_STEP_LENGTH
    nu, lags = prepared.spec.n_inputs, arx.lags
    spans = [max(len(values) - lags - horizon + 1, 0) for values in prepared.train]
    stride = max(1, sum(spans) // YARDSTICK_STARTS)
    errors, moves = [], []
    shown = augmentation.sensor_noise.episodes(prepared.train)
    for values, seen, span in zip(prepared.train, shown, spans, strict=True):
        starts = lags - 1 + np.arange(0, span, stride)
        history = augmentation.cold_start.apply(
            torch.from_numpy(seen[starts[:, None] + np.arange(1 - lags, 1)]), lags
        ).numpy()
        u_future, truth = forecast_windows(values, nu, starts, horizon)
        errors.append(arx.forecast(history, u_future) - truth)
        moves.append(truth - seen[starts, None, nu:])
    linear, hold = (np.sqrt(np.mean(np.concatenate(part).astype(np.float64) ** 2, 0)) for part in (errors, moves))
    unit: Doubles = np.maximum(np.fmin(linear, hold), 1e-9 * np.asarray(prepared.spec.scaling.std[nu:]))
    return unit


def _validation(prepared: Prepared, sensor_noise: SensorNoise) -> dict[str, Floats | Integers]:
    """The validation recordings end to end, and as sensors would show them: what a bundle is calibrated on."""
    episodes = prepared.validation
    shown = {} if sensor_noise.silent else {"shown": np.concatenate(sensor_noise.episodes(episodes))}
    return {"true": np.concatenate(episodes), "rows": np.array([len(each) for each in episodes]), **shown}


def _excerpt(prepared: Prepared) -> Floats:
    """The start of the longest validation episode: real samples for the golden trace."""
    return max(prepared.validation, key=len)[:EXCERPT_ROWS]


def _check_lengths(train: list[Floats], validation: list[Floats], needed: int) -> None:
    for name, episodes in (("training", train), ("validation", validation)):
        longest = max(map(len, episodes), default=0)
        if longest < needed:
            remedy = "record longer, or shorten taps, warmup or the rollout horizon"
            raise TraceError(f"{name} recordings", f"longest episode {longest} rows, {needed} are needed", remedy)
