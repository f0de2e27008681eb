"""Train for a cold start: replace the measured history by a synthetic one, extrapolated backwards from one row.

A model that starts from one measured row needs a synthetic history. A model that only ever saw measured histories
over-trusts the synthetic one, so it is trained with synthetic histories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Doubles, ModelSpec


class ColdStart:
    """Replace measured history by synthetic history. With `history`, change nothing."""

    def __init__(self, history: bool, spec: ModelSpec) -> None:
        self._history, self._taps = history, spec.taps
        self._coords: dict[str, Any] = {"numpy": coordinates(spec, np), "torch": coordinates(spec, torch)}

    def apply(self, rows: Tensor, first: int) -> Tensor:
        """Replace the first `first` rows of sequences by a synthetic history that ends in the last of them.

        [B, R, C] -> [B, R, C]. Row ``first - 1`` and all later rows stay as measured.
        """
        if self._history:
            return rows
        return torch.cat((self._coords["torch"].synthetic_history(rows[:, first - 1], first), rows[:, first:]), 1)

    def windows(self, measured: Doubles) -> Doubles:
        """Replace the history in single windows: [m, L, C] -> [m, L, C].

        Window i looks like the window i mod L ticks after the first prediction: that many rows, plus one, are measured.
        """
        if self._history:
            return measured
        mixed = measured.copy()
        for known in range(1, self._taps):
            at, unknown = slice(known - 1, None, self._taps), self._taps - known
            mixed[at, :unknown] = self._coords["numpy"].synthetic_history(measured[at, unknown], unknown + 1)[:, :-1]
        return mixed
