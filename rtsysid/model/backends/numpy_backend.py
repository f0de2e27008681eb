"""The model in NumPy alone, for machines that onnxruntime has no wheel for, and as a second opinion on it.

Weights keep the names that training gave them (`encoder.1.weight`, `cell.weight_ih_l0`, ...); the LSTM's gates stand in
the order input, forget, cell, output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtsysid.model.backends.windowed import WindowedBackend
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Floats, ModelSpec

HALF = np.float32(0.5)


class NumpyBackend(WindowedBackend):
    """One robot's state in arrays that are allocated once; `rollout` works on any batch of states."""

    name = "numpy"

    def __init__(self, spec: ModelSpec, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        super().__init__(spec)
        self._net = _Network(spec, weights)
        self._states = (np.zeros((2, 1, spec.hidden), np.float32), np.zeros((2, 1, spec.hidden), np.float32))
        self._turn = 0  # which of the two states is the newest
        self._features = np.zeros((1, spec.window_size), np.float32)
        self.code: Floats = np.zeros(spec.code_size, np.float32)
        self.y: Floats = np.full(spec.n_outputs, np.nan, np.float32)

    @property
    def state_before(self) -> tuple[Floats, Floats]:
        """h and c [H] from before the last step: where a forecast starts."""
        state = self._states[1 - self._turn]
        return state[0, 0], state[1, 0]

    @property
    def reconstruction_error(self) -> float:
        """Mean squared difference between the last features and their decoded code; computed when asked."""
        return float(np.mean((self._net.decode(self.code[None]) - self._features) ** 2))

    def start(self, window: Floats) -> None:
        """Set the state before the first step on this window [L, C]."""
        self._states[self._turn][:] = self._net.initial(window[None])

    def advance(self, window: Floats) -> Floats:
        """Advance the state by the window [L, C] that ends with s_k; y_{k+1} [ny], overwritten by the next step."""
        net, before, after = self._net, self._states[self._turn], self._states[1 - self._turn]
        self._features = net.features(window[None])
        code = net.encode(self._features)
        after[0], after[1] = net.cell_step(code, before[0], before[1])
        self._turn = 1 - self._turn
        self.code[:] = code[0]
        self.y[:] = net.predict(window[None, -1], self._features, after[0])[0]
        return self.y

    def encode(self, windows: Floats) -> Floats:
        """Codes [B, Z] of any windows [B, L, C]; the state is not touched."""
        return self._net.encode(self._net.features(windows))

    def rollout(
        self, window: Floats, h: Floats, c: Floats, u_future: Floats, rng: np.random.Generator | None = None
    ) -> Floats:
        """N ticks with predictions fed back: [B, L, C], 2 x [B, H], [B, N, nu] -> [B, N, ny].

        With `rng`, a variational code is drawn around its mean at every tick.
        """
        net, nu = self._net, self.spec.n_inputs
        track = np.empty((len(window), self.spec.taps + u_future.shape[1], self.spec.width), np.float32)
        track[:, : self.spec.taps] = window
        track[:, self.spec.taps - 1 : -1, :nu] = u_future
        for n in range(u_future.shape[1]):
            seen = track[:, n : n + self.spec.taps]
            features = net.features(seen)
            h, c = net.cell_step(net.encode(features) if rng is None else net.sampled(features, rng), h, c)
            track[:, n + self.spec.taps, nu:] = net.predict(seen[:, -1], features, h)
        return track[:, self.spec.taps :, nu:]


class _Network:
    """The arithmetic, for any batch. Shapes as in `rtsysid.train.network`."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.spec, scaling = spec, spec.scaling
        self.coordinates = coordinates(spec, np)
        self.feature_mean, self.feature_std = _single(scaling.feature_mean), _single(scaling.feature_std)
        self.target_mean, self.target_std = _single(scaling.target_mean), _single(scaling.target_std)
        layers = range(1, len(spec.encoder) + 1)
        self.encoder = [_layer(weights, f"encoder.{k}") for k in layers]
        self.decoder = [_layer(weights, f"decoder.{k}") for k in reversed(layers)]
        self.log_variance = _layer(weights, "log_variance") if spec.variational else None
        self.head = _layer(weights, "head")
        self.linear_path = _layer(weights, "linear_path") if spec.linear_path else None
        self.initialiser = [_layer(weights, f"initialiser.{k}") for k in (0, 2)] if _learned_start(spec) else []
        self.gates, self.gate_bias = _gates(weights)

    def features(self, window: Floats) -> Floats:
        rows, tail = self.coordinates.features(window)
        flat: Floats = ((rows - self.feature_mean) / self.feature_std).reshape(len(window), -1)
        return flat if tail is None else np.concatenate((flat, tail), -1)

    def encode(self, code: Floats) -> Floats:
        for weight, bias in self.encoder:
            code = np.tanh(code @ weight + bias)
        return code

    def sampled(self, features: Floats, rng: np.random.Generator) -> Floats:
        """A code drawn around its mean, where it is variational."""
        if self.log_variance is None:
            return self.encode(features)
        below = features
        for weight, bias in self.encoder[:-1]:
            below = np.tanh(below @ weight + bias)
        weight, bias = self.encoder[-1]
        mean = np.tanh(below @ weight + bias)
        spread, spread_bias = self.log_variance
        noise = rng.standard_normal(mean.shape, np.float32)
        code: Floats = mean + np.exp(HALF * (below @ spread + spread_bias)) * noise
        return code

    def decode(self, code: Floats) -> Floats:
        for k, (weight, bias) in enumerate(self.decoder, 1):
            code = code @ weight + bias
            if k < len(self.decoder):
                code = np.tanh(code)
        return code

    def initial(self, window: Floats) -> tuple[Floats, Floats]:
        if not self.initialiser:
            zero = np.zeros((len(window), self.spec.hidden), np.float32)
            return zero, zero
        (first, first_bias), (second, second_bias) = self.initialiser
        state = np.tanh(self.features(window) @ first + first_bias) @ second + second_bias
        return np.tanh(state[:, : self.spec.hidden]), state[:, self.spec.hidden :]

    def cell_step(self, code: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats]:
        gates = np.tanh(np.concatenate((code, h), 1) @ self.gates + self.gate_bias)
        i, f, g, o = gates.reshape(len(code), 4, -1).transpose(1, 0, 2)
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, with the x / 2 already in the weights: one tanh does all four gates
        c = HALF * ((f + 1) * c + (i + 1) * g)
        return HALF * (o + 1) * np.tanh(c), c

    def predict(self, newest: Floats, features: Floats, h: Floats) -> Floats:
        weight, bias = self.head
        target = h @ weight + bias
        if self.linear_path is not None:
            target = target + (features @ self.linear_path[0] + self.linear_path[1])
        y: Floats = self.coordinates.next_outputs(newest, target * self.target_std + self.target_mean)
        return y


def _learned_start(spec: ModelSpec) -> bool:
    return spec.state_init == "network"


def _layer(weights: Mapping[str, np.ndarray[Any, Any]], name: str) -> tuple[Floats, Floats]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _gates(weights: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Floats, Floats]:
    """Both matrices of the LSTM as one, [Z + H, 4 H], with the sigmoid gates halved."""
    weight = np.concatenate((weights["cell.weight_ih_l0"], weights["cell.weight_hh_l0"]), 1).T
    bias = weights["cell.bias_ih_l0"] + weights["cell.bias_hh_l0"]
    halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), len(bias) // 4)
    return np.ascontiguousarray(weight * halves), bias * halves


def _single(values: tuple[float, ...]) -> Floats:
    return np.array(values, np.float32)
