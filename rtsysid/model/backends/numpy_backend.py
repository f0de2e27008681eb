"""The model in NumPy alone: for machines without an onnxruntime wheel, and as an independent check of the others.

Weights keep the names that training gave them (`encoder.1.weight`, `cell.weight_ih_l0`, ...).
"""

from __future__ import annotations

import numpy as np

from rtsysid.model.backends.cells import HALF, Weights, numpy_cell
from rtsysid.model.backends.windowed import Ages, WindowedBackend
from rtsysid.model.contents import gain_names
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Floats, ModelSpec


class NumpyBackend(WindowedBackend):
    """Run one robot's model in NumPy; `rollout` takes any batch of states."""

    name = "numpy"

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        super().__init__(spec)
        self._net = _NumpyNetwork(spec, weights)
        self._seen: Floats = np.zeros((1, spec.encoder_window), np.float32)
        self.code: Floats = np.zeros(spec.code_size, np.float32)
        self.y: Floats = np.full(spec.n_outputs, np.nan, np.float32)

    @property
    def reconstruction_error(self) -> float:
        """Compute the mean squared difference between what the encoder saw last and its decoded code, scaled."""
        return float(np.mean((self._net.decode(self.code[None]) - self._seen) ** 2))

    def start(self, window: Floats) -> None:
        """Set the first state from the first full window [L, C]."""
        self._states[self._turn] = self._net.initial(window[None])

    def advance(self, window: Floats) -> Floats:
        """Advance the state by the window [L, C] that ends with s_k; return y_{k+1} [ny].

        The next step overwrites the array.
        """
        net = self._net
        features = net.features(window[None])
        self._seen = features[:, self.spec.encoder_columns]
        code = net.encode(self._seen)
        after = self._states[1 - self._turn] = net.cell.tick(code, self._states[self._turn])
        self._turn = 1 - self._turn
        self.code[:] = code[0]
        self.y[:] = net.predict(window[None, -1], features, after, np.array([self.age]))[0]
        return self.y

    def encode(self, windows: Floats) -> Floats:
        """Encode any windows [B, L, C] -> [B, Z], also shorter ones. The state does not change.

        A window has the rows that the encoder sees, and two where friction sees travel.
        """
        return self._net.encode(self._net.features(windows)[:, self.spec.encoder_columns])

    def rollout(
        self, window: Floats, state: Floats, age: Ages, u_future: Floats, rng: np.random.Generator | None = None
    ) -> Floats:
        """Predict N ticks with predictions fed back: [B, L, C], [B, S], ages [B], [B, N, nu] -> [B, N, ny].

        With `rng`, sample a variational code around its mean at every tick.
        """
        net, nu = self._net, self.spec.n_inputs
        track = np.empty((len(window), self.spec.taps + u_future.shape[1], self.spec.width), np.float32)
        track[:, : self.spec.taps] = window
        track[:, self.spec.taps - 1 : -1, :nu] = u_future
        for n in range(u_future.shape[1]):
            seen = track[:, n : n + self.spec.taps]
            features = net.features(seen)
            code = features[:, self.spec.encoder_columns]
            state = net.cell.tick(net.encode(code) if rng is None else net.sampled(code, rng), state)
            track[:, n + self.spec.taps, nu:] = net.predict(seen[:, -1], features, state, age + n)
        return track[:, self.spec.taps :, nu:]


class _NumpyNetwork:
    """Compute the network for any batch. Shapes as in `rtsysid.train.network`."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self.spec, scaling = spec, spec.scaling
        self.coordinates = coordinates(spec, np)
        self.feature_mean, self.feature_std = _float32(scaling.feature_mean), _float32(scaling.feature_std)
        self.target_mean, self.target_std = _float32(scaling.target_mean), _float32(scaling.target_std)
        layers = range(1, len(spec.encoder) + 1)
        self.encoder = [_numpy_layer(weights, f"encoder.{k}") for k in layers]
        self.decoder = [_numpy_layer(weights, f"decoder.{k}") for k in reversed(layers)]
        self.log_variance = _numpy_layer(weights, "log_variance") if spec.variational else None
        self.head = _numpy_layer(weights, "head")
        maps = (*(["linear_path"] if spec.linear_path else []), *(["linear_near"] if spec.near_ticks else []))
        self.maps = {name: _numpy_layer(weights, name) for name in maps}
        self.gains = {name: weights[name] for name in gain_names(spec)}
        learned = (0, 2) if spec.state_init == "network" else ()
        self.initialiser = [_numpy_layer(weights, f"initialiser.{k}") for k in learned]
        self.cell = numpy_cell(spec, weights)

    def features(self, window: Floats) -> Floats:
        """Compute scaled features: [B, L, C] -> [B, F]."""
        rows, tail = self.coordinates.features(window)
        flat: Floats = ((rows - self.feature_mean) / self.feature_std).reshape(len(window), -1)
        return flat if tail is None else np.concatenate((flat, tail), -1)

    def encode(self, code: Floats) -> Floats:
        """Encode what the encoder sees: [B, E] -> [B, Z]."""
        for weight, bias in self.encoder:
            code = np.tanh(code @ weight + bias)
        return code

    def sampled(self, seen: Floats, rng: np.random.Generator) -> Floats:
        """Sample a variational code around its mean; encode where it is not variational."""
        if self.log_variance is None:
            return self.encode(seen)
        below = seen
        for weight, bias in self.encoder[:-1]:
            below = np.tanh(below @ weight + bias)
        weight, bias = self.encoder[-1]
        mean = np.tanh(below @ weight + bias)
        spread, spread_bias = self.log_variance
        noise = rng.standard_normal(mean.shape, np.float32)
        code: Floats = mean + np.exp(HALF * (below @ spread + spread_bias)) * noise
        return code

    def decode(self, code: Floats) -> Floats:
        """Reconstruct what the encoder sees: [B, Z] -> [B, E]."""
        for k, (weight, bias) in enumerate(self.decoder, 1):
            code = code @ weight + bias
            if k < len(self.decoder):
                code = np.tanh(code)
        return code

    def initial(self, window: Floats) -> Floats:
        """Compute the first state: [B, L, C] -> [B, S]."""
        if not self.initialiser:
            return np.zeros((len(window), self.spec.state_size), np.float32)
        (first, first_bias), (second, second_bias) = self.initialiser
        return self.cell.begin(np.tanh(self.features(window) @ first + first_bias) @ second + second_bias)

    def predict(self, newest: Floats, features: Floats, state: Floats, age: Ages) -> Floats:
        """Predict the next outputs: [B, C], [B, F], [B, S], age of the newest row [B] -> [B, ny]."""
        weight, bias = self.head
        target = self._times_gain(state[:, : self.spec.hidden] @ weight + bias, "head_gain", age)
        if self.maps:
            target = target + self._times_gain(self._linear(features, age), "linear_gain", age)
        y: Floats = self.coordinates.next_outputs(newest, target * self.target_std + self.target_mean)
        return y

    def _linear(self, features: Floats, age: Ages) -> Floats:
        """Apply the linear map of each age: [B, F], [B] -> [B, T]."""
        near = age < self.spec.near_ticks
        if not near.any():
            return self._mapped("linear_path", features)
        if near.all():
            return self._mapped("linear_near", features)
        return np.where(near[:, None], self._mapped("linear_near", features), self._mapped("linear_path", features))

    def _mapped(self, name: str, features: Floats) -> Floats:
        weight, bias = self.maps[name]
        mapped: Floats = features @ weight + bias
        return mapped

    def _times_gain(self, values: Floats, name: str, age: Ages) -> Floats:
        """Multiply by the gain of each age, where the model has gains: [B, T], [B] -> [B, T]."""
        if not self.gains:
            return values
        return values * self.gains[name][np.searchsorted(self.spec.age_bands, age, "right")]


def _numpy_layer(weights: Weights, name: str) -> tuple[Floats, Floats]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _float32(values: tuple[float, ...]) -> Floats:
    return np.array(values, np.float32)
