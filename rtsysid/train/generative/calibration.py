"""Calibrate the noise on recordings that its training did not see: one factor for each band of ticks ahead.

Noise that is trained on the recordings of the mean is too small: the mean is better there than anywhere else. The
factors are moved until intervals of 90 % hold 90 % of the held-out measurements at every band.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtsysid.model.contents import SPREAD_AGES
from rtsysid.train.generative.losses import Measured
from rtsysid.train.generative.sampling import Drawn, FutureStart, drawn, sampled_rollout
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, row_windows

STATED, FUTURES, OUTSIDE = 0.9, 39, 1  # of 39 futures the second smallest and the second largest bound 90 %
SEQUENCES, BATCH, ROUNDS = 1024, 96, 10
SLOPE = 0.34  # how much the coverage of 90 % of a normal distribution grows with the logarithm of its scale
CAREFUL = 0.7  # share of a step: noise of early ticks reaches later ones, too
DEAD = 0.01  # share below which a component counts for nothing
LARGEST = 0.5  # step of the logarithm of a factor


@torch.no_grad()
def calibrate_spread(network: Network, held_out: Sequences, unit: Tensor, seed: int = 0) -> None:
    """Move the factors `spread.age` until 90 % of held-out measurements lie inside the intervals of 90 %, in place.

    `unit` [N, ny]: of errors after 1 .. N ticks; futures have as many ticks. Raises TraceError where no sequence fits.
    """
    length = network.spec.settling_samples + len(unit)
    starts = held_out.evenly_spaced(held_out.starts(length, 1), SEQUENCES)
    network.eval()
    torch.manual_seed(seed)
    first = [0, *(age for age in SPREAD_AGES if age < len(unit))]
    ends = [*first[1:], len(unit)]
    for _ in range(ROUNDS):
        rows = held_out.rows(starts[torch.randperm(len(starts))[:BATCH]], length)
        inside = covered_shares(network, ground_after_warmup(network, rows, unit))
        for band, (begin, end) in enumerate(zip(first, ends, strict=True)):
            lacking = STATED - inside[begin:end].mean().item()
            network.spread.age[band] += max(-LARGEST, min(LARGEST, CAREFUL * lacking / SLOPE))
        network.spread.age[len(first) :] = network.spread.age[len(first) - 1]


@torch.no_grad()
def covered_shares(network: Network, ground: Measured) -> Tensor:
    """Compute the share of measurements inside the intervals of 90 % of sampled futures, by ticks ahead: [N]."""
    state, window, plan = (
        part.repeat_interleave(FUTURES, 0) for part in (ground.state, ground.windows[:, 0], ground.plan(network))
    )
    draws = drawn(network.spec, len(state), plan.shape[1], state)
    if network.spec.noise.members > 1:
        shares = torch.softmax(network.members.share, 0)
        draws = Drawn(draws.normal, torch.multinomial(shares, len(state), replacement=True))
    futures = sampled_rollout(network, FutureStart(window, state), plan, draws)
    futures = futures.view(-1, FUTURES, *futures.shape[1:])
    errors = network.coordinates.error(futures, ground.truth[:, None]).sort(1).values
    inside: Tensor = (errors[:, OUTSIDE] <= 0) & (errors[:, -1 - OUTSIDE] >= 0)
    return inside.double().mean((0, 2))


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


def dead_members(network: Network) -> str:
    """Say in one line which components of a mixture are never drawn, and what to do; empty where all live."""
    if network.spec.noise.members < 2:
        return ""
    shares = torch.softmax(network.members.share.detach(), 0).tolist()
    dead = [f"{k + 1} ({100 * share:.1f} %)" for k, share in enumerate(shares) if not share > DEAD]
    return f"member {', '.join(dead)} has died; train again with another seed, or use gaussian" if dead else ""
