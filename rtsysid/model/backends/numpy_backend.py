"""The model in NumPy alone: for machines without an onnxruntime wheel, and as an independent check of the others."""

from __future__ import annotations

import numpy as np

from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.draws import Draws
from rtsysid.model.backends.noise import NumpyNoise
from rtsysid.model.backends.numpy_network import NumpyNetwork
from rtsysid.model.backends.windowed import Ages, WindowedBackend
from rtsysid.spec import Floats, ModelSpec


class NumpyBackend(WindowedBackend):
    """Run one robot's model in NumPy; `rollout` takes any batch of states."""

    name = "numpy"

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        super().__init__(spec, weights.get("spread.stretch"))
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

    @np.errstate(over="ignore", invalid="ignore")  # a forecast of absurd inputs may not be finite
    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats:
        """Predict N ticks with predictions fed back: [B, L, C], [B, S], ages [B], [B, N, nu] -> [B, N, ny]."""
        net, nu, track = self._net, self.spec.n_inputs, self._track(window, u_future)
        for n in range(u_future.shape[1]):
            seen = track[:, n : n + self.spec.taps]
            features = net.features(seen)
            code = net.encode(features[:, self.spec.encoder_columns])
            state = net.cell.tick(code, state)
            track[:, n + self.spec.taps, nu:] = net.predict(seen[:, -1], features, code, state, age + n)
        return track[:, self.spec.taps :, nu:]

    def sample_rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats, draws: Draws) -> Floats:
        """Sample a future from each start: as `rollout`, with the numbers of each future -> [B, N, ny]."""
        net, nu, track, hidden = self._net, self.spec.n_inputs, self._track(window, u_future), self.spec.hidden
        noise = NumpyNoise(self.spec, self.weights)
        slow, member = noise.first_slow(draws.normal[:, 0]), noise.members(draws.uniform)
        for n in range(u_future.shape[1]):
            rows, z = track[:, n : n + self.spec.taps], draws.normal[:, n + 1]
            features = net.features(rows)
            code = net.encode(features[:, self.spec.encoder_columns])
            seen, slow = np.concatenate((code, state[:, :hidden]), 1), noise.next_slow(slow, z)
            code = code + noise.into_code(seen, z)
            state = net.cell.tick(code, state)
            added = noise.added(seen, state[:, :hidden], n, member, slow, z)
            track[:, n + self.spec.taps, nu:] = net.predict(rows[:, -1], features, code, state, age + n, added)
        return track[:, self.spec.taps :, nu:]

    def _track(self, window: Floats, u_future: Floats) -> Floats:
        """Make room for the rows of a free run, [B, L + N, C], with what is known before it."""
        track = np.empty((len(window), self.spec.taps + u_future.shape[1], self.spec.width), np.float32)
        track[:, : self.spec.taps] = window
        track[:, self.spec.taps - 1 : -1, : self.spec.n_inputs] = u_future
        return track
