"""What a model knows from before it predicts: measurements, or the first row alone, coasting backwards.

A model that starts from one measured row is shown a past that it has to make up. Trained on true pasts it takes the
made-up one for what it is not; trained on such pasts it knows better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Doubles, ModelSpec


class ColdStart:
    """Takes the measured past away from training sequences, unless there is `history`."""

    def __init__(self, history: bool, spec: ModelSpec) -> None:
        self._history, self._taps = history, spec.taps
        self._coords: dict[str, Any] = {"numpy": coordinates(spec, np), "torch": coordinates(spec, torch)}

    def apply(self, rows: Tensor, first: int) -> Tensor:
        """Sequences [B, R, C] whose first rows, so many, lead to the last of them by coasting."""
        if self._history:
            return rows
        return torch.cat((self._coords["torch"].synthetic_history(rows[:, first - 1], first), rows[:, first:]), 1)

    def windows(self, seen: Doubles) -> Doubles:
        """Windows [m, L, C] as they look 0, 1, .. L - 1 ticks after the first prediction, in turn."""
        if self._history:
            return seen
        mixed = seen.copy()
        for known in range(1, self._taps):
            at, unknown = slice(known - 1, None, self._taps), self._taps - known
            mixed[at, :unknown] = self._coords["numpy"].synthetic_history(seen[at, unknown], unknown + 1)[:, :-1]
        return mixed
