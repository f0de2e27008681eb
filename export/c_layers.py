"""A matrix of the model as the C multiplies with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtsysid.model.c_layout import padded
from rtsysid.spec import Floats

Weights = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Layer:
    """y = weight x + bias: [rows, columns] and [rows]; with `scale` [rows] the weight is int8 and counted in it."""

    name: str
    weight: np.ndarray[Any, Any]
    bias: Floats
    scale: Floats | None = None

    @property
    def rows(self) -> int:
        """Count the rows of the matrix."""
        return len(self.bias)

    @property
    def bytes(self) -> int:
        """Count the bytes of its numbers in flash, with the padding of the last tile."""
        per_row = self.weight.itemsize * self.weight.shape[1] + 4 + (4 if self.scale is not None else 0)
        return int(padded(self.rows) * per_row)


def linear_layer(weights: Weights, name: str) -> Layer:
    """Take a layer from weights that keep the names of training. Raises KeyError where one is missing."""
    return Layer(name.replace(".", "_"), np.asarray(weights[f"{name}.weight"]), np.asarray(weights[f"{name}.bias"]))
