"""The training loop, to be read in one sitting: stages, epochs, batches.

All randomness of an epoch comes from (seed, stage, epoch), and a checkpoint holds everything else, so that a run that
was killed goes on to the bit-identical result of an unbroken one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.schedule import Stage
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.losses import Objective, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Position, Run, Tensors
from rtsysid.train.sensor_noise import SEED
from rtsysid.train.stage_optimiser import StageOptimiser, with_prefix
from rtsysid.train.windows import Sequences

VALIDATION_SEQUENCES = 1024


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: mean loss over the training batches, and on the validation sequences in free run."""

    index: int
    stage: str
    epoch: int
    epochs: int
    train: float
    validation: float
    best: bool
    seconds: float


class Trainer:
    """Runs resolved stages on a network, from wherever the run folder stands."""

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
    ) -> None:
        self.network, self.stages, self.yardstick = network, stages, yardstick
        self.training, self.validation = data
        self.augmentation, self.settings, self.run = augmentation, settings, run
        self.position, self.finished = Position(), 0
        self.best: Tensors = {}

    @property
    def total(self) -> int:
        """Epochs of the whole schedule when no stage stops early."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def done(self) -> int:
        """Epochs that an earlier start of this run has finished."""
        found = self.run.checkpoint()
        return found[2] if found else 0

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end, one epoch per item; each is on disk before it is yielded."""
        saved = self._restore()
        while self.position.stage < len(self.stages):
            yield from self._stage(self.stages[self.position.stage], saved)
            saved = {}
            self.position = Position(stage=self.position.stage + 1)
        self.run.finish(self.network.state_dict())

    def _stage(self, stage: Stage, saved: Tensors) -> Iterator[Epoch]:
        optimiser = StageOptimiser(self.network, stage, self.yardstick, self.training, self.augmentation, self.settings)
        optimiser.load(saved)
        while self.position.epoch < stage.epochs and not (stage.patience and self.position.stale >= stage.patience):
            epoch = self._epoch(stage, optimiser)
            self._save(epoch, optimiser)
            yield epoch
        self.network.load_state_dict(self.best)

    def _epoch(self, stage: Stage, optimiser: StageOptimiser) -> Epoch:
        begun, at = time.perf_counter(), self.position
        torch.manual_seed(_seed(self.settings.seed, at.stage, at.epoch))
        train = optimiser.epoch(at.epoch)
        validation = self._validate(Objective(self.network.eval(), stage, self.yardstick))
        better = validation < at.best or not self.best
        if better:
            self.best = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.position = Position(at.stage, at.epoch + 1, min(validation, at.best), 0 if better else at.stale + 1)
        seconds = round(time.perf_counter() - begun, 3)
        return Epoch(self.finished, stage.name, at.epoch + 1, stage.epochs, train, validation, better, seconds)

    @torch.no_grad()
    def _validate(self, objective: Objective) -> float:
        """The same objective on validation sequences, without feature noise, nor teacher forcing in rollouts.

        What is predicted comes from the code's mean, as on the robot; what is reconstructed, from the code as trained.
        """
        torch.manual_seed(SEED)  # corruptions and codes are drawn alike in every epoch
        length = rows_needed(objective.stage, self.network.spec)
        starts = self.validation.starts(length, 1)
        episode_weighting = objective.stage.episode_weighting_in(self.settings.episode_weighting)
        starts = self.validation.spread(starts, VALIDATION_SEQUENCES, episode_weighting)
        total, generator = 0.0, torch.Generator().manual_seed(SEED)
        for rows in self.validation.batches(starts, self.settings.batch, length):
            terms = objective.terms(rows, shown=self.augmentation.apply(rows, generator))
            total += torch.stack(terms).sum().item() * len(rows)
        return total / len(starts)

    def _save(self, epoch: Epoch, optimiser: StageOptimiser) -> None:
        tensors = {f"weights/{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"best/{k}": v.contiguous() for k, v in self.best.items()}
        self.finished += 1
        self.run.save_checkpoint(tensors | optimiser.state(), self.position, vars(epoch))

    def _restore(self) -> Tensors:
        """Take up a checkpoint where there is one; returns its tensors."""
        found = self.run.checkpoint()
        if found is None:
            return {}
        loaded, self.position, self.finished = found
        tensors = {name: tensor.to(self.training.values.device) for name, tensor in loaded.items()}
        self.network.load_state_dict(with_prefix(tensors, "weights/"))
        self.best = with_prefix(tensors, "best/")
        return tensors


def _seed(seed: int, stage: int, epoch: int) -> int:
    text = f"{seed}/{stage}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
