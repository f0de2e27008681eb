"""Run the training loop: stages, epochs, checkpoints.

All random draws of an epoch derive from (seed, stage, epoch), and a checkpoint holds everything else. A run that was
killed therefore continues to the bit-identical result of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.errors import ScheduleError
from rtsysid.recordings.pieces import Note
from rtsysid.schedule import AUTO, NOISE_GROUPS, PREDICTIONS, Stage, rows_needed
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.generative.calibration import calibrate_stretch, dead_members
from rtsysid.train.generative.scales import begin_scales, idle_latent, limit_scales
from rtsysid.train.losses import Objective
from rtsysid.train.network import Network
from rtsysid.train.run import Position, Run
from rtsysid.train.sensor_noise import SEED
from rtsysid.train.stage_optimiser import StageOptimiser, with_prefix
from rtsysid.train.tensors import Tensors
from rtsysid.train.windows import Sequences

VALIDATION_SEQUENCES = 1024
IN_SCALES = frozenset({"spread", "members"})  # groups whose unit is the noise of one tick
UNCALIBRATED = (
    "futures are not calibrated, and may be too narrow: training used the validation part, too; "
    "leave out data.train_on_validation"
)
POOR_LOSS = 1e4  # a hundred times the error of the linear ARX


@dataclass(frozen=True)
class Epoch:
    """Report one finished epoch: mean loss of the training batches, and of the validation sequences in free run.

    ``index`` counts epochs over all stages from 0, ``epoch`` within the stage from 1. ``best``: the validation loss is
    the lowest of the stage so far. ``seconds``: wall-clock time. ``ahead``: with the preset auto, the error on the
    validation recordings in ratio to the linear model's after 1, 2, 5, .. ticks.
    """

    index: int
    stage: str
    epoch: int
    epochs: int
    train: float
    validation: float
    best: bool
    seconds: float
    ahead: tuple[float, ...] = ()


class Trainer:
    """Train the stages of a schedule, from the last checkpoint in the run folder."""

    def __init__(
        self,
        network: Network,
        stages: tuple[Stage, ...],
        data: tuple[Sequences, Sequences],
        yardstick: Tensor,
        *,
        augmentation: Augmentation,
        settings: Training,
        run: Run,
        notes: tuple[Note, ...] = (),
    ) -> None:
        self.network, self.stages, self.yardstick = network, stages, yardstick
        self.training, self.validation = data
        self.augmentation, self.settings, self.run = augmentation, settings, run
        self.notes = notes  # what was left out of the recordings
        self.position, self.finished = Position(), 0
        self.best: Tensors = {}
        self.calibrates = True  # the noise of sampled futures, on the validation recordings

    @property
    def total(self) -> int:
        """Count the epochs of the whole schedule if no stage stops early."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def done(self) -> int:
        """Count the epochs that the checkpoint has finished. Raises ConfigError where it is damaged."""
        checkpoint = self.run.checkpoint()
        return checkpoint[2] if checkpoint else 0

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end and yield each epoch after it is saved.

        Raises ScheduleError where a loss is not finite, TraceError where no episode is long enough, ConfigError where
        the checkpoint is damaged, StorageError where another process trains in the folder.
        """
        with self.run.claimed():
            saved = self._restore()
            while self.position.stage < len(self.stages):
                yield from self._stage(self.stages[self.position.stage], saved)
                saved = {}
                self.position = Position(stage=self.position.stage + 1)
            if any("spread" in stage.train for stage in self.stages):  # not where the noise is trained after this
                self._finish_noise()
            self.run.finish(self.network.state_dict())

    def _stage(self, stage: Stage, saved: Tensors) -> Iterator[Epoch]:
        noise = set(stage.train) <= set(NOISE_GROUPS)
        if self.position.epoch == 0 and self._scales_begin():
            begin_scales(self.network, self.training)
        if noise and self.position.epoch == 0:
            self._take_as_best(self._validate(stage))  # an epoch must be better than the weights before the stage
        optimiser = StageOptimiser(self.network, stage, self.yardstick, self.training, self.augmentation, self.settings)
        optimiser.load(saved)
        while self.position.epoch < stage.epochs and not (stage.patience and self.position.stale >= stage.patience):
            try:
                epoch = self._epoch(stage, optimiser)
            except ScheduleError as error:
                if not noise:
                    raise
                logging.getLogger(__name__).warning("%s: the stage ends here, with its last good weights", error)
                break
            self._save(epoch, optimiser)
            yield epoch
        if noise and 0 < self.position.epoch == self.position.stale:
            text = "stage %r: no epoch was better than the weights before it, which stay; lower its learning_rate"
            logging.getLogger(__name__).warning(text, stage.name)
        self.network.load_state_dict(self.best)

    def _take_as_best(self, validation: float) -> None:
        self.best = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.position.best = min(self.position.best, validation)  # not one that is no number

    def _finish_noise(self) -> None:
        limit_scales(self.network, self.training)
        if self.calibrates:
            calibrate_stretch(self.network, self.validation, self.yardstick, self.settings.seed)
        else:
            logging.getLogger(__name__).warning(UNCALIBRATED)
        for found in (dead_members(self.network), idle_latent(self.network, self.training)):
            if found:
                logging.getLogger(__name__).warning("distribution %s: %s", self.network.spec.distribution, found)

    def _scales_begin(self) -> bool:
        """Tell whether this stage is the first that trains what the scales of the noise are the unit of."""
        *before, now = (not IN_SCALES.isdisjoint(stage.train) for stage in self.stages[: self.position.stage + 1])
        return now and not any(before)

    def _epoch(self, stage: Stage, optimiser: StageOptimiser) -> Epoch:
        begun, at = time.perf_counter(), self.position
        torch.manual_seed(_seed(self.settings.seed, at.stage, at.epoch))
        train = optimiser.epoch(at.epoch)
        validation = self._validate(stage)
        better = validation < at.best or not self.best
        if better:
            self._take_as_best(validation)
        self.position = Position(at.stage, at.epoch + 1, at.best, 0 if better else at.stale + 1)
        seconds = round(time.perf_counter() - begun, 3)
        return Epoch(self.finished, stage.name, at.epoch + 1, stage.epochs, train, validation, better, seconds)

    @torch.no_grad()
    def _validate(self, stage: Stage) -> float:
        """Mean loss of the validation sequences, without input noise and without teacher forcing in rollouts.

        Predictions use the mean of a variational code, as on the robot. Reconstructions sample it, as in training. With
        the preset auto, half of the sequences have a longer history where most recordings have one.
        """
        needed = rows_needed(stage, self.network.eval().spec)
        histories = self.validation.histories(needed) if self.settings.preset == AUTO else (0,)
        return math.fsum(self._mean_loss(stage, longer, len(histories)) for longer in histories) / len(histories)

    def _mean_loss(self, stage: Stage, longer: int, parts: int) -> float:
        """Mean loss of a part of the validation sequences, with so many rows of further warm-up."""
        torch.manual_seed(SEED)  # every epoch draws the same corruptions and codes
        objective = Objective(self.network, stage, self.yardstick, longer)
        length = rows_needed(stage, self.network.spec) + longer
        starts = self.validation.starts(length, 1)
        episode_weighting = stage.episode_weighting_in(self.settings.episode_weighting)
        starts = self.validation.evenly_spaced(starts, VALIDATION_SEQUENCES // parts, episode_weighting)
        total, generator = 0.0, torch.Generator().manual_seed(SEED)
        for rows in self.validation.batches(starts, self.settings.batch_size, length):
            terms = objective.terms(rows, inputs=self.augmentation.apply(rows, generator))
            total += torch.stack(terms).sum().item() * len(rows)
        return total / len(starts)

    def _save(self, epoch: Epoch, optimiser: StageOptimiser) -> None:
        tensors = {f"weights/{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"best/{k}": v.contiguous() for k, v in self.best.items()}
        self.finished += 1
        self.run.save_checkpoint(tensors | optimiser.state(), self.position, vars(epoch))

    def _restore(self) -> Tensors:
        """Load the checkpoint, if there is one, and return its tensors."""
        checkpoint = self.run.checkpoint()
        if checkpoint is None:
            return {}
        loaded, self.position, self.finished = checkpoint
        tensors = {name: tensor.to(self.training.values.device) for name, tensor in loaded.items()}
        self.network.load_state_dict(with_prefix(tensors, "weights/"))
        self.best = with_prefix(tensors, "best/")
        return tensors


def linear_loss(stage: Stage) -> float:
    """Return the loss that the linear model has in a stage; infinite where other terms than predictions count."""
    if any(loss.kind not in PREDICTIONS for loss in stage.loss):
        return float("inf")
    return sum(loss.weight for loss in stage.loss)


def poor_loss(validation: float, linear: float = 1.0, likely: Sequence[str] = ()) -> str:
    """Describe in one line a validation loss that is worse than the linear model's; empty for any other.

    `linear`: the loss of the linear model; `likely`: what a check of the recordings has found.
    """
    if validation <= min(linear, POOR_LOSS):
        return ""
    usual = ("a wrong convention or time (rtsysid check)", "too few epochs (train.effort)", "too little data")
    reasons = "; ".join([*likely[:3], *usual][:4])
    verdict = "WORSE THAN THE LINEAR MODEL" if validation < POOR_LOSS else "of no use"
    own = f" (the linear model has {linear:.3g})" if linear < POOR_LOSS else ""
    return f"validation loss {validation:.3g}: {verdict}{own}; likely reasons: {reasons}"


def _seed(seed: int, stage: int, epoch: int) -> int:
    text = f"{seed}/{stage}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
