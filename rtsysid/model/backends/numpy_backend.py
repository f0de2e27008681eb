"""The model in NumPy alone: for machines without an onnxruntime wheel, and as an independent check of the others."""

from __future__ import annotations

import numpy as np

from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.numpy_network import NumpyNetwork
from rtsysid.model.backends.windowed import Ages, WindowedBackend
from rtsysid.spec import Floats, ModelSpec


class NumpyBackend(WindowedBackend):
    """Run one robot's model in NumPy; `rollout` takes any batch of states."""

    name = "numpy"

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        super().__init__(spec)
        self.weights = weights
        self._net = NumpyNetwork(spec, weights)
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
        self.y[:] = net.predict(window[None, -1], features, code, after, np.array([self.age]))[0]
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
            into = features[:, self.spec.encoder_columns]
            code = net.encode(into) if rng is None else net.sampled(into, rng)
            state = net.cell.tick(code, state)
            track[:, n + self.spec.taps, nu:] = net.predict(seen[:, -1], features, code, state, age + n)
        return track[:, self.spec.taps :, nu:]
