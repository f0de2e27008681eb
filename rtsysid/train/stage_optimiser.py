"""How the weights of one stage move during one epoch: Adam batch by batch, or L-BFGS on everything at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.errors import ScheduleError
from rtsysid.schedule import Stage
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.losses import Objective, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Tensors
from rtsysid.train.windows import Sequences

DIVERGED = 1e3  # what L-BFGS sees where the loss is not finite, in units of where it began


class StageOptimiser:
    """Moves the weights of one stage.

    The draws of an epoch are those of `torch.manual_seed`. All that outlives an epoch is in `state`.
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

    def epoch(self, number: int) -> float:
        """One pass over the training sequences, or so many iterations on all of them; the mean loss."""
        self.network.train()
        self.network.noise = self.stage.input_noise
        stage, stride = self.stage.for_epoch(number), self.settings.stride
        length = rows_needed(stage, self.network.spec)
        starts = self.sequences.starts(length, stride, int(torch.randint(stride, ())))
        starts = self.sequences.shuffled(starts, stage.episode_weighting_in(self.settings.episode_weighting))
        objective = Objective(self.network, stage, self.yardstick)
        run = self._whole if stage.optimiser == "lbfgs" else self._batches
        return run(objective, starts, length, number)

    def _batches(self, objective: Objective, starts: Tensor, length: int, number: int) -> float:
        ratio, losses = self.stage.teacher_forcing.ratio(number, self.stage.epochs), []
        batches = math.ceil(len(starts) / self.settings.batch)
        for k, rows in enumerate(self.sequences.batches(starts, self.settings.batch, length)):
            self.adam.param_groups[0]["lr"] = learning_rate(self.stage, number + k / batches)
            self.adam.zero_grad(set_to_none=True)
            loss = self._loss(objective, rows, ratio)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip)
            self.adam.step()
            losses.append(self._finite(loss.item()))
        return sum(losses) / len(losses)

    def _whole(self, objective: Objective, starts: Tensor, length: int, number: int) -> float:
        """L-BFGS whose memory lasts for the epoch, so that an epoch depends on the weights before it alone."""
        ratio, seed = self.stage.teacher_forcing.ratio(number, self.stage.epochs), torch.initial_seed()
        parameters, steps = list(self.parameters.values()), self.stage.iterations
        lbfgs = torch.optim.LBFGS(
            parameters, max_iter=steps, max_eval=4 * steps, history_size=steps, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            torch.manual_seed(seed)  # the same draws at every call: one function is minimised
            lbfgs.zero_grad(set_to_none=True)
            total = self._decayed(parameters)
            for rows in self.sequences.batches(starts, self.settings.batch, length):
                loss = self._loss(objective, rows, ratio) * (len(rows) / len(starts))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            losses.append(total)
            if math.isfinite(total):
                return total
            lbfgs.zero_grad(set_to_none=False)
            return DIVERGED * self._finite(losses[0])  # a step too far, where the free run diverges

        losses: list[float] = []
        lbfgs.step(closure)  # type: ignore[no-untyped-call]
        return losses[0]

    def _decayed(self, parameters: list[Tensor]) -> float:
        """Half of the squared weights times the weight decay, its gradient added to theirs."""
        decay = torch.stack([p.square().sum() for p in parameters]).sum() * (self.stage.weight_decay / 2)
        decay.backward()  # type: ignore[no-untyped-call]
        return decay.item()

    def _loss(self, objective: Objective, rows: Tensor, ratio: float) -> Tensor:
        drawn = self.augmentation.symmetries.sample(rows)
        return torch.stack(objective.terms(drawn, ratio, self.augmentation.apply(drawn))).sum()

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            found = "the loss is not finite"
            raise ScheduleError(f"stage {self.stage.name!r}", found, "lower its learning_rate")
        return loss

    def state(self) -> Tensors:
        """Return the moments of Adam, by parameter."""
        return {
            f"adam/{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.adam.state[parameter].items()
        }

    def load(self, tensors: Tensors) -> None:
        """The inverse of `state`; an empty one changes nothing."""
        for name, parameter in self.parameters.items():
            if state := with_prefix(tensors, f"adam/{name}/"):
                self.adam.state[parameter] = state


def set_trainable(network: Network, groups: tuple[str, ...]) -> dict[str, Tensor]:
    """Let the parameters of these groups train and freeze all others; the trainable ones by name."""
    chosen: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{group}.") for group in groups))
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def learning_rate(stage: Stage, epoch: float) -> float:
    """Linearly up within the first epoch, while Adam measures the gradients; then a cosine down to `final_rate`."""
    done = epoch / stage.epochs
    cosine = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * done)) / 2
    return stage.learning_rate * cosine * min(1.0, epoch + 0.05)


def with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
