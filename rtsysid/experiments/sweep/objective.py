"""Train one configuration and measure its forecasts: the only place where a sweep touches training.

The measure of a sweep is a pure number. Every model forecasts from the same rows of the validation recordings. For each
group of outputs and each octave of ticks ahead (1, 2-3, 4-7, ..) its mean error is divided by that of `Hold`; the
result is the geometric mean of these ratios. With a geometric mean another baseline would change every value by the
same factor, and no rank. A ratio below `RESOLUTION` counts as that: no sensor resolves less.
"""

from __future__ import annotations

import copy
import glob
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from rtsysid.circle import nearest
from rtsysid.config import Config
from rtsysid.errors import TraceError
from rtsysid.evaluation.baselines import Hold
from rtsysid.evaluation.metrics import group_errors
from rtsysid.recordings.held_out import training_parts, unscaled_spec
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import ONE_STEP_LENGTH, PREDICTIONS, resolve
from rtsysid.spec import Doubles, Floats
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.auto.begin import begin_auto, parts_of
from rtsysid.train.auto.plan import LinearSearch
from rtsysid.train.auto.trainer import AutoTrainer
from rtsysid.train.fit import begin_stages, prepare_recordings
from rtsysid.train.freerun import free_run
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.sensor_noise import SEED
from rtsysid.train.windows import Sequences, row_windows

RUNGS = (12, 24, 48)  # percent of the training at which a trial may be stopped
RESOLUTION = 1e-3  # of the error of hold
WINDOWS = 512  # forecasts that measure a model
BLOCKS = 20  # of neighbouring forecasts, which the spread of an error is computed from
BATCH = 256


class TrialProgress(NamedTuple):
    """State how far the training of a trial is: percent, and the errors [B, R] where they were measured."""

    percent: int
    errors: Doubles | None


class Measure:
    """Measure models on the validation recordings of a configuration, all from the same rows.

    `settling`: rows that the slowest model of the space needs before its first forecast. Raises TraceError where no
    validation recording is long enough, or no output moves.
    """

    def __init__(self, config: Config, trace: Trace, settling: int) -> None:
        stages = resolve(config.stages, spec := unscaled_spec(config, trace.channels))
        self.spec, self.settling, self.split = spec, settling, _fixed_split(config, trace)
        self.linear: dict[str, LinearSearch] = {}  # of the trials before, which have the same recordings
        self.horizon = max(stage.horizon for stage in stages) or ONE_STEP_LENGTH
        sequences, length = Sequences(parts_of_training(config, trace)[1]), settling + self.horizon
        if max(sequences.lengths) < length:
            found = f"the longest validation recording has {max(sequences.lengths)} rows, and {length} are needed"
            raise TraceError("sweep", found, "give a space with fewer taps, or record longer")
        every = sequences.starts(length, 1)
        self._blocks = max(1, min(BLOCKS, len(every) // self.horizon))  # forecasts of the same rows are no two proofs
        self._rows = sequences.rows(sequences.evenly_spaced(every, WINDOWS), length)
        self._hold = self._errors(self._held()).sum(0)
        if not (self._hold > 0).any():
            raise TraceError("sweep", "no output moves in the validation recordings", "give others to data.validation")

    def errors(self, network: Network, augmentation: Augmentation) -> Doubles:
        """Measure a network: [B, R] for B blocks of neighbouring forecasts.

        The sum over the blocks is the ratio to the error of hold, for each group that moves and each octave of ticks;
        inf where a forecast is not finite.
        """
        moves = self._hold > 0
        found: Doubles = self._errors(self._forecasts(network, augmentation))[:, moves] / self._hold[moves]
        return found

    def _errors(self, predicted: Doubles) -> Doubles:
        """Average the errors of forecasts [K, N, ny] by group and octave; each block has its share of the mean."""
        truth = self._rows[:, self.settling :, self.spec.n_inputs :].numpy()
        outputs = self.spec.outputs
        errors = group_errors(nearest(predicted, truth, outputs), truth, outputs)
        each = np.concatenate([_octaves(error) for error in errors.values()], 1)
        return np.stack([block.sum(0) for block in np.array_split(each, self._blocks)]) / len(each)

    def _held(self) -> Doubles:
        rows = self._rows.numpy()
        future = rows[:, self.settling - 1 : -1, : self.spec.n_inputs]
        return Hold(self.spec.n_inputs).forecast(rows[:, : self.settling], future)

    @torch.no_grad()
    def _forecasts(self, network: Network, augmentation: Augmentation) -> Doubles:
        network.eval()
        rows = self._rows[:, self.settling - network.spec.settling_samples :]
        generator = torch.Generator().manual_seed(SEED)
        inputs = augmentation.apply(rows, generator).to(network.target_mean.device)
        parts = [_forecast(network, batch, self.horizon).cpu() for batch in torch.split(inputs, BATCH)]
        return torch.cat(parts).double().numpy()


def parts_of_training(config: Config, trace: Trace) -> tuple[list[Floats], list[Floats]]:
    """Return the pieces [n, C] that a training with this configuration trains and validates on.

    Raises TraceError where the recordings cannot be used.
    """
    if config.auto:
        return parts_of(config, trace)
    prepared = prepare_recordings(config, trace)
    return prepared.train, prepared.validation


def _fixed_split(config: Config, trace: Trace) -> tuple[str, ...]:
    """Name the validation recordings where they depend on the rows that a model needs.

    A trial that needs longer pieces would leave out short recordings first, and then take others for validation: it
    would train on what measures it. Of a single recording the last rows validate.
    """
    if config.auto or config.data.validation:
        return config.data.validation
    trained, judged = ({e.recording for e in part.episodes} for part in training_parts(trace, config))
    return () if trained & judged else tuple(glob.escape(name) for name in sorted(judged))


def _forecast(network: Network, rows: Tensor, horizon: int) -> Tensor:
    """Settle on measured rows, then run free: [B, settling + N, C] -> [B, N, ny]."""
    windows = row_windows(rows, network.spec.taps)
    settling = network.spec.settling_samples - network.spec.taps
    state = network.initial_state(windows[:, 0])
    if settling:
        _, state = network.sequence(windows[:, :settling], state)
    return free_run(network, windows[:, settling : settling + horizon], state)


def _octaves(errors: Doubles) -> Doubles:
    """Average errors [K, N] over 1, 2-3, 4-7, .. ticks ahead: [K, O]."""
    first = [2**k for k in range(errors.shape[1].bit_length())]
    return np.stack([errors[:, each - 1 : 2 * each - 1].mean(1) for each in first], 1)


def train_trial(config: Config, trace: Trace, folder: Path, measure: Measure) -> Generator[TrialProgress, None, None]:
    """Train in `folder`; yield the start and each epoch, with the errors where training passes a rung and at its end.

    Progress counts the epochs of stages that learn to predict: before them all models forecast alike. Raises the errors
    of `rtsysid.train.fit.begin` and of `Trainer.epochs`.
    """
    data = msgspec.structs.replace(config.data, validation=measure.split)
    config = msgspec.structs.replace(config, data=data)
    default = begin_auto(config, trace, folder, known=measure.linear) if config.auto else None
    trainer = begin_stages(config, trace, folder) if default is None else default.trial()
    yield TrialProgress(0, None)  # the linear fits may have taken long
    lengths = {s.name: s.epochs for s in trainer.stages if any(loss.kind in PREDICTIONS for loss in s.loss)}
    done, rungs = 0, list(RUNGS)
    for epoch in trainer.epochs():
        done += epoch.stage in lengths
        percent = 100 * done // max(1, sum(lengths.values()))
        passed = [rung for rung in rungs if rung <= percent]
        rungs = rungs[len(passed) :]
        yield TrialProgress(percent, _errors_so_far(trainer, default, measure) if passed and percent < 100 else None)
    yield TrialProgress(100, _errors_so_far(trainer, default, measure))


def _errors_so_far(trainer: Trainer, default: AutoTrainer | None, measure: Measure) -> Doubles:
    """Measure what the training would keep now: the best epoch, and as much of it as a default training would use."""
    network = copy.deepcopy(trainer.network)
    network.load_state_dict(trainer.best)
    if default is not None:
        default.networks.weighed(network)
    return measure.errors(network, trainer.augmentation)
