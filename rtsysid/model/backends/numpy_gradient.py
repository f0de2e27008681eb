"""Gradients of forecasts in NumPy: the readable reference of every other backend, also in float64.

The rollout is that of `NumpyBackend`, tick by tick on recorded arrays: see `recorded`. Shapes: B plans, N ticks, L
taps, C channels, S state, nu inputs, ny outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.numpy_network import NumpyNetwork
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.backends.recorded import RecordedArray, Recording
from rtsysid.spec import ModelSpec

Array: TypeAlias = NDArray[np.floating[Any]]
BLOCK = 64  # rows of a Jacobian at a time
_QUIET = np.errstate(over="ignore", invalid="ignore")  # gradients of absurd inputs may not be finite


class NumpyGradients:
    """Differentiate forecasts. ``dtype``: float32, or float64 with the same float32 weights."""

    def __init__(self, spec: ModelSpec, weights: Weights, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._net, self._dtype, self._nu = NumpyNetwork(spec, weights, dtype), dtype, spec.n_inputs

    def forecast(self, start: Snapshot, u: Array) -> Array:
        """Predict N ticks with predictions fed back: plans [B, N, nu] -> [B, N, ny]."""
        _, predicted = self._recorded(start, u)
        return np.stack([y.value for y in predicted], 1)

    def gradient(self, start: Snapshot, u: Array, dy: Array) -> Array:
        """Take the derivative of a cost by each forecast back to each input: u [B, N, nu], dy [B, N, ny] -> du."""
        return self._back(*self._recorded(start, u), dy)

    def vjp(self, start: Snapshot, u: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Predict under a plan [N, nu], and return the function from dy [N, ny] to du [N, nu]."""
        inputs, predicted = self._recorded(start, u[None])
        y = np.concatenate([each.value for each in predicted])
        return y, lambda dy: self._back(inputs, predicted, dy[None])[0]

    def jacobian(self, start: Snapshot, u: Array) -> Array:
        """Differentiate each output of a forecast by each input: a plan [N, nu] -> [N, ny, N, nu]."""
        ticks, outputs = len(u), self._net.spec.n_outputs
        each = np.eye(ticks * outputs, dtype=self._dtype).reshape(-1, ticks, outputs)
        parts = [each[k : k + BLOCK] for k in range(0, len(each), BLOCK)]
        rows = [self.gradient(start, np.broadcast_to(u, (len(part), *u.shape)), part) for part in parts]
        return np.concatenate(rows).reshape(ticks, outputs, *u.shape)

    def one_tick(self, start: Snapshot) -> tuple[Array, Array]:
        """Differentiate the next outputs, then the next state, by the window and the state.

        Returns arrays [ny + S, L, C] and [ny + S, S].
        """
        recording, net, rows = Recording(), self._net, self._net.spec.n_outputs + len(start.state)
        window, state = (
            recording.array(np.repeat(np.asarray(part, self._dtype)[None], rows, 0))
            for part in (start.window, start.state)
        )
        seen: Any = window
        features: Any = net.features(seen)
        code = net.encode(features[:, net.spec.encoder_columns])
        after: Any = net.cell.tick(code, state)  # type: ignore[arg-type]
        y: Any = net.predict(seen[:, -1], features, code, after, np.full(rows, start.age))
        each = np.eye(rows, dtype=self._dtype)
        y.add(each[:, : y.shape[1]])
        after.add(each[:, y.shape[1] :])
        recording.go_back()
        of_window, of_state = (np.zeros_like(p.value) if p.gradient is None else p.gradient for p in (window, state))
        return of_window, of_state

    @_QUIET
    def _back(self, inputs: list[RecordedArray], predicted: list[RecordedArray], dy: Array) -> Array:
        """Go back from dy [B, N, ny] to the gradients of recorded inputs: [B, N, nu]."""
        predicted[-1].recording.forget_gradients()
        for n, y in enumerate(predicted):
            y.add(np.asarray(dy[:, n], self._dtype))
        predicted[-1].recording.go_back()
        return np.stack([np.zeros_like(p.value) if p.gradient is None else p.gradient for p in inputs], 1)

    @_QUIET
    def _recorded(self, start: Snapshot, u: Array) -> tuple[list[RecordedArray], list[RecordedArray]]:
        """Record N ticks of B plans; return the inputs [B, nu] and the predictions [B, ny] of each."""
        recording, net, age = Recording(), self._net, np.full(len(u), start.age)
        window, hidden = (
            np.repeat(np.asarray(part, self._dtype)[None], len(u), 0) for part in (start.window, start.state)
        )
        inputs = [recording.array(np.asarray(each, self._dtype)) for each in u.swapaxes(0, 1)]
        predicted: list[Any] = []
        seen: Any = window[:, :-1]
        y: Any = window[:, -1, self._nu :]
        for n, each in enumerate(inputs):
            row: Any = np.concatenate((each, y), -1)  # type: ignore[arg-type]
            seen = np.concatenate((seen, row[:, None]), 1)
            features = net.features(seen)
            code = net.encode(features[:, net.spec.encoder_columns])
            hidden = net.cell.tick(code, hidden)
            y = net.predict(seen[:, -1], features, code, hidden, age + n)
            predicted.append(y)
            seen = seen[:, 1:]
        return inputs, predicted
