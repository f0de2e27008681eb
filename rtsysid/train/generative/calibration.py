"""Calibrate the noise on recordings that its training did not see: one factor for each target and band of ticks ahead.

Noise that is trained on the recordings of the mean is too small: the mean is better there than anywhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtsysid.schedule import Loss
from rtsysid.train.generative.losses import Measured, noise_loss
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, row_windows

SEQUENCES, BATCH = 1024, 32
STEPS, RATE, FUTURES = 60, 0.08, 8


def calibrate_spread(network: Network, held_out: Sequences, unit: Tensor, seed: int = 0) -> None:
    """Minimise the score of sampled futures on held-out sequences by the factors `spread.age` alone, in place.

    `unit` [N, ny]: of errors after 1 .. N ticks; futures have as many ticks. Raises TraceError where no sequence fits.
    """
    spec, ticks = network.spec, len(unit)
    length = spec.settling_samples + ticks
    starts = held_out.evenly_spaced(held_out.starts(length, 1), SEQUENCES)
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    factors = network.spread.age.requires_grad_(True)
    adam, loss = torch.optim.Adam([factors], RATE), Loss("score", horizon=ticks, futures=FUTURES)
    torch.manual_seed(seed)
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        rows = held_out.rows(starts[torch.randperm(len(starts))[:BATCH]], length)
        adam.zero_grad()
        noise_loss(network, loss, ground_after_warmup(network, rows, unit)).backward()  # type: ignore[no-untyped-call]
        adam.step()


@torch.no_grad()
def ground_after_warmup(network: Network, rows: Tensor, unit: Tensor) -> Measured:
    """Warm the state up by the first rows of sequences [B, R, C], and return the last N ticks to sample."""
    spec, ticks = network.spec, len(unit)
    windows = row_windows(rows, spec.taps)
    state, forced = network.initial_state(windows[:, 0]), spec.settling_samples - spec.taps
    if forced:
        _, state = network.sequence(windows[:, :forced], state)
    truth = rows[:, spec.settling_samples :, spec.n_inputs :]
    return Measured(windows[:, forced : forced + ticks], state, truth[:, :ticks], unit)
