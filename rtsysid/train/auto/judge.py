"""Judge a network on recordings that it was not trained on, next to its own linear model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.maps import bounded_errors
from rtsysid.evaluation.metrics import log_ratio
from rtsysid.spec import Doubles
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, row_windows

STARTS = 500  # forecasts
BATCH = 256
BLOCK = 10  # neighbouring forecasts that count as one
SURE = 1.0  # standard errors by which the network must be better


class JudgedRows(NamedTuple):
    """Hold the validation sequences [K, R, C] and the ticks ahead that they are judged on."""

    rows: Tensor
    horizon: int


def ground_of(validation: Sequences, settling: int, horizon: int, count: int = STARTS) -> JudgedRows:
    """Cut about `count` sequences out of the validation recordings."""
    length = settling + horizon
    starts = validation.evenly_spaced(validation.starts(length, 1), count)
    return JudgedRows(validation.rows(starts, length), horizon)


@torch.no_grad()
def errors_on(network: Network, ground: JudgedRows) -> Doubles:
    """Compute the error of each forecast by group and tick: [K, G, N]."""
    network.eval()
    spec = network.spec
    first, found = spec.settling_samples, []
    for rows in torch.split(ground.rows, BATCH):
        windows = row_windows(rows, spec.taps)
        state = network.initial_state(windows[:, 0])
        forced = first - spec.taps
        if forced:
            _, state = network.sequence(windows[:, :forced], state)
        predicted = free_run(network, windows[:, forced : forced + ground.horizon], state)
        truth = rows[:, first:, spec.n_inputs :]
        found.append(bounded_errors(spec, predicted.double().numpy(), truth.numpy()))
    return np.concatenate(found)


@torch.no_grad()
def fit_gains(network: Network, ground: JudgedRows, target_groups: Sequence[str]) -> tuple[Doubles, Doubles]:
    """Lower the gain of the head, by group and band of ages, where the network is not surely better without it.

    Bands of ages that no forecast reaches get the gain of the band before. Where there are too few forecasts to be sure
    of anything, all gains are 0. Returns the errors of the linear model and of the network with these gains, [K, G, N].
    """
    network.head_gain.zero_()
    linear = errors_on(network, ground)
    if len(linear) < 2 * BLOCK:
        return linear, linear
    network.head_gain.fill_(1.0)
    errors = errors_on(network, ground)
    edges = (0, *(age for age in network.spec.age_bands if age < ground.horizon), ground.horizon)
    bands = [(band, slice(*ticks)) for band, ticks in enumerate(pairwise(edges))]
    for (band, ticks), (row, group) in product(bands, enumerate(group_columns(network.spec.outputs))):
        moved = torch.tensor([name == group for name in target_groups])
        for gain in (0.5, 0.0):
            if surely_better(errors[:, row, ticks], linear[:, row, ticks]):
                break
            kept = network.head_gain.clone()
            network.head_gain[band:, moved] = gain
            trial = errors_on(network, ground)
            if log_ratio(trial.mean(0), linear.mean(0)) > log_ratio(errors.mean(0), linear.mean(0)):
                network.head_gain.copy_(kept)
                break
            errors = trial
    return linear, errors


def surely_better(errors: Doubles, reference: Doubles) -> bool:
    """Tell whether errors [K, n] are below others by `SURE` standard errors of the mean difference.

    Neighbouring forecasts resemble each other: ten of them count as one. Of fewer than two such blocks nothing is sure.
    """
    difference = (errors - reference).mean(1)
    count = len(difference) // BLOCK
    blocks = np.array([block.mean() for block in np.array_split(difference, max(1, count))])
    return bool(count > 1 and blocks.mean() < -SURE * blocks.std(ddof=1) / np.sqrt(len(blocks)))
