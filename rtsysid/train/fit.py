"""Turn a configuration and its recordings into a trained run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from rtsysid.circle import differences, unwrapped, unwrapped_plan
from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.evaluation.metrics import forecast_windows
from rtsysid.guards.stages import say_stage
from rtsysid.model.npz import Arrays
from rtsysid.recordings.held_out import LONGER, shortest_piece, split_long_enough, unscaled_spec
from rtsysid.recordings.pieces import Note
from rtsysid.recordings.reading import align_trace
from rtsysid.recordings.trace import Integers, Trace
from rtsysid.schedule import ONE_STEP_LENGTH, Stage, require_noise, resolve, rows_needed
from rtsysid.spec import Doubles, Floats, ModelSpec, to_builtins
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.auto.begin import begin_auto
from rtsysid.train.auto.trainer import AutoTrainer
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.linear_path import fit_linear_path, set_linear_path
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.origin import origin
from rtsysid.train.run import Run
from rtsysid.train.sensor_noise import NoisyRecordings
from rtsysid.train.windows import Sequences, episode_weights, fit_scaling

ARX_LAGS = (2, 5, 10, 20)
ARX_RIDGES = (1e-9, 1e-8, 1e-6, 1e-4)
YARDSTICK_STARTS = 2000  # free runs that measure the linear model
OLD_SPELLING = (
    'model.variational = true is the old spelling, and its futures are not sampled: write distribution = "variational"'
)
KEPT_ROWS = 400  # of one validation recording, for the golden trace


@dataclass(frozen=True)
class Prepared:
    """Hold the recordings after cutting, checking and splitting, and what follows from the training recordings.

    `notes` say what was left out or resampled on the way.
    """

    spec: ModelSpec
    stages: tuple[Stage, ...]
    train: list[Floats]
    validation: list[Floats]
    notes: tuple[Note, ...] = ()

    @property
    def horizon(self) -> int:
        """Return the ticks of the longest rollout of any stage, or of a one-step sequence where there is no rollout."""
        return max((stage.horizon for stage in self.stages), default=0) or ONE_STEP_LENGTH


def prepare_recordings(config: Config, trace: Trace) -> Prepared:
    """Check and split the recordings, fit the scaling, and fix specification and schedule.

    Raises TraceError where the recordings cannot be used, SpecError and ScheduleError where the configuration
    contradicts itself.
    """
    if config.data.resample and not trace.aligned:
        trace = align_trace(trace, config.data)
    blank = unscaled_spec(config, trace.channels)
    trace = trace.segments(config.data.rate_hz, nan=config.data.nan).with_continuous(blank.rotations)
    trace = trace.with_feedthrough(config.data.feedthrough)
    stages = resolve(config.stages, blank, config.train.effort)
    require_noise(stages, blank)
    halves = split_long_enough(trace, config.data.validation, shortest_piece(config, blank))
    train, validation = ([e.values for e in half.episodes] for half in halves)
    notes = (note for half in halves for note in (*half.notes, *_partly_used(half, stages, blank)))
    if config.data.train_on_validation:
        train = [*train, *validation]
    spec = msgspec.structs.replace(blank, scaling=fit_scaling(train, blank))
    return Prepared(spec, stages, train, validation, tuple(dict.fromkeys(notes)))


def _partly_used(half: Trace, stages: Sequence[Stage], spec: ModelSpec) -> Iterator[Note]:
    """Yield a note for each stage for which some pieces are too short. Raises TraceError where all are."""
    for stage in stages:
        yield from half.long_enough(rows_needed(stage, spec), f"stage {stage.name!r}", LONGER).notes[len(half.notes) :]


def begin(
    config: Config,
    trace: Trace,
    folder: Path | str,
    config_text: str = "",
    *,
    restart: bool = False,
    linear: bool = False,
    minutes: float | None = None,
) -> Trainer | AutoTrainer:
    """Create the run folder, or open an unfinished one, and return its trainer. `restart` replaces the run there.

    With the preset auto, `linear` ends the training with the linear model, and `minutes` says how long it takes about.
    Iterate over `Trainer.epochs` to train. Raises TraceError where the recordings cannot be used, SpecError and
    ScheduleError where the configuration contradicts itself, ConfigError where the folder holds another run,
    StorageError where it is refused (`rtsysid.storage`), or another process trains in it.
    """
    if config.model.variational:
        logging.getLogger(__name__).warning(OLD_SPELLING)
    if config.auto:
        return begin_auto(config, trace, folder, config_text, restart=restart, linear=linear, minutes=minutes)
    if linear or minutes:
        asked = "--linear" if linear else "--minutes"
        raise ConfigError(asked, "the configuration has a schedule of its own", 'set preset = "auto", or leave it out')
    return begin_stages(config, trace, folder, config_text, restart=restart)


def begin_stages(
    config: Config, trace: Trace, folder: Path | str, config_text: str = "", *, restart: bool = False
) -> Trainer:
    """Do as `begin` with the schedule of the configuration. Raises the same errors."""
    run = Run(folder)
    claim = run.claim(restart)
    try:
        return _trainer(
            config, prepare_recordings(config, trace), origin(config, trace.sources), run, config_text, restart
        )
    except BaseException:
        claim.release()
        raise


def _trainer(
    config: Config, prepared: Prepared, about: dict[str, Any], run: Run, config_text: str, restart: bool
) -> Trainer:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.train.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")  # a resumed run is bit-identical on the CPU only
    augmentation = Augmentation.of(config.train, prepared.spec)
    if run.begun and not restart:
        run.refuse_another(about)
    else:
        with run.filling() as new:
            _fill_folder(new, about, prepared, augmentation, config.train.episode_weighting, config_text)
    network = _first_network(config, run).to(device)
    yardstick = torch.from_numpy(run.arrays("yardstick.npz")["rms"]).to(device)
    train, validation = (
        Sequences(episodes, device, episode_weights(episodes, prepared.spec, 1.0))
        for episodes in (prepared.train, prepared.validation)
    )
    trainer = Trainer(
        network,
        prepared.stages,
        (train, validation),
        yardstick,
        augmentation=augmentation,
        settings=config.train,
        run=run,
        notes=prepared.notes,
    )
    trainer.calibrates = not config.data.train_on_validation
    return trainer


def _first_network(config: Config, run: Run) -> Network:
    """The network before training, from the configured seed."""
    torch.manual_seed(config.train.seed)
    network = Network(run.spec)
    if config.train.forget_ticks:
        network.cell.set_forget_ticks(config.train.forget_ticks)
    if network.spec.linear_path:
        set_linear_path(network, run.arrays("linear_path.npz"))
    return network


def _fill_folder(
    run: Run,
    about: dict[str, Any],
    prepared: Prepared,
    augmentation: Augmentation,
    episode_weighting: float,
    config_text: str,
) -> None:
    """Fit the linear models and write everything that training starts from."""
    say_stage("fitting the linear models")
    draw, spec = augmentation.sensor_noise.recordings, prepared.spec
    train, validation = draw(prepared.train), draw(prepared.validation)
    arx = _baseline(prepared, train, validation)
    yardstick = _yardstick(arx, prepared, train, augmentation.cold_start)
    arrays: dict[str, Arrays] = {
        "baseline.npz": arx.arrays(),
        "yardstick.npz": {"rms": yardstick.astype(np.float32)},
        "excerpt.npz": {"values": _excerpt(prepared)},
        "validation.npz": _validation(validation, augmentation.sensor_noise.silent),
    }
    if spec.linear_path:
        mirrored = _mirrored(train, augmentation)
        spec, arrays["linear_path.npz"] = fit_linear_path(
            spec, mirrored, validation, yardstick, augmentation.cold_start, episode_weighting
        )
    run.begin({**about, "spec": to_builtins(spec)}, config_text, arrays)


def _mirrored(train: NoisyRecordings, augmentation: Augmentation) -> NoisyRecordings:
    """The training recordings through every symmetry. Without symmetries their noise is not drawn again."""
    clean = augmentation.symmetries.all(train.clean)
    if len(augmentation.symmetries) == 1 and not augmentation.sensor_noise.silent:
        return NoisyRecordings(clean, train.noisy)
    return augmentation.sensor_noise.recordings(clean)


def _baseline(prepared: Prepared, train: NoisyRecordings, validation: NoisyRecordings) -> LinearArx:
    """Fit the linear baseline; select its lags and ridge on the validation recordings, both with sensor noise."""
    spec = prepared.spec
    longest = max(map(len, train.clean)) - prepared.horizon  # the yardstick needs a free run in the training part
    lags = [p for p in sorted({*ARX_LAGS, spec.taps}) if p <= longest]
    smooth, held_out = ([unwrapped(e, spec.channels) for e in half.noisy] for half in (train, validation))
    angles = [column for column, channel in enumerate(spec.channels) if channel.angle]
    return LinearArx.select(
        smooth,
        held_out,
        spec.n_inputs,
        horizon=prepared.horizon,
        lags=lags,
        ridges=ARX_RIDGES,
        relative=angles,
    )


def _yardstick(arx: LinearArx, prepared: Prepared, train: NoisyRecordings, cold_start: ColdStart) -> Doubles:
    """RMS error of the linear baseline after 1 .. N ticks of free run on the training recordings, [N, ny].

    It is the unit of the losses: a rollout loss of 1 is as good as linear. Every output and every horizon then weighs
    by how much a network can gain over a linear model. Where `Hold` is better than the linear model, the unit is the
    error of `Hold`.
    """
    spec, nu, lags, horizon = prepared.spec, prepared.spec.n_inputs, arx.lags, prepared.horizon
    spans = [max(len(values) - lags - horizon + 1, 0) for values in train.clean]
    stride = max(1, sum(spans) // YARDSTICK_STARTS)
    errors, moves = [], []
    for values, noisy, span in (each for each in zip(*train, spans, strict=True) if each[2]):
        starts = lags - 1 + np.arange(0, span, stride)
        measured = torch.from_numpy(noisy[starts[:, None] + np.arange(1 - lags, 1)])
        history = cold_start.apply(measured, lags).numpy()
        u_future, truth = forecast_windows(values, nu, starts, horizon)
        predicted = arx.forecast(*unwrapped_plan(history, u_future, spec.channels))
        errors.append(differences(predicted, truth, spec.outputs))
        moves.append(differences(truth, np.broadcast_to(noisy[starts, None, nu:], truth.shape), spec.outputs))
    linear, hold = (np.sqrt(np.mean(np.concatenate(e).astype(np.float64) ** 2, 0)) for e in (errors, moves))
    unit: Doubles = np.maximum(np.fmin(linear, hold), 1e-9 * np.asarray(spec.scaling.std[nu:]))
    return unit


def _validation(validation: NoisyRecordings, silent: bool) -> dict[str, Floats | Integers]:
    """The validation recordings end to end, for the calibration of a bundle; with the noisy ones where they differ."""
    noisy = {} if silent else {"shown": np.concatenate(validation.noisy)}
    clean = validation.clean
    return {"true": np.concatenate(clean), "rows": np.array([len(each) for each in clean]), **noisy}


def _excerpt(prepared: Prepared) -> Floats:
    """The start of the longest validation episode: real samples for the golden trace."""
    return max(prepared.validation, key=len)[:KEPT_ROWS]
