"""Measure a code: reconstruction error, sparsity, robustness to corruption, and sensitivity.

The reference is PCA of the same size on the same scaled features: it is the best linear code. E is the number of scaled
features that the encoder sees, Z the size of the code.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import torch
from torch import Tensor

from rtsysid.schedule import Corruption
from rtsysid.spec import ModelSpec
from rtsysid.train.autoencoders import corrupted, jacobian_norm
from rtsysid.train.network import Network

CORRUPTIONS = {  # each stronger than in the training of the denoising preset
    "noise": Corruption(noise=0.3),
    "mask": Corruption(mask=0.3),
    "channel": Corruption(channels=2),
}
SEED = 7  # every code gets the same corruptions


class Coder(Protocol):
    """Define a code with its decoder."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes [n, Z] of windows [n, E]."""

    def decode(self, code: Tensor) -> Tensor:
        """Return the windows [n, E] of codes [n, Z]."""

    def jacobian(self, x: Tensor) -> Tensor:
        """Return the Frobenius norm [n] of the encoder's Jacobian at windows [n, E]."""


class NetworkCode:
    """Encode with a trained network. For a variational network the code is the mean, as deployed."""

    def __init__(self, network: Network) -> None:
        self._network = network.eval()

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes [n, Z] of windows [n, E]."""
        return self._network.encode(x)

    def decode(self, code: Tensor) -> Tensor:
        """Return the windows [n, E] of codes [n, Z]."""
        return self._network.decode(code)

    def jacobian(self, x: Tensor) -> Tensor:
        """Return the Frobenius norm [n] of the encoder's Jacobian at windows [n, E]."""
        return jacobian_norm(self._network, x).sqrt()


class PcaCode:
    """Encode with the first principal components of the training windows [n, E]."""

    def __init__(self, x: Tensor, size: int) -> None:
        self._mean: Tensor = x.mean(0)
        centred = (x - self._mean).double()
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # eigenvalues in ascending order
        self._axes: Tensor = vectors[:, -size:].float()

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes [n, Z] of windows [n, E]."""
        code: Tensor = (x - self._mean) @ self._axes
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Return the windows [n, E] of codes [n, Z]."""
        x: Tensor = code @ self._axes.T + self._mean
        return x

    def jacobian(self, x: Tensor) -> Tensor:
        """Return the Frobenius norm [n] of the encoder's Jacobian at windows [n, E]."""
        return x.new_full((len(x),), self._axes.shape[1] ** 0.5)  # the axes are orthonormal


class CodeMetrics(msgspec.Struct, frozen=True):
    """Hold the metrics of a code. Errors are mean squared errors per value, in scaled features of unit variance.

    ``known``, ``unseen``: error on validation windows, and on manoeuvres that were not trained on. ``corrupted``: error
    on corrupted unseen windows against the clean ones. ``activity``: mean ``|h|``. ``sparsity``: Hoyer's measure, 0
    where all units are equally active, 1 where one unit is active; it is independent of scale. ``jacobian``: mean
    Frobenius norm. ``sensitivity``: ``jacobian`` divided by the standard deviation of the code, since a decoder
    compensates a scaled code.
    """

    known: float
    unseen: float
    corrupted: dict[str, float]
    activity: float
    sparsity: float
    jacobian: float
    sensitivity: float


@torch.no_grad()
def code_metrics(coder: Coder, spec: ModelSpec, known: Tensor, unseen: Tensor) -> CodeMetrics:
    """Measure a code on windows [n, E] of known and of unseen manoeuvres."""
    code, jacobian = coder.encode(unseen), float(coder.jacobian(unseen).mean())
    torch.manual_seed(SEED)
    corrupt = {name: corrupted(unseen, corruption, spec) for name, corruption in CORRUPTIONS.items()}
    return CodeMetrics(
        error(coder, known, known),
        error(coder, unseen, unseen),
        {name: error(coder, x, unseen) for name, x in corrupt.items()},
        float(code.abs().mean()),
        sparsity(code),
        jacobian,
        jacobian / float(code.var(0).sum().sqrt()),
    )


@torch.no_grad()
def error(coder: Coder, x: Tensor, target: Tensor) -> float:
    """Return the mean squared error per value between the reconstruction of windows `x` [n, E] and `target` [n, E]."""
    return float((coder.decode(coder.encode(x)) - target).square().mean())


def sparsity(code: Tensor) -> float:
    """Return the mean of ``(sqrt(Z) - |h|_1 / |h|_2) / (sqrt(Z) - 1)`` over codes [n, Z].

    Ref: P. Hoyer, JMLR 5, 2004.
    """
    root = code.shape[1] ** 0.5
    ratio = code.abs().sum(1) / code.norm(dim=1).clamp_min(1e-12)
    return float(((root - ratio) / max(root - 1, 1e-12)).mean())
