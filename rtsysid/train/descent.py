"""How the weights of one stage move during one epoch: Adam batch by batch, or L-BFGS on everything at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rtsysid.config import Training
from rtsysid.errors import ScheduleError
from rtsysid.schedule import Stage
from rtsysid.train.augmentation import View
from rtsysid.train.losses import Objective, rows_needed
from rtsysid.train.network import Network
from rtsysid.train.run import Tensors
from rtsysid.train.windows import Sequences

WALL = 1e3  # what L-BFGS sees where the loss is not finite, in units of where it began


class Descent:
    """The optimiser of one stage. `judged` is the network that is validated and kept: itself, or its average.

    The draws of an epoch are those of `torch.manual_seed`. All that outlives an epoch is in `state`.
    """

    def __init__(
        self,
        network: Network,
        stage: Stage,
        yardstick: Tensor,
        sequences: Sequences,
        view: View,
        settings: Training,
    ) -> None:
        self.network, self.stage, self.yardstick = network, stage, yardstick
        self.sequences, self.view, self.settings = sequences, view, settings
        self.parameters = select(network, stage.train)
        self.adam = torch.optim.AdamW(list(self.parameters.values()), weight_decay=stage.weight_decay, fused=True)
        self.average: Network | None = None
        if stage.average:
            self.average = Network(network.spec).to(yardstick)
            self.average.load_state_dict(network.state_dict())

    @property
    def judged(self) -> Network:
        return self.average or self.network

    def epoch(self, number: int) -> float:
        """One pass over the training sequences, or so many iterations on all of them; the mean loss."""
        self.network.train()
        self.network.noise = self.stage.input_noise
        stage, stride = self.stage.at(number), self.settings.stride
        length = rows_needed(stage, self.network.spec)
        starts = self.sequences.starts(length, stride, int(torch.randint(stride, ())))
        starts = self.sequences.shuffled(starts, stage.balance_of(self.settings.balance))
        objective = Objective(self.network, stage, self.yardstick)
        run = self._whole if stage.optimiser == "lbfgs" else self._batches
        return run(objective, starts, length, number)

    def _batches(self, objective: Objective, starts: Tensor, length: int, number: int) -> float:
        ratio, losses = self.stage.teacher_forcing.ratio(number, self.stage.epochs), []
        batches = math.ceil(len(starts) / self.settings.batch)
        for k, rows in enumerate(self.sequences.batches(starts, self.settings.batch, length)):
            self.adam.param_groups[0]["lr"] = rate(self.stage, number + k / batches)
            self.adam.zero_grad(set_to_none=True)
            loss = self._loss(objective, rows, ratio)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip)
            self.adam.step()
            self._mean()
            losses.append(self._finite(loss.item()))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def _mean(self) -> None:
        """Take the weights of this batch into the average."""
        if self.average is not None:
            mean = get_ema_multi_avg_fn(self.stage.average)  # type: ignore[no-untyped-call]
            mean(list(self.average.parameters()), list(self.network.parameters()), None)

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
            return WALL * self._finite(losses[0])  # a step too far, where the free run diverges

        losses: list[float] = []
        lbfgs.step(closure)  # type: ignore[no-untyped-call]
        return losses[0]

    def _decayed(self, parameters: list[Tensor]) -> float:
        """Half of the squared weights times the weight decay, its gradient added to theirs."""
        decay = torch.stack([p.square().sum() for p in parameters]).sum() * (self.stage.weight_decay / 2)
        decay.backward()  # type: ignore[no-untyped-call]
        return decay.item()

    def _loss(self, objective: Objective, rows: Tensor, ratio: float) -> Tensor:
        drawn = self.view.symmetries.drawn(rows)
        return torch.stack(objective.terms(drawn, ratio, self.view.shown(drawn))).sum()

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            found = "the loss is not finite"
            raise ScheduleError(f"stage {self.stage.name!r}", found, "lower its learning_rate")
        return loss

    def state(self) -> Tensors:
        """Moments of Adam and averaged weights, by name."""
        tensors = {
            f"adam/{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.adam.state[parameter].items()
        }
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        return tensors

    def load(self, tensors: Tensors) -> None:
        """The inverse of `state`; an empty one changes nothing."""
        for name, parameter in self.parameters.items():
            if state := part(tensors, f"adam/{name}/"):
                self.adam.state[parameter] = state
        averaged = part(tensors, "average/")
        if self.average is not None and averaged:
            self.average.load_state_dict(averaged)


def select(network: Network, groups: tuple[str, ...]) -> dict[str, Tensor]:
    """Let the parameters of these groups train and freeze all others; the trainable ones by name."""
    chosen: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{group}.") for group in groups))
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def rate(stage: Stage, epoch: float) -> float:
    """Linearly up within the first epoch, while Adam measures the gradients; then a cosine down to `final_rate`."""
    done = epoch / stage.epochs
    cosine = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * done)) / 2
    return stage.learning_rate * cosine * min(1.0, epoch + 0.05)


def part(tensors: Tensors, prefix: str) -> Tensors:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
