"""Compute the objective of a stage: a weighted sum of reconstruction, one-step and rollout errors and of penalties."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsysid.evaluation.metrics import octaves
from rtsysid.schedule import FREE_RUNS, NOISE_LOSSES, PREDICTIONS, Loss, Stage
from rtsysid.train.autoencoders import penalty, reconstruction
from rtsysid.train.freerun import free_run
from rtsysid.train.generative.losses import Measured, noise_loss
from rtsysid.train.network import Network
from rtsysid.train.windows import row_windows

RECONSTRUCTION_STRIDE = 8  # use every 8th window: neighbouring windows share all but one sample


class Objective:
    """Compute the losses of one stage for one network. `yardstick` [N, ny]: unit of error after 1 .. N ticks.

    `longer`: rows of further warm-up at the start of each sequence.
    """

    def __init__(self, network: Network, stage: Stage, yardstick: Tensor, longer: int = 0) -> None:
        self.network, self.stage, self.yardstick = network, stage, yardstick
        self.spec = network.spec
        self.warmup = network.spec.settling_samples - network.spec.taps + longer  # teacher-forced ticks at the start

    def terms(self, rows: Tensor, ratio: float = 0.0, inputs: Tensor | None = None) -> list[Tensor]:
        """Compute one weighted scalar per loss of the stage, in its order.

        `rows` [B, R, C] gives the targets, `inputs` [B, R, C] the model inputs; by default these are the same rows.
        `ratio`: share of teacher-forced ticks of a rollout, 0 .. 1.
        """
        windows = row_windows(rows if inputs is None else inputs, self.spec.taps)
        return [loss.weight * self._term(loss, rows, windows, ratio) for loss in self.stage.loss]

    def _term(self, loss: Loss, rows: Tensor, windows: Tensor, ratio: float) -> Tensor:
        if loss.kind not in PREDICTIONS:
            features = self.network.features(windows[:, ::RECONSTRUCTION_STRIDE])[..., self.spec.encoder_columns]
            of_code = reconstruction if loss.kind == "reconstruction" else penalty
            return of_code(self.network, features, loss)
        if loss.kind in NOISE_LOSSES:
            return noise_loss(self.network, loss, self._ground(loss, rows, windows))
        if loss.kind == "one_step":
            error, unit = self._one_step(rows, windows[:, :-1]), self.yardstick[:1]
        else:
            error = self._rollout(rows, windows[:, : self.warmup + loss.horizon], ratio)
            unit = self.yardstick[: error.shape[1]]
        scaled = error / (unit if loss.unit == "each" else unit[-1])
        if loss.octaves:
            weights = torch.from_numpy(octaves(error.shape[1]) * error.shape[1]).to(error)[:, None]
            return ((scaled.abs() if loss.norm == "absolute" else scaled.square()) * weights).mean()
        return scaled.abs().mean() if loss.norm == "absolute" else scaled.square().mean()

    def _one_step(self, rows: Tensor, windows: Tensor) -> Tensor:
        predicted, _ = self.network.sequence(windows, self.network.initial_state(windows[:, 0]))
        error: Tensor = self.network.coordinates.error(predicted, self._targets(rows, windows.shape[1]))
        return error[:, self.warmup :]

    def _rollout(self, rows: Tensor, windows: Tensor, ratio: float) -> Tensor:
        state = self.network.initial_state(windows[:, 0])
        # All teacher-forced ticks come before the free ones. Alternating would feed the model jumps that no recording
        # has, and a linear path of differences amplifies these without bound. The first free tick also starts from a
        # measured window.
        n_forced = self.warmup + max(math.ceil(ratio * (windows.shape[1] - self.warmup)) - 1, 0)
        predicted = []
        if n_forced:
            forced, state = self.network.sequence(windows[:, :n_forced], state)
            predicted.append(forced[:, self.warmup :])
        predicted.append(free_run(self.network, windows[:, n_forced:], state))
        truth = self._targets(rows, windows.shape[1])[:, self.warmup :]
        error: Tensor = self.network.coordinates.error(torch.cat(predicted, 1), truth)
        return error

    def _ground(self, loss: Loss, rows: Tensor, windows: Tensor) -> Measured:
        """Warm the state up by measured ticks, and return what follows: all ticks, or those of the horizon."""
        ticks = loss.horizon if loss.kind in FREE_RUNS else windows.shape[1] - 1 - self.warmup
        with torch.no_grad():
            state = self.network.initial_state(windows[:, 0])
            if self.warmup:
                _, state = self.network.sequence(windows[:, : self.warmup], state)
        first = self.warmup
        truth = self._targets(rows, first + ticks)[:, first:]
        return Measured(windows[:, first : first + ticks], state, truth, self.yardstick[:ticks])

    def _targets(self, rows: Tensor, ticks: int) -> Tensor:
        """Measured outputs [B, ticks, ny], one tick after each of the first `ticks` windows."""
        first = self.spec.taps
        return rows[:, first : first + ticks, self.spec.n_inputs :]
