"""The network as ONNX nodes, from its weights. Shapes as in `rtsysid.train.network`.

Weights keep the names that training gave them (`encoder.1.weight`, `cell.weight_ih_l0`, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from export.onnx_tracer import TracedArray, Tracer
from rtsysid.model.backends.cells import Weights
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import CellName, ModelSpec

NEVER = 1e30  # the end of the last band of ages


class OnnxNetwork:
    """Add the network, or parts of it, to the nodes of a tracer; a part that is used twice is added once."""

    def __init__(self, spec: ModelSpec, weights: Weights, tracer: Tracer) -> None:
        self._spec, self._weights, self._tracer = spec, weights, tracer
        self._coordinates = coordinates(spec, tracer)

    def features(self, window: TracedArray) -> TracedArray:
        """Add the scaled features: [B, L, C] -> [B, F]."""
        rows, tail = self._coordinates.features(window)
        scaled = (rows - self._scaling("feature_mean")) / self._scaling("feature_std")
        flat = scaled.reshape(None, self._spec.taps * (rows.shape[-1] or 0))
        return flat if tail is None else self._tracer.concatenate((flat, tail), -1)

    def encoder_input(self, features: TracedArray) -> TracedArray:
        """Add the slice that the encoder sees, where it does not see all features: [B, F] -> [B, E]."""
        spec = self._spec
        return features if spec.encoder_rows == spec.taps else features[:, spec.encoder_columns]

    def encode(self, code: TracedArray) -> TracedArray:
        """Add the encoder: [B, E] -> [B, Z]."""
        for k in range(1, len(self._spec.encoder) + 1):
            code = self._tracer.tanh(self._linear(f"encoder.{k}", code))
        return code

    def decode(self, code: TracedArray) -> TracedArray:
        """Add the decoder, whose last layer is linear: [B, Z] -> [B, E]."""
        for k in range(len(self._spec.encoder), 1, -1):
            code = self._tracer.tanh(self._linear(f"decoder.{k}", code))
        return self._linear("decoder.1", code) if self._spec.encoder else code

    def tick(self, code: TracedArray, state: TracedArray) -> TracedArray:
        """Add one tick of the cell: code [B, Z], state [B, S] -> state [B, S]."""
        return _TICKS[self._spec.cell](self, code, state)

    def step(
        self, window: TracedArray, state: TracedArray, age: TracedArray | None = None
    ) -> tuple[TracedArray, TracedArray, TracedArray, TracedArray]:
        """Add one tick: [B, L, C], [B, S], ages [B] -> next outputs, next state, code, and what the encoder saw."""
        features = self.features(window)
        seen = self.encoder_input(features)
        code = self.encode(seen)
        after = self.tick(code, state)
        return self.predict(window[:, -1], features, code, after, age), after, code, seen

    def initial_state(self, window: TracedArray) -> TracedArray:
        """Add the initialiser network: [B, L, C] -> [B, S]."""
        xp = self._tracer
        raw = self._linear("initialiser.2", xp.tanh(self._linear("initialiser.0", self.features(window))))
        bounded, hidden = xp.tanh(raw), self._spec.hidden
        if self._spec.cell == "gru":
            return bounded
        return xp.concatenate((bounded[:, :hidden], raw[:, hidden:]), -1)

    def predict(
        self,
        newest: TracedArray,
        features: TracedArray,
        code: TracedArray,
        state: TracedArray,
        age: TracedArray | None,
        added: TracedArray | None = None,
    ) -> TracedArray:
        """Add the next outputs: [B, C], [B, F], [B, Z], [B, S], ages [B] -> [B, ny].

        `age`: where the model depends on it. `added` [B, T]: the noise of a sampled future.
        """
        hidden = state[:, : self._spec.hidden]
        seen = self._tracer.concatenate((code, hidden), -1) if self._spec.head_sees_code else hidden
        target = self._times_gain(self._linear("head", seen), "head_gain", age)
        if self._spec.linear_path:
            target = target + self._times_gain(self._linear_map(features, age), "linear_gain", age)
        target = target if added is None else target + added
        target = target * self._scaling("target_std") + self._scaling("target_mean")
        following: TracedArray = self._coordinates.next_outputs(newest, target)
        return following

    def _linear_map(self, features: TracedArray, age: TracedArray | None) -> TracedArray:
        """Add the linear map of each age: [B, F], [B] -> [B, T]. Both are computed, and one counts."""
        if age is None or not self._spec.near_ticks:
            return self._linear("linear_path", features)
        near, far = (self._linear(name, features) for name in ("linear_near", "linear_path"))
        shares = self.band_shares(age, (self._spec.near_ticks,))
        return near * shares[:, :1] + far * shares[:, 1:]

    def _times_gain(self, values: TracedArray, name: str, age: TracedArray | None) -> TracedArray:
        """Multiply by the gain of each age, where the model has gains: [B, T], [B] -> [B, T]."""
        if age is None or not self._spec.age_bands:
            return values
        table = self._tracer.constant(self._weights[name], name)
        return values * (self.band_shares(age, self._spec.age_bands) @ table)

    def band_shares(self, age: TracedArray, firsts: Sequence[int]) -> TracedArray:
        """Add a 1 for the band of each age and a 0 for every other: [B] -> [B, K]. `firsts`: of each further band."""
        xp, column = self._tracer, age[:, None]
        begun = xp.clip(column - np.array([-1, *(first - 1 for first in firsts)], np.float32), 0.0, 1.0)
        ended = xp.clip(np.array([*firsts, NEVER], np.float32) - column, 0.0, 1.0)
        return begun * ended

    def _lstm(self, code: TracedArray, state: TracedArray) -> TracedArray:
        xp, width = self._tracer, self._spec.hidden
        h, c = state[:, :width], state[:, width:]
        gates = self._gates("ih", code) + self._gates("hh", h)
        i, f, g, o = (gates[:, k * width : (k + 1) * width] for k in range(4))
        c = xp.sigmoid(f) * c + xp.sigmoid(i) * xp.tanh(g)
        return xp.concatenate((xp.sigmoid(o) * xp.tanh(c), c), -1)

    def _gru(self, code: TracedArray, state: TracedArray) -> TracedArray:
        xp, width = self._tracer, self._spec.hidden
        of_code, of_state = self._gates("ih", code), self._gates("hh", state)
        gates = xp.sigmoid(of_code[:, : 2 * width] + of_state[:, : 2 * width])
        reset, update = gates[:, :width], gates[:, width:]
        new = xp.tanh(of_code[:, 2 * width :] + reset * of_state[:, 2 * width :])
        return new + update * (state - new)

    def _gates(self, kind: str, of: TracedArray) -> TracedArray:
        return self._layer(f"cell.weight_{kind}_l0", f"cell.bias_{kind}_l0", of)

    def _linear(self, name: str, of: TracedArray) -> TracedArray:
        return self._layer(f"{name}.weight", f"{name}.bias", of)

    def _layer(self, weight: str, bias: str, of: TracedArray) -> TracedArray:
        xp = self._tracer
        parts = [of, *(xp.constant(self._weights[name], name) for name in (weight, bias))]
        return xp.node("Gemm", parts, (None, len(self._weights[bias])), transB=1)

    def _scaling(self, name: str) -> TracedArray:
        return self._tracer.constant(getattr(self._spec.scaling, name), name)


_TICKS: dict[CellName, Callable[[OnnxNetwork, TracedArray, TracedArray], TracedArray]] = {
    "lstm": OnnxNetwork._lstm,
    "gru": OnnxNetwork._gru,
}
