"""Recurrent cells in torch.

Every cell carries one state [B, S], whose first H values are its output h. Shapes: B batch, T time, Z code, H hidden,
S state. Weights keep torch's names: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rtsysid.errors import ConfigError
from rtsysid.spec import CellName, ModelSpec


class LstmCell(nn.LSTM):
    """LSTM; its state is h [H], then c [H]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)

    def begin(self, raw: Tensor) -> Tensor:
        """Make the first state [B, S] from the output [B, S] of the initialiser network."""
        h, c = raw.chunk(2, -1)
        return torch.cat((torch.tanh(h), c), -1)

    def tick(self, code: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one tick: code [B, Z], state [B, S] -> h [B, H], state [B, S]."""
        w: Any = self
        h, c = (part.contiguous() for part in state.chunk(2, -1))  # sums of strided rows round differently
        h, c = torch.lstm_cell(code, (h, c), w.weight_ih_l0, w.weight_hh_l0, w.bias_ih_l0, w.bias_hh_l0)
        return h, torch.cat((h, c), -1)

    def sequence(self, codes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by T ticks in one call: codes [B, T, Z], state [B, S] -> h [B, T, H], last state [B, S]."""
        h, c = (part[None].contiguous() for part in state.chunk(2, -1))
        hidden, (h, c) = self(codes, (h, c))
        return hidden, torch.cat((h[0], c[0]), -1)

    @torch.no_grad()
    def set_forget_ticks(self, ticks: int) -> None:
        """Initialise the gates so that each unit forgets over 2 to `ticks` ticks.

        Ref: C. Tallec, Y. Ollivier, arXiv 1804.11188, "chrono initialisation": gates that begin half closed do not
        learn slow dynamics, such as a tank's or a motor's temperature.
        """
        w: Any = self
        gates = w.bias_ih_l0.view(4, -1)  # input, forget, cell, output
        gates[1] = torch.log1p(torch.rand_like(gates[1]) * max(ticks - 2, 0))
        gates[0] = -gates[1]
        w.bias_hh_l0.view(4, -1)[:2] = 0.0


class GruCell(nn.GRU):
    """GRU with the reset gate after the hidden product, as in torch and cuDNN; its state is h [H].

    Ref: K. Cho et al., arXiv 1406.1078; here n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)

    def begin(self, raw: Tensor) -> Tensor:
        """Make the first state [B, S] from the output [B, S] of the initialiser network."""
        return torch.tanh(raw)

    def tick(self, code: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one tick: code [B, Z], state [B, S] -> h [B, H], state [B, S]."""
        w: Any = self
        h = torch.gru_cell(code, state, w.weight_ih_l0, w.weight_hh_l0, w.bias_ih_l0, w.bias_hh_l0)
        return h, h

    def sequence(self, codes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by T ticks in one call: codes [B, T, Z], state [B, S] -> h [B, T, H], last state [B, S]."""
        hidden, h = self(codes, state[None].contiguous())
        return hidden, h[0]

    def set_forget_ticks(self, ticks: int) -> None:
        """Refuse: a GRU has no forget gate. Raises ConfigError always."""
        raise ConfigError("train.forget_ticks", f"{ticks}, but a gru has no forget gate", "set it to 0")


Cell: TypeAlias = LstmCell | GruCell
_CELLS: dict[CellName, type[LstmCell] | type[GruCell]] = {"lstm": LstmCell, "gru": GruCell}


def recurrent_cell(spec: ModelSpec) -> Cell:
    """Make the cell of a specification with random weights."""
    return _CELLS[spec.cell](spec.code_size, spec.hidden)
