"""The four networks as one module: window -> features -> encoder -> LSTM -> head.

Shapes: B batch, T time, L taps, C channels, F features of a window, Z code, H hidden, N horizon. Engineering units go
in and come out: scaling stands here and nowhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rtsysid.model.coordinates import coordinates
from rtsysid.spec import ModelSpec

State = tuple[Tensor, Tensor]  # h, c, each [B, H]
INITIALISER_WIDTH = 64
SURE = -6.0  # log variance of a variational code before training: a spread of 0.05


class Network(nn.Module):
    """One step is `step`; a measured sequence at once is `sequence`; both compute the same, tested."""

    feature_mean: Tensor
    feature_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.noise = 0.0  # standard deviation added to the features in training, a stage's choice
        self.coordinates = coordinates(spec, torch)
        for name in ("feature_mean", "feature_std", "target_mean", "target_std"):
            values = torch.tensor(getattr(spec.scaling, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)
        widths = (spec.window_size, *spec.encoder)
        layers = range(1, len(widths))
        self.encoder = nn.ModuleDict({str(k): nn.Linear(widths[k - 1], widths[k]) for k in layers})
        self.decoder = nn.ModuleDict({str(k): nn.Linear(widths[k], widths[k - 1]) for k in layers})
        if spec.variational:
            self.log_variance = _log_variance(spec, widths[-2])
        self.cell = nn.LSTM(spec.code_size, spec.hidden, batch_first=True)
        self.head = nn.Linear(spec.hidden, spec.n_targets)
        if spec.linear_path:
            self.linear_path = nn.Linear(spec.window_size, spec.n_targets)
        if spec.state_init == "network":
            self.initialiser = _initialiser(spec)

    def features(self, windows: Tensor) -> Tensor:
        """What the network sees, each to mean 0 and spread 1, oldest sample first: [..., L, C] -> [..., F]."""
        rows, tail = self.coordinates.features(windows)
        flat = ((rows - self.feature_mean) / self.feature_std).flatten(-2)
        return flat if tail is None else torch.cat((flat, tail), -1)

    def encode(self, features: Tensor, layers: int | None = None) -> Tensor:
        """Code of the features; with `layers`, what the first so many layers give. [..., F] -> [..., Z]."""
        code = features
        for k in range(1, (len(self.encoder) if layers is None else layers) + 1):
            code = self.encode_layer(code, k)
        return code

    def encode_layer(self, below: Tensor, k: int) -> Tensor:
        """What encoder layer `k` makes of the layer below."""
        return torch.tanh(self.encoder[str(k)](below))

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of a variational code: [..., F] -> 2 x [..., Z]."""
        below = self.encode(features, len(self.encoder) - 1)
        return self.encode_layer(below, len(self.encoder)), self.log_variance(below)

    def sampled(self, features: Tensor) -> Tensor:
        """The code as training sees it: drawn around its mean where it is variational. [..., F] -> [..., Z]."""
        if not self.spec.variational:
            return self.encode(features)
        mean, log_variance = self.posterior(features)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def decode(self, code: Tensor) -> Tensor:
        """Features reconstructed from the code: [..., Z] -> [..., F]."""
        for k in range(len(self.decoder), 0, -1):
            code = self.decode_layer(code, k)
        return code

    def decode_layer(self, code: Tensor, k: int) -> Tensor:
        """What decoder layer `k` makes of the output of encoder layer `k`; only layer 1 is linear."""
        below: Tensor = self.decoder[str(k)](code)
        return below if k == 1 else torch.tanh(below)

    def initial_state(self, window: Tensor) -> State:
        """State before the first step on this window: zero, or from the initialiser. [B, L, C] -> 2 x [B, H]."""
        if self.spec.state_init == "network":
            h, c = self.initialiser(self.features(window)).chunk(2, -1)
            return torch.tanh(h), c
        zero = window.new_zeros(window.shape[0], self.spec.hidden)
        return zero, zero

    @torch.no_grad()
    def remember(self, ticks: int) -> None:
        """Let the cells of an untrained LSTM forget over 2 to `ticks` ticks, and take in as much less at each.

        Ref: C. Tallec, Y. Ollivier, arXiv 1804.11188, "chrono initialisation": what a tank or a motor does slowly is
        out of reach for gates that begin half closed.
        """
        w: Any = self.cell
        gates = w.bias_ih_l0.view(4, -1)  # input, forget, cell, output
        gates[1] = torch.log1p(torch.rand_like(gates[1]) * max(ticks - 2, 0))
        gates[0] = -gates[1]
        w.bias_hh_l0.view(4, -1)[:2] = 0.0

    def predict(self, newest: Tensor, features: Tensor, hidden: Tensor) -> Tensor:
        """Outputs at the next tick, in engineering units: [..., C], [..., F], [..., H] -> [..., ny]."""
        target: Tensor = self.head(hidden)
        if self.spec.linear_path:
            target = target + self.linear_path(features)
        following: Tensor = self.coordinates.next_outputs(newest, target * self.target_std + self.target_mean)
        return following

    def step(self, window: Tensor, state: State) -> tuple[Tensor, State]:
        """One tick: [B, L, C] -> y_next [B, ny] and the state after it."""
        features = self.features(window)
        h, c = self.cell_step(self._seen(features), state)
        return self.predict(window[:, -1], features, h), (h, c)

    def _seen(self, features: Tensor) -> Tensor:
        """What enters the LSTM: the code, in training with noise and drawn."""
        # Only what the network sees is disturbed: the linear path lives on exact differences of samples.
        if not self.training:
            return self.encode(features)
        return self.sampled(features + self.noise * torch.randn_like(features) if self.noise else features)

    def cell_step(self, code: Tensor, state: State) -> State:
        """The LSTM's own weights, one tick: [B, Z] -> 2 x [B, H]."""
        w: Any = self.cell
        h, c = torch.lstm_cell(code, state, w.weight_ih_l0, w.weight_hh_l0, w.bias_ih_l0, w.bias_hh_l0)
        return h, c

    def sequence(self, windows: Tensor, state: State) -> tuple[Tensor, State]:
        """Teacher-forced over measured windows, all ticks in one call: [B, T, L, C] -> [B, T, ny]."""
        features = self.features(windows)
        hidden, (h, c) = self.cell(self._seen(features), (state[0][None], state[1][None]))
        return self.predict(windows[:, :, -1], features, hidden), (h[0], c[0])

    def rollout(self, windows: Tensor, state: State) -> Tensor:
        """Feed predictions back for N ticks, given measured windows [B, N, L, C] -> [B, N, ny].

        Inputs come from the windows' newest rows; measured outputs are seen in the first window only. Training takes
        `rtsysid.train.freerun` for it, which computes the same.
        """
        window = windows[:, 0]
        predictions: list[Tensor] = []
        for n in range(windows.shape[1]):
            if n:
                row = torch.cat((windows[:, n, -1, : self.spec.n_inputs], predictions[-1]), -1)
                window = torch.cat((window[:, 1:], row[:, None]), 1)
            y, state = self.step(window, state)
            predictions.append(y)
        return torch.stack(predictions, 1)


def _log_variance(spec: ModelSpec, below: int) -> nn.Linear:
    """Starts nearly sure of every code, so that sampling does not drown what is to be learned."""
    layer = nn.Linear(below, spec.code_size)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, SURE)
    return layer


def _initialiser(spec: ModelSpec) -> nn.Module:
    # Ref: arXiv 1806.00526, section on state initialisation: a small network from the measured past to (h, c).
    return nn.Sequential(
        nn.Linear(spec.window_size, INITIALISER_WIDTH), nn.Tanh(), nn.Linear(INITIALISER_WIDTH, 2 * spec.hidden)
    )
