"""The training loop, to be read in one sitting: stages, epochs, batches.

All randomness of an epoch comes from (seed, stage, epoch), and a checkpoint holds everything else, so that a run that
was killed goes on to the bit-identical result of an unbroken one.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.errors import ScheduleError
from rtsysid.schedule import Stage
from rtsysid.train.disturbance import SEED, Disturber
from rtsysid.train.losses import Objective, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Position, Run, Tensors
from rtsysid.train.symmetry import Symmetries
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
        symmetries: Symmetries,
        disturber: Disturber,
        settings: Training,
        run: Run,
    ) -> None:
        self.network, self.stages, self.yardstick = network, stages, yardstick
        self.training, self.validation = data
        self.symmetries, self.disturber, self.settings, self.run = symmetries, disturber, settings, run
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
        parameters = select(self.network, stage.train)
        optimiser = torch.optim.AdamW(list(parameters.values()), weight_decay=stage.weight_decay)
        _load_optimiser(optimiser, parameters, saved)
        objective = Objective(self.network, stage, self.yardstick)
        while self.position.epoch < stage.epochs and not (stage.patience and self.position.stale >= stage.patience):
            epoch = self._epoch(stage, objective, optimiser)
            self._save(epoch, optimiser, parameters)
            yield epoch
        self.network.load_state_dict(self.best)

    def _epoch(self, stage: Stage, objective: Objective, optimiser: torch.optim.Optimizer) -> Epoch:
        begun, at = time.perf_counter(), self.position
        torch.manual_seed(_seed(self.settings.seed, at.stage, at.epoch))
        train = self._pass(stage, objective, optimiser)
        validation = self._validate(stage, objective)
        better = validation < at.best or not self.best
        if better:
            self.best = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.position = Position(at.stage, at.epoch + 1, min(validation, at.best), 0 if better else at.stale + 1)
        seconds = round(time.perf_counter() - begun, 3)
        return Epoch(self.finished, stage.name, at.epoch + 1, stage.epochs, train, validation, better, seconds)

    def _pass(self, stage: Stage, objective: Objective, optimiser: torch.optim.Optimizer) -> float:
        """One pass over the training sequences in random order; mean loss."""
        self.network.train()
        self.network.noise = stage.input_noise
        length, stride = rows_needed(stage, self.network.spec), self.settings.stride
        starts = self.training.starts(length, stride, int(torch.randint(stride, ())))
        starts = starts[torch.randperm(len(starts))]
        ratio, losses = stage.teacher_forcing.ratio(self.position.epoch, stage.epochs), []
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        batches = math.ceil(len(starts) / self.settings.batch)
        for k, rows in enumerate(self.training.batches(starts, self.settings.batch, length)):
            for group in optimiser.param_groups:
                group["lr"] = _rate(stage, self.position.epoch + k / batches)
            optimiser.zero_grad(set_to_none=True)
            drawn = self.symmetries.drawn(rows)
            loss = torch.stack(objective.terms(drawn, ratio, self.disturber.seen(drawn))).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, self.settings.clip)
            optimiser.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ScheduleError(f"stage {stage.name!r}", "the loss is not finite", "lower its learning_rate")
        return sum(losses) / len(losses)

    @torch.no_grad()
    def _validate(self, stage: Stage, objective: Objective) -> float:
        """The same objective on validation sequences, without feature noise, nor teacher forcing in rollouts."""
        self.network.eval()
        length = rows_needed(stage, self.network.spec)
        starts = self.validation.starts(length, 1)
        starts = starts[:: max(1, len(starts) // VALIDATION_SEQUENCES)]
        total, generator = 0.0, torch.Generator().manual_seed(SEED)
        for rows in self.validation.batches(starts, self.settings.batch, length):
            shown = self.disturber.seen(rows, generator)
            total += torch.stack(objective.terms(rows, shown=shown)).sum().item() * len(rows)
        return total / len(starts)

    def _save(self, epoch: Epoch, optimiser: torch.optim.Optimizer, parameters: Tensors) -> None:
        tensors = {f"weights/{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"best/{k}": v.contiguous() for k, v in self.best.items()}
        for name, parameter in parameters.items():
            tensors |= {f"adam/{name}/{k}": v for k, v in optimiser.state[parameter].items()}
        self.finished += 1
        self.run.save_checkpoint(tensors, self.position, vars(epoch))

    def _restore(self) -> Tensors:
        """Take up a checkpoint where there is one; returns the optimiser's part of it."""
        found = self.run.checkpoint()
        if found is None:
            return {}
        tensors, self.position, self.finished = found
        device = self.training.values.device
        self.network.load_state_dict(_part(tensors, "weights/", device))
        self.best = _part(tensors, "best/", device)
        return _part(tensors, "adam/", device)


def select(network: Network, groups: tuple[str, ...]) -> dict[str, Tensor]:
    """Let the parameters of these groups train and freeze all others; the trainable ones by name."""
    chosen: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{group}.") for group in groups))
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def _rate(stage: Stage, epoch: float) -> float:
    """Linearly up within the first epoch, while Adam measures the gradients; then a cosine down to `final_rate`."""
    done = epoch / stage.epochs
    cosine = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * done)) / 2
    return stage.learning_rate * cosine * min(1.0, epoch + 0.05)


def _seed(seed: int, stage: int, epoch: int) -> int:
    text = f"{seed}/{stage}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def _part(tensors: Tensors, prefix: str, device: torch.device) -> Tensors:
    return {k.removeprefix(prefix): v.to(device) for k, v in tensors.items() if k.startswith(prefix)}


def _load_optimiser(optimiser: torch.optim.Optimizer, parameters: Tensors, saved: Tensors) -> None:
    for name, parameter in parameters.items():
        state: dict[str, Any] = {k.rpartition("/")[2]: v for k, v in saved.items() if k.rpartition("/")[0] == name}
        if state:
            state["step"] = state["step"].cpu()  # Adam counts on the host
            optimiser.state[parameter] = state
