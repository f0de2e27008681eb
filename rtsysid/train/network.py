"""The network: window -> features -> encoder -> recurrent cell -> head.

Shapes: B batch, T time, L taps, C channels, F features of a window, E those of them that the encoder sees, Z code,
H hidden, S state, N horizon. Inputs and outputs are in engineering units; scaling is done in this module alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtsysid.model.contents import gain_names
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import INITIALISER_WIDTH, ModelSpec
from rtsysid.train.cells import Cell, recurrent_cell
from rtsysid.train.generative.modules import Critic, Latent, Members, Posterior, Spread, noise_modules

SURE = -6.0  # log variance of a variational code before training: a spread of 0.05


class Network(nn.Module):
    """The model in torch: `step` computes one tick, `sequence` all ticks of a measured sequence in one call.

    A state is one tensor [B, S]; what is in it is known to the cell alone.
    """

    feature_mean: Tensor
    feature_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    linear_near: nn.Linear
    spread: Spread
    latent: Latent
    members: Members
    recognition: Posterior
    critic: Critic
    linear_gain: Tensor
    head_gain: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.noise = 0.0  # standard deviation added to the features in training, a stage's choice
        self.coordinates = coordinates(spec, torch)
        for name in ("feature_mean", "feature_std", "target_mean", "target_std"):
            values = torch.tensor(getattr(spec.scaling, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)
        widths = (spec.encoder_window, *spec.encoder)
        layers = range(1, len(widths))
        self.encoder = nn.ModuleDict({str(k): nn.Linear(widths[k - 1], widths[k]) for k in layers})
        self.decoder = nn.ModuleDict({str(k): nn.Linear(widths[k], widths[k - 1]) for k in layers})
        if spec.variational:
            self.log_variance = _log_variance(spec, widths[-2])
        self.cell: Cell = recurrent_cell(spec)
        self.head = nn.Linear(spec.head_size, spec.n_targets)
        if spec.linear_path:
            self.linear_path = nn.Linear(spec.window_size, spec.n_targets)
        if spec.near_ticks:
            self.linear_near = nn.Linear(spec.window_size, spec.n_targets)
        for name in gain_names(spec):  # no stage trains these: they are set after training
            self.register_parameter(name, nn.Parameter(torch.ones(spec.n_bands, spec.n_targets)))
        if spec.state_init == "network":
            self.initialiser = _initialiser(spec)
        for name, module in noise_modules(spec).items():
            self.add_module(name, module)

    def features(self, windows: Tensor) -> Tensor:
        """Compute the scaled features of windows, oldest sample first: [..., L, C] -> [..., F]."""
        rows, tail = self.coordinates.features(windows)
        flat = ((rows - self.feature_mean) / self.feature_std).flatten(-2)
        return flat if tail is None else torch.cat((flat, tail), -1)

    def encode(self, features: Tensor, layers: int | None = None) -> Tensor:
        """Encode what the encoder sees: [..., E] -> [..., Z]; with `layers`, stop after that many layers."""
        code = features
        for k in range(1, (len(self.encoder) if layers is None else layers) + 1):
            code = self.encode_layer(code, k)
        return code

    def encode_layer(self, below: Tensor, k: int) -> Tensor:
        """Apply encoder layer `k`, counted from 1, to the output of the layer below: [..., E] -> [..., H]."""
        return torch.tanh(self.encoder[str(k)](below))

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and log variance of a variational code: [..., E] -> 2 x [..., Z]."""
        if self.spec.distribution == "variational":
            mean = self.encode(features)
            seen = torch.cat((mean, mean.new_zeros(*mean.shape[:-1], self.spec.hidden)), -1)
            return mean, 2 * self.latent.log_scale(seen)
        below = self.encode(features, len(self.encoder) - 1)
        return self.encode_layer(below, len(self.encoder)), self.log_variance(below)

    def sampled(self, features: Tensor) -> Tensor:
        """Sample a variational code around its mean; encode where the code is not variational. [..., E] -> [..., Z]."""
        if not self.spec.variational and self.spec.distribution != "variational":
            return self.encode(features)
        mean, log_variance = self.posterior(features)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct what the encoder sees from a code: [..., Z] -> [..., E]."""
        for k in range(len(self.decoder), 0, -1):
            code = self.decode_layer(code, k)
        return code

    def decode_layer(self, code: Tensor, k: int) -> Tensor:
        """Apply decoder layer `k` to the output of encoder layer `k`: [..., H] -> [..., E]. Only layer 1 is linear."""
        below: Tensor = self.decoder[str(k)](code)
        return below if k == 1 else torch.tanh(below)

    def initial_state(self, window: Tensor) -> Tensor:
        """Compute the state before the first step: zero, or from the initialiser network. [B, L, C] -> [B, S]."""
        if self.spec.state_init == "network":
            return self.cell.begin(self.initialiser(self.features(window)))
        return window.new_zeros(window.shape[0], self.spec.state_size)

    def linear_map(self, age: int) -> nn.Linear:
        """Return the linear map that predicts from a row of this age."""
        return self.linear_near if age < self.spec.near_ticks else self.linear_path

    def predict(self, newest: Tensor, features: Tensor, code: Tensor, hidden: Tensor, age: int = 0) -> Tensor:
        """Predict the next outputs in engineering units: [..., C], [..., F], [..., Z], [..., H] -> [..., ny].

        `age`: ticks from the newest measurement to the newest row.
        """
        return self.scaled_outputs(newest, self.target(features, code, hidden, age))

    def target(self, features: Tensor, code: Tensor, hidden: Tensor, age: int = 0) -> Tensor:
        """Compute the targets of the next tick in their own unit: [..., F], [..., Z], [..., H] -> [..., T]."""
        spec, band = self.spec, self.spec.band(age)
        target: Tensor = self.head(torch.cat((code, hidden), -1) if spec.head_sees_code else hidden)
        target = target * self.head_gain[band] if spec.age_bands else target
        if spec.linear_path:
            linear = self.linear_map(age)(features)
            target = target + (linear * self.linear_gain[band] if spec.age_bands else linear)
        return target

    def scaled_outputs(self, newest: Tensor, target: Tensor) -> Tensor:
        """Turn targets in their own unit to outputs in engineering units: [..., C], [..., T] -> [..., ny]."""
        following: Tensor = self.coordinates.next_outputs(newest, target * self.target_std + self.target_mean)
        return following

    def step(self, window: Tensor, state: Tensor, age: int = 0) -> tuple[Tensor, Tensor]:
        """Advance by one tick: window [B, L, C], state [B, S] -> y_next [B, ny], state [B, S].

        `age`: ticks from the newest measurement to the newest row of the windows.
        """
        features = self.features(window)
        code = self._cell_input(features)
        hidden, state = self.cell.tick(code, state)
        return self.predict(window[:, -1], features, code, hidden, age), state

    def _cell_input(self, features: Tensor) -> Tensor:
        """Encode what the encoder sees; in training with feature noise, and sampled where the code is variational."""
        # No noise on the features of the linear path: it depends on exact differences of samples.
        seen = features[..., self.spec.encoder_columns]
        if not self.training:
            return self.encode(seen)
        return self.sampled(seen + self.noise * torch.randn_like(seen) if self.noise else seen)

    def sequence(self, windows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Predict with teacher forcing, all ticks in one call: [B, T, L, C], [B, S] -> [B, T, ny], state [B, S].

        The newest row of every window is a measurement, of age 0.
        """
        features = self.features(windows)
        code = self._cell_input(features)
        hidden, state = self.cell.sequence(code, state)
        return self.predict(windows[:, :, -1], features, code, hidden), state

    def rollout(self, windows: Tensor, state: Tensor, age: int = 0) -> Tensor:
        """Feed predictions back for N ticks: measured windows [B, N, L, C], state [B, S] -> [B, N, ny].

        Inputs come from the newest row of each window; measured outputs are read from the first window alone, whose
        newest row has this age. Training uses `rtsysid.train.freerun`, which computes the same.
        """
        window = windows[:, 0]
        predictions: list[Tensor] = []
        for n in range(windows.shape[1]):
            if n:
                row = torch.cat((windows[:, n, -1, : self.spec.n_inputs], predictions[-1]), -1)
                window = torch.cat((window[:, 1:], row[:, None]), 1)
            y, state = self.step(window, state, age + n)
            predictions.append(y)
        return torch.stack(predictions, 1)


def _log_variance(spec: ModelSpec, below: int) -> nn.Linear:
    """Make the layer of the log variance with a small variance at first, so that sampling does not hide the code."""
    layer = nn.Linear(below, spec.code_size)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, SURE)
    return layer


def _initialiser(spec: ModelSpec) -> nn.Module:
    # Ref: arXiv 1806.00526, section on state initialisation: a small network from the measured past to the state.
    return nn.Sequential(
        nn.Linear(spec.window_size, INITIALISER_WIDTH), nn.Tanh(), nn.Linear(INITIALISER_WIDTH, spec.state_size)
    )
