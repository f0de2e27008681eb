"""What a code is like: how well it describes a window, how sparse, how robust and how sensitive it is.

PcaCode components of the same size are the anchor: the best linear code there is, on the same scaled features.
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

CORRUPTIONS = {  # each harder than what the denoising member of the presets trains on
    "noise": Corruption(noise=0.3),
    "mask": Corruption(mask=0.3),
    "channel": Corruption(channels=2),
}
SEED = 7  # corruptions are the same for every code


class Coder(Protocol):
    """Windows [n, F] to codes [n, Z] and back, and the norm of the Jacobian for each window [n]."""

    def encode(self, x: Tensor) -> Tensor: ...
    def decode(self, code: Tensor) -> Tensor: ...
    def jacobian(self, x: Tensor) -> Tensor: ...


class NetworkCode:
    """The code of a trained network: its mean, as deployed."""

    def __init__(self, network: Network) -> None:
        self._network = network.eval()

    def encode(self, x: Tensor) -> Tensor:
        return self._network.encode(x)

    def decode(self, code: Tensor) -> Tensor:
        return self._network.decode(code)

    def jacobian(self, x: Tensor) -> Tensor:
        return jacobian_norm(self._network, x).sqrt()


class PcaCode:
    """The first principal components of the windows [n, F] that the network trains on."""

    def __init__(self, x: Tensor, size: int) -> None:
        self._mean: Tensor = x.mean(0)
        centred = (x - self._mean).double()
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # the largest last
        self._axes: Tensor = vectors[:, -size:].float()

    def encode(self, x: Tensor) -> Tensor:
        code: Tensor = (x - self._mean) @ self._axes
        return code

    def decode(self, code: Tensor) -> Tensor:
        x: Tensor = code @ self._axes.T + self._mean
        return x

    def jacobian(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), self._axes.shape[1] ** 0.5)  # of orthonormal axes


class CodeMetrics(msgspec.Struct, frozen=True):
    """Mean squared errors are per value of a window, whose spread over the training recordings is 1.

    ``known``, ``unseen``: error on validation windows and on those never trained on. ``corrupted``: error on unseen
    windows that are shown corrupted, against the clean ones. ``activity``: mean ``|h|``. ``sparsity``: P. Hoyer's
    measure of each code, 0 where all units speak alike, 1 where one does alone; a code scaled down is not sparser.
    ``jacobian``: its mean Frobenius norm. ``sensitivity``: that over the spread of the code, since a decoder undoes
    what scaling the code down does.
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
    """Everything about a code on windows [n, F] of known and of unseen manoeuvres."""
    code, jacobian = coder.encode(unseen), float(coder.jacobian(unseen).mean())
    torch.manual_seed(SEED)
    shown = {name: corrupted(unseen, how, spec) for name, how in CORRUPTIONS.items()}
    return CodeMetrics(
        error(coder, known, known),
        error(coder, unseen, unseen),
        {name: error(coder, x, unseen) for name, x in shown.items()},
        float(code.abs().mean()),
        sparsity(code),
        jacobian,
        jacobian / float(code.var(0).sum().sqrt()),
    )


@torch.no_grad()
def error(coder: Coder, shown: Tensor, wanted: Tensor) -> float:
    """Mean squared error per value of what is reconstructed from the windows shown."""
    return float((coder.decode(coder.encode(shown)) - wanted).square().mean())


def sparsity(code: Tensor) -> float:
    """Mean over codes [n, Z] of ``(sqrt(Z) - |h|_1 / |h|_2) / (sqrt(Z) - 1)``. Ref: P. Hoyer, JMLR 5, 2004."""
    root = code.shape[1] ** 0.5
    ratio = code.abs().sum(1) / code.norm(dim=1).clamp_min(1e-12)
    return float(((root - ratio) / max(root - 1, 1e-12)).mean())
