"""Calibrate sampled futures on recordings that the training of their noise did not see.

Noise that is trained on the recordings of the mean is too small: the mean is better there than anywhere else. So the
deviations of futures from the point forecast are stretched until intervals of 90 % hold 90 % of the held-out
measurements, for each group of outputs, and smoothly over the ticks ahead. As for the boxes, each recording is left out
in turn to measure what the factors of the others hold.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtsysid.circle import group_columns
from rtsysid.model.contents import STRETCH_TICKS
from rtsysid.model.coordinates.deviations import FutureStretch
from rtsysid.model.intervals import Intervals
from rtsysid.spec import Doubles
from rtsysid.train.generative.losses import Measured
from rtsysid.train.generative.sampling import Drawn, FutureStart, drawn, sampled_rollout
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, row_windows

STATED, FUTURES, OUTSIDE = 0.9, 39, 1  # of 39 futures the second smallest and the second largest bound 90 %
SEQUENCES, BATCH = 384, 96
LARGEST = 10.0  # factor: beyond it, futures and errors have nothing to do with each other
STIFFNESS = 0.1  # of neighbouring knots, next to 1 for each tick
DEAD = 0.01  # share below which a component counts for nothing


@torch.no_grad()
def calibrate_stretch(network: Network, held_out: Sequences, unit: Tensor, seed: int = 0) -> None:
    """Set the factors `spread.stretch` such that intervals of 90 % hold 90 % of held-out measurements, in place.

    `unit` [N, ny]: of errors after 1 .. N ticks; futures have as many ticks. Raises TraceError where no sequence fits.
    """
    network.eval()
    torch.manual_seed(seed)
    wanted = Intervals.fit(_wanted_by_recording(network, held_out, unit), SEQUENCES)
    factors = wanted.half_widths(min(STATED, wanted.max_coverage), len(unit)).clip(1 / LARGEST, LARGEST)
    for columns in group_columns(network.spec.outputs).values():
        knots = _knots(factors[:, columns].mean(1))
        network.spread.stretch[:, columns] = torch.from_numpy(knots).to(network.spread.stretch)[:, None]


def _knots(wanted: Doubles) -> Doubles:
    """Fit the factors at `STRETCH_TICKS` whose interpolation comes nearest to factors of 1 .. N ticks: [N] -> [K].

    A knot that few ticks touch, or none, is held near the factors of its neighbours.
    """
    ahead, places = np.arange(1, len(wanted) + 1), np.arange(len(STRETCH_TICKS))
    weights = np.stack([np.interp(ahead, STRETCH_TICKS, np.eye(len(places))[k]) for k in places], 1)
    smooth = STIFFNESS * np.diff(np.eye(len(places)), axis=0)
    matrix, right = np.concatenate((weights, smooth)), np.concatenate((wanted, np.zeros(len(smooth))))
    found: Doubles = np.linalg.lstsq(matrix, right, rcond=None)[0].clip(1 / LARGEST, LARGEST)
    return found


def _wanted_by_recording(network: Network, held_out: Sequences, unit: Tensor) -> list[Doubles]:
    """Compute the wanted factors [K, N, ny] of each held-out piece that has a sequence."""
    length = network.spec.settling_samples + len(unit)
    starts = held_out.evenly_spaced(held_out.starts(length, 1), SEQUENCES)
    piece = torch.searchsorted(torch.tensor(held_out.lengths).cumsum(0), starts.contiguous(), right=True)
    found = []
    for own in (starts[piece == k] for k in sorted(set(piece.tolist()))):
        grounds = (ground_after_warmup(network, rows, unit) for rows in held_out.batches(own, BATCH, length))
        found.append(torch.cat([wanted_factors(network, ground) for ground in grounds]).double().cpu().numpy())
    return found


@torch.no_grad()
def wanted_factors(network: Network, ground: Measured) -> Tensor:
    """Compute the smallest factor of each interval of 90 % that holds the measurement: [B, N, ny].

    The interval is that of sampled futures around the point forecast, without the factors of the model. Where no factor
    helps, since futures diverged or are all on the other side, it is `LARGEST`.
    """
    futures, point = sampled_futures(network, ground)
    deviations = FutureStretch(network.spec, torch)
    away = deviations.between(futures, point[:, None]).sort(1).values
    low, high = away[:, OUTSIDE], away[:, -1 - OUTSIDE]
    error = deviations.between(ground.truth, point)
    bound = torch.where(error < 0, -low, high).clamp_min(torch.finfo(error.dtype).tiny)
    return torch.nan_to_num(error.abs() / bound, nan=LARGEST).clamp_max(LARGEST)


def sampled_futures(network: Network, ground: Measured) -> tuple[Tensor, Tensor]:
    """Sample futures without the factors [B, M, N, ny], and forecast their points [B, N, ny]."""
    state, window, plan = (
        part.repeat_interleave(FUTURES, 0) for part in (ground.state, ground.windows[:, 0], ground.plan(network))
    )
    draws = drawn(network.spec, len(state), plan.shape[1], state)
    if network.spec.noise.members > 1:
        shares = torch.softmax(network.members.share, 0)
        draws = Drawn(draws.normal, torch.multinomial(shares, len(state), replacement=True))
    futures = sampled_rollout(network, FutureStart(window, state), plan, draws)
    return futures.view(-1, FUTURES, *futures.shape[1:]), network.rollout(ground.windows, ground.state)


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
