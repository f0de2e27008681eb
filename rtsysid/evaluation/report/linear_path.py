"""The linear path of a model alone: its free run, and its exact frequency response.

The path is the linear ARX model with the lags that the training chose. It is taken without the gains by which a
forecast shrinks it with age, so that it is one system at every age.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.linear.maps import LinearMap, Runs, is_affine, linear_run, one_map
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles, Floats, ModelSpec

Complexes: TypeAlias = NDArray[np.complex128]


class LinearPath:
    """Run the linear path of a model, in float64. ``weights`` [F + 1, T]: the map of a window, the bias last.

    ``unused``: no forecast of the model uses the path, because a network replaces it.
    """

    def __init__(self, spec: ModelSpec, weights: Doubles, *, unused: bool = False) -> None:
        self.spec, self.unused = spec, unused
        self._model = one_map(LinearMap(spec.taps, weights))

    @classmethod
    def of(cls, bundle: Bundle) -> LinearPath | None:
        """Take the linear path out of a bundle; None where the model has none."""
        if not bundle.spec.linear_path:
            return None
        arrays = bundle.arrays("weights.npz")
        weights = np.concatenate((arrays["linear_path.weight"].T, arrays["linear_path.bias"][None]))
        unused = "linear_gain" in arrays and not arrays["linear_gain"].any()
        return cls(bundle.spec, weights.astype(np.float64), unused=unused)

    def rollout(self, starts: Snapshot, u_future: Floats) -> Doubles:
        """Predict N ticks from B snapshots, each under its own plan [B, N, nu]: -> [B, N, ny]."""
        shape = (*u_future.shape[:2], self.spec.n_outputs)
        return linear_run(self.spec, self._model, Runs(starts.window, u_future, np.empty(shape, np.float32)))

    def frequency_response(self, cycles: Doubles) -> Complexes | None:
        """Return the response [F, ny, nu] at `cycles` per tick [F]; None where the coordinates are not linear.

        With y_{k+1} = sum over lags l of A_l y_{k-l} + B_l u_{k-l}, it is (z - sum A_l z^-l)^-1 sum B_l z^-l.
        """
        if not is_affine(self.spec) or self.spec.rotations:
            return None
        z, nu, ny = np.exp(2j * np.pi * cycles), self.spec.n_inputs, self.spec.n_outputs
        lagged = z[:, None] ** -np.arange(self.spec.taps - 1, -1, -1.0)
        of_rows = np.einsum("fl,lcy->fyc", lagged, self._one_tick())
        return np.asarray(np.linalg.solve(z[:, None, None] * np.eye(ny) - of_rows[..., nu:], of_rows[..., :nu]))

    def _one_tick(self) -> Doubles:
        """Return the derivative of y_{k+1} by each value of the window, oldest row first: [L, C, ny]."""
        rows, width = self.spec.taps, self.spec.width
        windows = np.eye(rows * width + 1, rows * width, dtype=np.float32).reshape(-1, rows, width)
        plan = windows[:, -1:, : self.spec.n_inputs]
        moved = self.rollout(Snapshot(windows, np.zeros((len(windows), 0), np.float32), 0, rows), plan)[:, 0]
        return np.asarray((moved[:-1] - moved[-1]).reshape(rows, width, -1))
