"""Gradients of forecasts in NumPy: the readable reference of every other backend, also in float64.

The rollout is that of `NumpyBackend`, tick by tick on recorded arrays: see `recorded`. Shapes: B plans, N ticks, L
taps, C channels, S state, nu inputs, ny outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.numpy_network import NumpyNetwork
from rtsysid.model.backends.recorded import Recorded, Recording
from rtsysid.model.backends.windowed import Ages
from rtsysid.spec import ModelSpec

Array: TypeAlias = NDArray[np.floating[Any]]


class Start(NamedTuple):
    """Where B forecasts begin: ``window`` [B, L, C], ``state`` [B, S] from before the newest row, its ``age`` [B]."""

    window: Array
    state: Array
    age: Ages


class NumpyGradients:
    """Differentiate forecasts. ``dtype``: float32, or float64 with the same float32 weights."""

    def __init__(self, spec: ModelSpec, weights: Weights, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._net, self._dtype, self._nu = NumpyNetwork(spec, weights, dtype), dtype, spec.n_inputs

    def forecast(self, start: Start, u: Array) -> Array:
        """Predict N ticks with predictions fed back: plans [B, N, nu] -> [B, N, ny]."""
        _, predicted = self._recorded(start, u)
        return np.stack([y.value for y in predicted], 1)

    def gradient(self, start: Start, u: Array, dy: Array) -> Array:
        """Take the derivative of a cost by each forecast back to each input: u [B, N, nu], dy [B, N, ny] -> du."""
        inputs, predicted = self._recorded(start, u)
        for n, y in enumerate(predicted):
            y.add(np.asarray(dy[:, n], self._dtype))
        predicted[-1].recording.go_back()
        return np.stack([np.zeros_like(u[:, 0]) if each.gradient is None else each.gradient for each in inputs], 1)

    def _recorded(self, start: Start, u: Array) -> tuple[list[Recorded], list[Recorded]]:
        """Record N ticks; return the inputs [B, nu] and the predictions [B, ny] of each."""
        recording, net = Recording(), self._net
        window, state, u = (np.asarray(part, self._dtype) for part in (start.window, start.state, u))
        inputs = [recording.array(each) for each in u.swapaxes(0, 1)]
        seen, y, hidden, predicted = window[:, :-1], window[:, -1, self._nu :], state, []
        for n, each in enumerate(inputs):
            seen = np.concatenate((seen, np.concatenate((each, y), -1)[:, None]), 1)
            features = net.features(seen)
            hidden = net.cell.tick(net.encode(features[:, net.spec.encoder_columns]), hidden)
            y = net.predict(seen[:, -1], features, hidden, start.age + n)
            predicted.append(y)
            seen = seen[:, 1:]
        return inputs, predicted
