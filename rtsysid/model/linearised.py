"""The model at one moment as a linear system, for filters and linear controllers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtsysid.model.backends.protocol import Snapshot
from rtsysid.spec import Doubles, ModelSpec

if TYPE_CHECKING:
    from rtsysid.model.backends.numpy_gradient import NumpyGradients


class Linearised(NamedTuple):
    """x_{k+1} = A x_k + B u_k and y_k = C x_k + D u_k, for small deviations from the moment, in engineering units.

    The state x_k [n]: the rows [u, y] of the window before s_k, oldest first, then y_k, then the state of the cell from
    before tick k. So n = (L - 1) C + ny + S, and D is 0: u_k acts on y_{k+1}.
    """

    a: Doubles  # [n, n]
    b: Doubles  # [n, nu]
    c: Doubles  # [ny, n]
    d: Doubles  # [ny, nu]

    @property
    def poles(self) -> Doubles:
        """Compute the eigenvalues of A as pairs [n, 2] of real and imaginary part, the largest first."""
        found = np.linalg.eigvals(self.a)
        found = found[np.argsort(-np.abs(found), kind="stable")]
        return np.stack((found.real, found.imag), -1)


def linearised(spec: ModelSpec, gradients: NumpyGradients, moment: Snapshot) -> Linearised:
    """Linearise one tick of the model at a moment."""
    of_window, of_state = gradients.one_tick(moment)
    nu, ny, width = spec.n_inputs, spec.n_outputs, spec.width
    past = (spec.taps - 1) * width
    flat = of_window.reshape(len(of_window), -1)
    from_y, from_u = flat[:, past + nu :], flat[:, past : past + nu]
    a, b = np.zeros((past + len(flat), past + len(flat))), np.zeros((past + len(flat), nu))
    a[past:] = np.concatenate((flat[:, :past], from_y, of_state), 1)
    b[past:] = from_u
    if past:  # rows move up, and s_k becomes the newest of them
        a[: past - width, width:past] = np.eye(past - width)
        a[past - ny : past, past : past + ny] = np.eye(ny)
        b[past - width : past - ny] = np.eye(nu)
    c = np.zeros((ny, len(a)))
    c[:, past : past + ny] = np.eye(ny)
    return Linearised(a, b, c, np.zeros((ny, nu)))
