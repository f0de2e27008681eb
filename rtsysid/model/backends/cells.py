"""Recurrent cells in NumPy: one tick for a batch of states.

Every cell carries one state [B, S], whose first H values are its output h. Shapes: B batch, Z code, H hidden, S state.
A sigmoid is written as (1 + tanh(x / 2)) / 2, with the 1 / 2 already in the weights: one tanh serves all gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from rtsysid.spec import CellName, Floats, ModelSpec

Weights = Mapping[str, np.ndarray[Any, Any]]
HALF = np.float32(0.5)


class NumpyCell(Protocol):
    """One recurrent cell with its weights.

    ``begin``: the state [B, S] from what the initialiser returned [B, S]. ``tick``: one step, [B, Z] and [B, S] to
    [B, S].
    """

    def begin(self, raw: Floats) -> Floats: ...
    def tick(self, code: Floats, state: Floats) -> Floats: ...


class NumpyLstm:
    """LSTM; its state is h [H], then c [H]. Gates in the order input, forget, cell, output."""

    def __init__(self, weights: Weights) -> None:
        weight = np.concatenate((weights["cell.weight_ih_l0"], weights["cell.weight_hh_l0"]), 1).T
        bias = weights["cell.bias_ih_l0"] + weights["cell.bias_hh_l0"]
        self.hidden = len(bias) // 4
        halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), self.hidden)
        self.gates, self.bias = np.ascontiguousarray(weight * halves), bias * halves

    def begin(self, raw: Floats) -> Floats:
        """Make the first state [B, S] from the output [B, S] of the initialiser network."""
        return np.concatenate((np.tanh(raw[:, : self.hidden]), raw[:, self.hidden :]), 1)

    def tick(self, code: Floats, state: Floats) -> Floats:
        """Advance by one tick: code [B, Z], state [B, S] -> state [B, S]."""
        h, c = state[:, : self.hidden], state[:, self.hidden :]
        gates = np.tanh(np.concatenate((code, h), 1) @ self.gates + self.bias)
        i, f, g, o = gates.reshape(len(code), 4, -1).transpose(1, 0, 2)
        c = HALF * ((f + 1) * c + (i + 1) * g)
        return np.concatenate((HALF * (o + 1) * np.tanh(c), c), 1)


class NumpyGru:
    """GRU; its state is h [H]. Gates in the order reset, update, new; the reset gate acts after the hidden product."""

    def __init__(self, weights: Weights) -> None:
        into, of_h = weights["cell.weight_ih_l0"].T, weights["cell.weight_hh_l0"].T
        into_bias, of_h_bias = weights["cell.bias_ih_l0"], weights["cell.bias_hh_l0"]
        self.hidden = len(of_h)
        self._gates = slice(0, 2 * self.hidden)
        new = slice(2 * self.hidden, None)
        self.gates = np.concatenate((into, of_h))[:, self._gates] * HALF
        self.bias = (into_bias + of_h_bias)[self._gates] * HALF
        self.new_into, self.new_into_bias = np.ascontiguousarray(into[:, new]), into_bias[new]
        self.new_of_h, self.new_of_h_bias = np.ascontiguousarray(of_h[:, new]), of_h_bias[new]

    def begin(self, raw: Floats) -> Floats:
        """Make the first state [B, S] from the output [B, S] of the initialiser network."""
        state: Floats = np.tanh(raw)
        return state

    def tick(self, code: Floats, state: Floats) -> Floats:
        """Advance by one tick: code [B, Z], state [B, S] -> state [B, S]."""
        gates = HALF * (np.tanh(np.concatenate((code, state), 1) @ self.gates + self.bias) + 1)
        reset, update = gates[:, : self.hidden], gates[:, self.hidden :]
        of_h = state @ self.new_of_h + self.new_of_h_bias
        new = np.tanh(code @ self.new_into + self.new_into_bias + reset * of_h)
        after: Floats = new + update * (state - new)
        return after


_CELLS: dict[CellName, type[NumpyLstm] | type[NumpyGru]] = {"lstm": NumpyLstm, "gru": NumpyGru}


def numpy_cell(spec: ModelSpec, weights: Weights) -> NumpyCell:
    """Make the cell of a specification from weights that keep torch's names, as `cell.weight_ih_l0`."""
    return _CELLS[spec.cell](weights)
