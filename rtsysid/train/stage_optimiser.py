"""Update the weights during one epoch of a stage: Adam batch by batch, or L-BFGS on all sequences at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.errors import ScheduleError
from rtsysid.schedule import AUTO, Stage, rows_needed
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.generative.scales import shorten_offset_steps
from rtsysid.train.losses import Objective
from rtsysid.train.network import Network
from rtsysid.train.tensors import Tensors
from rtsysid.train.windows import FURTHER, Sequences

LONGER = (0, 0, FURTHER)  # rows of further warm-up, epoch by epoch, with the preset auto
DIVERGED = 1e3  # loss that L-BFGS is given where the loss is not finite, in units of the first loss of the epoch


class StageOptimiser:
    """Update the weights of one stage.

    Random draws come from torch's global generator: call `torch.manual_seed` before each epoch. `state` holds
    everything that lasts longer than an epoch.
    """

    def __init__(
        self,
        network: Network,
        stage: Stage,
        yardstick: Tensor,
        sequences: Sequences,
        augmentation: Augmentation,
        settings: Training,
    ) -> None:
        self.network, self.stage, self.yardstick = network, stage, yardstick
        self.sequences, self.augmentation, self.settings = sequences, augmentation, settings
        self.parameters = set_trainable(network, stage.train)
        self.adam = torch.optim.AdamW(list(self.parameters.values()), weight_decay=stage.weight_decay, fused=True)
        shorten_offset_steps(network, self.adam)

    def epoch(self, number: int) -> float:
        """Run one epoch and return the mean loss; `number` counts from 0 within the stage.

        With Adam an epoch is one pass over the training sequences; with L-BFGS it is ``iterations`` steps on all of
        them. Raises ScheduleError where the loss is not finite, TraceError where no episode is long enough.
        """
        self.network.train()
        self.network.noise = self.stage.input_noise
        stage, stride = self.stage.for_epoch(number), self.settings.sequence_stride
        needed = rows_needed(stage, self.network.spec)
        longer = self._longer(needed, number)
        length = needed + longer
        starts = self.sequences.starts(length, stride, int(torch.randint(stride, ())))
        starts = self.sequences.shuffled(starts, stage.episode_weighting_in(self.settings.episode_weighting))
        objective = Objective(self.network, stage, self.yardstick, longer)
        run = self._whole if stage.optimiser == "lbfgs" else self._batches
        return run(objective, starts, length, number)

    def _longer(self, needed: int, number: int) -> int:
        """Return the rows of further warm-up in an epoch of the preset auto, as far as a recording has them.

        On the robot the cell has run for minutes. Trained on short histories alone, its state drifts to values that no
        forecast has begun from.
        """
        if self.settings.preset != AUTO:
            return 0
        longer = LONGER[number % len(LONGER)]
        return longer if max(self.sequences.lengths) >= needed + 2 * longer else 0

    def _batches(self, objective: Objective, starts: Tensor, length: int, number: int) -> float:
        ratio, losses = self.stage.teacher_forcing.ratio(number, self.stage.epochs), []
        batches = math.ceil(len(starts) / self.settings.batch_size)
        for k, rows in enumerate(self.sequences.batches(starts, self.settings.batch_size, length)):
            self.adam.param_groups[0]["lr"] = learning_rate(self.stage, number + k / batches)
            self.adam.zero_grad(set_to_none=True)
            loss = self._loss(objective, rows, ratio)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip)
            self.adam.step()
            losses.append(self._finite(loss.item()))
        return sum(losses) / len(losses)

    def _whole(self, objective: Objective, starts: Tensor, length: int, number: int) -> float:
        """Run L-BFGS with a new memory, so that the result of an epoch depends only on the weights before it."""
        ratio, seed = self.stage.teacher_forcing.ratio(number, self.stage.epochs), torch.initial_seed()
        parameters, steps = list(self.parameters.values()), self.stage.iterations
        lbfgs = torch.optim.LBFGS(
            parameters, max_iter=steps, max_eval=4 * steps, history_size=steps, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            torch.manual_seed(seed)  # the same draws at every call, so that the function stays the same
            lbfgs.zero_grad(set_to_none=True)
            total = self._decayed(parameters)
            for rows in self.sequences.batches(starts, self.settings.batch_size, length):
                loss = self._loss(objective, rows, ratio) * (len(rows) / len(starts))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            losses.append(total)
            if math.isfinite(total):
                return total
            lbfgs.zero_grad(set_to_none=False)
            return DIVERGED * self._finite(losses[0])  # the free run diverges: the line search shortens its step

        losses: list[float] = []
        lbfgs.step(closure)  # type: ignore[no-untyped-call]
        return losses[0]

    def _decayed(self, parameters: list[Tensor]) -> float:
        """Half of the squared weights times the weight decay; its gradient is added to the gradients."""
        decay = torch.stack([p.square().sum() for p in parameters]).sum() * (self.stage.weight_decay / 2)
        decay.backward()  # type: ignore[no-untyped-call]
        return decay.item()

    def _loss(self, objective: Objective, rows: Tensor, ratio: float) -> Tensor:
        mirrored = self.augmentation.symmetries.sample(rows)
        return torch.stack(objective.terms(mirrored, ratio, self.augmentation.apply(mirrored))).sum()

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            found = "the loss is not finite"
            raise ScheduleError(f"stage {self.stage.name!r}", found, "lower its learning_rate")
        return loss

    def state(self) -> Tensors:
        """Return the moments of Adam as ``adam/PARAMETER/KEY``."""
        return {
            f"adam/{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.adam.state[parameter].items()
        }

    def load(self, tensors: Tensors) -> None:
        """Restore what `state` returned; other names are ignored."""
        for name, parameter in self.parameters.items():
            if state := with_prefix(tensors, f"adam/{name}/"):
                self.adam.state[parameter] = state


def set_trainable(network: Network, groups: tuple[str, ...]) -> dict[str, Tensor]:
    """Make the parameters of these groups trainable, freeze all others, and return the trainable ones [..] by name."""
    chosen: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{group}.") for group in groups))
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def learning_rate(stage: Stage, epoch: float) -> float:
    """Compute the learning rate at `epoch` (0 .. epochs, with fractions).

    It rises linearly during the first epoch, while the moments of Adam settle. It then falls along a cosine to
    ``final_rate`` times ``learning_rate``.
    """
    done = epoch / stage.epochs
    cosine = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * done)) / 2
    return stage.learning_rate * cosine * min(1.0, epoch + 0.05)


def with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Select the tensors whose names begin with `prefix`, and remove it from the names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
