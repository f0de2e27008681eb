"""The objective of a stage: a weighted sum of reconstruction, one-step and rollout errors and of penalties."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsysid.schedule import PREDICTIONS, Loss, Stage
from rtsysid.spec import ModelSpec
from rtsysid.train.autoencoders import penalty, reconstruction
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.windows import windows

ONE_STEP_LENGTH = 50  # predicted ticks of a sequence when no rollout says how many
RECONSTRUCTION_STRIDE = 8  # neighbouring windows share all but one sample: every eighth says as much


def rows_needed(stage: Stage, spec: ModelSpec) -> int:
    """Rows of a training sequence: the first window, the warm-up, the predicted ticks and the last target."""
    if all(loss.kind not in PREDICTIONS for loss in stage.loss):
        return spec.taps
    return spec.settling_samples + (stage.horizon or ONE_STEP_LENGTH)


class Objective:
    """Losses of one stage on one model. `yardstick` [N, ny]: the unit of error after 1..N ticks."""

    def __init__(self, network: Network, stage: Stage, yardstick: Tensor) -> None:
        self.network, self.stage, self.yardstick = network, stage, yardstick
        self.spec = network.spec
        self.warmup = (
            network.spec.settling_samples - network.spec.taps
        )  # teacher-forced ticks at the start of a sequence

    def terms(self, rows: Tensor, ratio: float = 0.0, shown: Tensor | None = None) -> list[Tensor]:
        """One weighted term per loss of the stage, in its order. rows [B, R, C]; `ratio` of teacher forcing.

        `shown`: what the model sees of the rows, where that is not the rows themselves.
        """
        seen = windows(rows if shown is None else shown, self.spec.taps)
        return [loss.weight * self._term(loss, rows, seen, ratio) for loss in self.stage.loss]

    def _term(self, loss: Loss, rows: Tensor, seen: Tensor, ratio: float) -> Tensor:
        if loss.kind not in PREDICTIONS:
            features = self.network.features(seen[:, ::RECONSTRUCTION_STRIDE])
            of_code = reconstruction if loss.kind == "reconstruction" else penalty
            return of_code(self.network, features, loss)
        if loss.kind == "one_step":
            error, unit = self._one_step(rows, seen[:, :-1]), self.yardstick[:1]
        else:
            error = self._rollout(rows, seen[:, : self.warmup + loss.horizon], ratio)
            unit = self.yardstick[: error.shape[1]]
        scaled = error / (unit if loss.unit == "each" else unit[-1])
        return scaled.abs().mean() if loss.norm == "absolute" else scaled.square().mean()

    def _one_step(self, rows: Tensor, seen: Tensor) -> Tensor:
        predicted, _ = self.network.sequence(seen, self.network.initial_state(seen[:, 0]))
        error = predicted - self._targets(rows, seen.shape[1])
        return error[:, self.warmup :]

    def _rollout(self, rows: Tensor, seen: Tensor, ratio: float) -> Tensor:
        state = self.network.initial_state(seen[:, 0])
        # Forced ticks come first and free ones after: going back and forth would show the model steps that no
        # recording has, which a linear path of differences amplifies without bound. The first free tick begins with
        # a measured window as well.
        told = self.warmup + max(math.ceil(ratio * (seen.shape[1] - self.warmup)) - 1, 0)
        parts = []
        if told:
            forced, state = self.network.sequence(seen[:, :told], state)
            parts.append(forced[:, self.warmup :])
        parts.append(free_run(self.network, seen[:, told:], state))
        return torch.cat(parts, 1) - self._targets(rows, seen.shape[1])[:, self.warmup :]

    def _targets(self, rows: Tensor, ticks: int) -> Tensor:
        """Measured outputs one tick after each of the first `ticks` windows."""
        first = self.spec.taps
        return rows[:, first : first + ticks, self.spec.n_inputs :]
