"""The network in NumPy, for any batch: features, encoder, cell, head, linear maps, next outputs.

Weights keep the names that training gave them (`encoder.1.weight`, `cell.weight_ih_l0`, ...).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsysid.model.backends.cells import Weights, numpy_cell
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.contents import gain_names
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Floats, ModelSpec

SCALED = ("feature_mean", "feature_std", "target_mean", "target_std")


class NumpyNetwork:
    """Compute the network for any batch. Shapes as in `rtsysid.train.network`.

    ``dtype``: float32 as on all backends; float64 computes with the same float32 weights and scaling.
    """

    def __init__(self, spec: ModelSpec, weights: Weights, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.spec = spec
        weights = {name: np.asarray(values, dtype) for name, values in weights.items()}
        self.coordinates = coordinates(spec, np)
        self.feature_mean, self.feature_std, self.target_mean, self.target_std = (
            np.array(getattr(spec.scaling, name), np.float32).astype(dtype) for name in SCALED
        )
        layers = range(1, len(spec.encoder) + 1)
        self.encoder = [_layer_of(weights, f"encoder.{k}") for k in layers]
        self.decoder = [_layer_of(weights, f"decoder.{k}") for k in reversed(layers)]
        self.head = _layer_of(weights, "head")
        maps = (*(["linear_path"] if spec.linear_path else []), *(["linear_near"] if spec.near_ticks else []))
        self.maps = {name: _layer_of(weights, name) for name in maps}
        self.gains = {name: weights[name] for name in gain_names(spec)}
        learned = (0, 2) if spec.state_init == "network" else ()
        self.initialiser = [_layer_of(weights, f"initialiser.{k}") for k in learned]
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

    def predict(
        self, newest: Floats, features: Floats, code: Floats, state: Floats, age: Ages, added: Floats | None = None
    ) -> Floats:
        """Predict the next outputs: [B, C], [B, F], [B, Z], [B, S], age of the newest row [B] -> [B, ny].

        `added` [B, T]: the noise of a sampled future, in the unit of the targets.
        """
        target = self.targets(features, code, state, age)
        target = target if added is None else target + added
        y: Floats = self.coordinates.next_outputs(newest, target * self.target_std + self.target_mean)
        return y

    def targets(self, features: Floats, code: Floats, state: Floats, age: Ages) -> Floats:
        """Compute the targets in their own unit: [B, F], [B, Z], [B, S], age of the newest row [B] -> [B, T]."""
        (weight, bias), hidden = self.head, state[:, : self.spec.hidden]
        seen = np.concatenate((code, hidden), -1) if self.spec.head_sees_code else hidden
        target = self._times_gain(seen @ weight + bias, "head_gain", age)
        if self.maps:
            target = target + self._times_gain(self._linear(features, age), "linear_gain", age)
        return target

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


def _layer_of(weights: Weights, name: str) -> tuple[Floats, Floats]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]
