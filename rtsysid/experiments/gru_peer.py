"""Train a plain GRU, the peer that a user would write first: the newest row in, increments of the outputs out.

It runs free over the whole horizon in training, as in use, and each absolute error counts in units of the error that
hold has at the last tick. It is trained for a time, not for a number of epochs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtsysid.benchmarks.robots import HORIZON, NEEDED, PAST
from rtsysid.circle import unwrapped
from rtsysid.errors import TraceError
from rtsysid.spec import Channel, Doubles, Floats, ModelSpec

BATCH, RATE, LAST_RATE, DECAY, CLIP = 128, 2e-3, 0.02, 1e-3, 1.0
JUDGED = 20  # times that the validation recordings choose the weights
VALIDATION_SEQUENCES = 1000


class Best(NamedTuple):
    """Hold the weights of the smallest validation loss so far."""

    loss: float
    weights: dict[str, Tensor]


def processor_shares(seconds: float, clock: Callable[[], float] = time.process_time) -> Iterator[float]:
    """Yield the share 0 .. 1 of `seconds` that has passed on a clock, until they are over."""
    begun = clock()
    while (share := (clock() - begun) / seconds) < 1:
        yield share


class SeenChannels(nn.Module):
    """Turn standardised values of channels into what the network sees: relative ones are left out, angles come back."""

    shown: Tensor  # [n] 1 for a channel that is seen as it is, else 0
    turn: Tensor  # [A] rad per spread of each angle

    def __init__(self, channels: Sequence[Channel], relative: Sequence[str], std: Doubles) -> None:
        super().__init__()
        seen = [channel.name not in relative for channel in channels]
        self.angles = [k for k, channel in enumerate(channels) if channel.angle and seen[k]]
        plain = [each and not channel.angle for each, channel in zip(seen, channels, strict=True)]
        turn = 2 * np.pi / np.array([channels[k].period for k in self.angles], np.float64)
        self.register_buffer("shown", _to_tensor(np.array(plain)))
        self.register_buffer("turn", _to_tensor(turn * std[self.angles]))
        self.width = len(channels) + 2 * len(self.angles)

    def forward(self, values: Tensor) -> Tensor:
        """Return features [..., width] of standardised values [..., n]."""
        if not self.angles:
            return values * self.shown
        phase = values[..., self.angles] * self.turn  # the zero of a phase does not matter
        return torch.cat([values * self.shown, phase.sin(), phase.cos()], -1)


class GruPeer(nn.Module):
    """Predict increments from the newest row by a GRU, a linear map and a hidden layer whose output starts at zero.

    It sees all channels, standardised; an angle as sine and cosine; not the outputs that the specification calls
    relative, which drift. Quaternions keep length one.
    """

    mean: Tensor  # [C]
    std: Tensor  # [C]
    step: Tensor  # [ny] spread of the increments, in spreads of the outputs

    def __init__(self, spec: ModelSpec, train: Sequence[Floats]) -> None:
        super().__init__()
        smooth = [unwrapped(each, spec.channels).astype(np.float64) for each in train]
        rows, steps = np.concatenate(smooth), np.concatenate([np.diff(each, axis=0) for each in smooth])
        mean, std, nu = rows.mean(0), _positive(rows.std(0)), spec.n_inputs
        self.nu, self.rotations = nu, [[column - nu for column in each] for each in spec.rotations]
        self.register_buffer("mean", _to_tensor(mean))
        self.register_buffer("std", _to_tensor(std))
        self.register_buffer("step", _to_tensor(_positive(steps.std(0))[nu:] / std[nu:]))
        self.see_inputs = SeenChannels(spec.inputs, (), std[:nu])
        self.see_outputs = SeenChannels(spec.outputs, spec.relative, std[nu:])
        width, hidden = self.see_inputs.width + self.see_outputs.width, _hidden(len(rows))
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.linear = nn.Linear(width, spec.n_outputs)
        self.hidden_row, self.hidden_state = nn.Linear(width, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Parameter(torch.zeros(hidden, spec.n_outputs))

    def rollout(self, history: Tensor, u_future: Tensor) -> Tensor:
        """Run free from standardised histories [B, L, C] under inputs [B, N, nu]: standardised outputs [B, N, ny].

        The terms of the inputs are computed for all ticks at once: a tick is a few small operations.
        """
        past = history[:, :-1]
        h = self.gru(torch.cat([self.see_inputs(past[..., : self.nu]), self.see_outputs(past[..., self.nu :])], -1))[1][
            0
        ]
        y, out, (of_inputs, of_outputs, bias) = history[:, -1, self.nu :], [], self._row_weights()
        for planned in (self.see_inputs(u_future) @ of_inputs + bias).unbind(1):
            y, h = self._tick(y, h, torch.addmm(planned, self.see_outputs(y), of_outputs))
            out.append(y)
        return torch.stack(out, 1)

    def _row_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Join the maps of a row, to gates, increments and hidden layer: for inputs, for outputs, and the bias."""
        weight_ih, _, bias_ih, _ = self.gru.all_weights[0]
        step = self.step
        weight = torch.cat([weight_ih, self.linear.weight * step[:, None], self.hidden_row.weight]).T
        bias = torch.cat([bias_ih, self.linear.bias * step, self.hidden_row.bias])
        return weight[: self.see_inputs.width], weight[self.see_inputs.width :], bias

    def _tick(self, y: Tensor, h: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Advance outputs and state by one tick, given what the maps of the row say. Ref: the equations of nn.GRU."""
        size, (_, weight_hh, _, bias_hh) = h.shape[1], self.gru.all_weights[0]
        gates, new, linear, hidden = torch.split(row, [2 * size, size, y.shape[1], size], 1)
        state_gates, state_new = torch.split(torch.addmm(bias_hh, h, weight_hh.T), [2 * size, size], 1)
        reset, update = torch.sigmoid(gates + state_gates).chunk(2, 1)
        h = torch.lerp(torch.tanh(new + reset * state_new), h, update)
        corrected = torch.tanh(hidden + self.hidden_state(h))
        return self._unit_quaternions(torch.addmm(y + linear, corrected, self.last * self.step)), h

    def _unit_quaternions(self, y: Tensor) -> Tensor:
        for columns in self.rotations:
            mean, std = (each[self.nu :][columns] for each in (self.mean, self.std))
            q = y[:, columns] * std + mean
            y = y.clone()
            y[:, columns] = (nn.functional.normalize(q, dim=1) - mean) / std
        return y

    @torch.no_grad()
    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Forecast from unwrapped histories [K, L, C] under inputs [K, N, nu], in engineering units: [K, N, ny]."""
        rows, inputs = torch.as_tensor(history), torch.as_tensor(u_future)
        with one_thread():
            y = self.rollout((rows - self.mean) / self.std, (inputs - self.mean[: self.nu]) / self.std[: self.nu])
        return (y * self.std[self.nu :] + self.mean[self.nu :]).double().numpy()


def fit_gru(
    train: Sequence[Floats], validation: Sequence[Floats], spec: ModelSpec, seed: int, shares: Iterable[float]
) -> GruPeer:
    """Train on episodes [n, C], and keep the weights that are best on the validation episodes.

    `shares`: how much of the training is over, 0 .. 1, asked before each batch (`processor_shares`). Raises TraceError
    where no episode of either part has PAST + HORIZON rows.
    """
    with one_thread():
        torch.manual_seed(seed)
        peer = GruPeer(spec, train)
        _descend(peer, _Sequences(peer, train, spec), _Sequences(peer, validation, spec), shares)
    return peer.eval()


def _descend(peer: GruPeer, train: _Sequences, validation: _Sequences, shares: Iterable[float]) -> None:
    optimiser = torch.optim.AdamW(peer.parameters(), lr=RATE, weight_decay=DECAY)
    held_out, unit = validation.evenly(VALIDATION_SEQUENCES), train.unit()
    best, judged = Best(math.inf, peer.state_dict()), 0
    for share in shares:
        if share * JUDGED >= judged + 1:
            best, judged = _better(peer, held_out, unit, best), int(share * JUDGED)
        _step(peer, optimiser, train.drawn(BATCH), unit, RATE * max(LAST_RATE, 0.5 + 0.5 * math.cos(math.pi * share)))
    peer.load_state_dict(_better(peer, held_out, unit, best).weights)


class _Sequences:
    """Cut standardised sequences of NEEDED rows out of episodes, from every row."""

    def __init__(self, peer: GruPeer, episodes: Sequence[Floats], spec: ModelSpec) -> None:
        counts = [max(len(each) - NEEDED + 1, 0) for each in episodes]
        if not sum(counts):
            raise TraceError("GRU", f"no episode of {NEEDED} rows", "give longer recordings")
        first = np.cumsum([0, *map(len, episodes[:-1])])
        starts = [start + np.arange(count) for start, count in zip(first, counts, strict=True)]
        rows = torch.as_tensor(np.concatenate([unwrapped(each, spec.channels) for each in episodes]))
        self.rows, self.nu = (rows - peer.mean) / peer.std, peer.nu
        self.starts = torch.as_tensor(np.concatenate(starts))

    def drawn(self, size: int) -> Tensor:
        """Draw sequences at random: [size, NEEDED, C]."""
        return self._at(self.starts[torch.randint(len(self.starts), (size,))])

    def evenly(self, most: int) -> Tensor:
        """Return at most so many sequences, evenly spaced: [B, NEEDED, C]."""
        return self._at(self.starts[:: -(-len(self.starts) // most)])

    def unit(self) -> Tensor:
        """Compute the mean absolute error of hold at the last tick: [ny]. An output that never moves has the unit 1."""
        newest, last = self.rows[self.starts + PAST - 1], self.rows[self.starts + NEEDED - 1]
        moved = (last - newest)[:, self.nu :].abs().mean(0)
        return torch.where(moved > 0, moved, 1.0)

    def _at(self, starts: Tensor) -> Tensor:
        return self.rows[starts[:, None] + torch.arange(NEEDED)]


def _step(peer: GruPeer, optimiser: torch.optim.Optimizer, rows: Tensor, unit: Tensor, rate: float) -> None:
    """Take one step; a batch whose free run diverges is passed over."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss = _loss(peer, rows, unit)
    if torch.isfinite(loss):
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(peer.parameters(), CLIP)
        optimiser.step()


def _loss(peer: GruPeer, rows: Tensor, unit: Tensor) -> Tensor:
    """Mean absolute error of free runs over sequences [B, NEEDED, C], in the unit [ny] of each output."""
    inputs = rows[:, PAST - 1 : PAST - 1 + HORIZON, : peer.nu]
    predicted = peer.rollout(rows[:, :PAST], inputs)
    return ((predicted - rows[:, PAST:, peer.nu :]).abs() / unit).mean()


@torch.no_grad()
def _better(peer: GruPeer, rows: Tensor, unit: Tensor, best: Best) -> Best:
    """Return the current weights where their validation loss is smaller than the best one."""
    loss = _loss(peer, rows, unit).item()
    return Best(loss, {k: v.clone() for k, v in peer.state_dict().items()}) if loss < best.loss else best


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one core, as the peer is defined."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _hidden(rows: int) -> int:
    return 32 if rows < 3000 else 48 if rows < 10_000 else 64


def _to_tensor(values: NDArray[Any]) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def _positive(spread: Doubles) -> Doubles:
    return np.where(spread > 0, spread, 1.0)
