"""Judge a network on recordings that it was not trained on, next to its own linear model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.maps import bounded_errors
from rtsysid.evaluation.metrics import LEAST, log_ratio, octaves
from rtsysid.spec import Doubles
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, row_windows

STARTS = 500  # forecasts
BATCH = 256
BLOCK = 10  # neighbouring forecasts that count as one, at least
SURE = 1.0  # standard errors by which the network must be better
EARLIER = 0.1  # share of a group's error that a replacement must save where it begins a band earlier


class JudgedRows(NamedTuple):
    """Hold validation sequences [K, R, C], one part for each length, and the ticks ahead that they are judged on.

    The last ``horizon`` rows of a sequence are forecast; those before them warm the network up. ``order`` sorts the
    forecasts of all parts by time; so many neighbours as ``block`` says count as one.
    """

    parts: tuple[Tensor, ...]
    horizon: int
    order: Tensor
    block: int = BLOCK


def ground_of(validation: Sequences, settling: int, horizon: int, count: int = STARTS) -> JudgedRows:
    """Cut about `count` sequences out of the validation recordings.

    Where most of these are long enough, half of the sequences have the longer history of the training: see
    `Sequences.histories`.
    Forecasts of the same rows are no two proofs: a block of neighbours covers at least `horizon` rows.
    """
    needed = settling + horizon
    lengths = [needed + further for further in validation.histories(needed)]
    every = {length: validation.starts(length, 1) for length in lengths}
    starts = {length: validation.evenly_spaced(each, count // len(lengths)) for length, each in every.items()}
    newest = torch.cat([each + length for length, each in starts.items()])
    block = max(BLOCK, math.ceil(horizon * len(newest) / len(every[needed])))
    parts = tuple(validation.rows(each, length) for length, each in starts.items())
    return JudgedRows(parts, horizon, newest.argsort(stable=True), block)


@torch.no_grad()
def errors_on(network: Network, ground: JudgedRows) -> Doubles:
    """Compute the error of each forecast by group and tick, in time order: [K, G, N]."""
    network.eval()
    batches = (rows for part in ground.parts for rows in torch.split(part, BATCH))
    errors = np.concatenate([_errors_of(network, rows, ground.horizon) for rows in batches])
    in_time: Doubles = errors[ground.order.numpy()]
    return in_time


def _errors_of(network: Network, rows: Tensor, horizon: int) -> Doubles:
    """Compute the error of the forecasts of the last `horizon` rows of sequences [K, R, C]: [K, G, N]."""
    spec = network.spec
    windows, first = row_windows(rows, spec.taps), rows.shape[1] - horizon
    state, forced = network.initial_state(windows[:, 0]), first - spec.taps
    if forced:
        _, state = network.sequence(windows[:, :forced], state)
    predicted = free_run(network, windows[:, forced : forced + horizon], state)
    return bounded_errors(spec, predicted.double().numpy(), rows[:, first:, spec.n_inputs :].numpy())


class Gains:
    """Mix the linear model and a network by group of outputs and band of ages.

    ``shares`` [K, G]: 0 is the linear model with its gains, 1 the network as it was trained.
    """

    def __init__(self, network: Network, linear_gain: Tensor, target_groups: Sequence[str], ground: JudgedRows) -> None:
        """`linear_gain` [K, T]: the gains of the linear model alone."""
        self.network, self.ground, self._linear = network, ground, linear_gain
        self._trained = network.linear_gain.detach().clone(), network.head_gain.detach().clone()
        self.groups = list(group_columns(network.spec.outputs))
        self.replaces = not torch.equal(self._trained[0], linear_gain)
        self._rows = torch.tensor([self.groups.index(name) for name in target_groups])
        edges = (0, *(age for age in network.spec.age_bands if age < ground.horizon), ground.horizon)
        self.bands = [slice(*ticks) for ticks in pairwise(edges)]
        self.shares = np.zeros((network.spec.n_bands, len(self.groups)))
        self.linear = self._errors(self.shares)
        self.errors = self.linear

    def _errors(self, shares: Doubles) -> Doubles:
        """Set a mixture and measure its errors [K, G, N]."""
        self._set(shares)
        return errors_on(self.network, self.ground)

    def _set(self, shares: Doubles) -> None:
        share = torch.from_numpy(shares).float()[:, self._rows]
        linear, head = self._trained
        self.network.linear_gain.copy_(torch.lerp(self._linear, linear, share))
        self.network.head_gain.copy_(head * share)

    def score(self, errors: Doubles) -> float:
        """Return the mean logarithm of errors [K, G, N] over the linear model's; octaves of ticks weigh alike."""
        return log_ratio(errors.mean(0), self.linear.mean(0))

    def use(self, shares: Doubles) -> None:
        """Take a mixture [K, G] as it is."""
        self.shares, self.errors = shares, self._errors(shares)

    def try_out(self, shares: Doubles, saved: float = 0.0) -> bool:
        """Take a mixture [K, G] if its score is lower by `saved`, and tell whether it was; else keep the one before."""
        errors = self._errors(shares)
        better = self.score(errors) <= self.score(self.errors) - saved
        if better:
            self.shares, self.errors = shares, errors
        else:
            self._set(self.shares)
        return better


@torch.no_grad()
def fit_gains(network: Network, linear_gain: Tensor, ground: JudgedRows, target_groups: Sequence[str]) -> Gains:
    """Use less of the network, by group and band of ages, where it is not surely better than the linear model.

    Where it is not, half of a correction is tried, then nothing; what is not worse stays. So a network whose mean is
    better by less than `SURE` standard errors may stay.
    Bands of ages that no forecast reaches get the share of the band before. Where there are too few forecasts to be
    sure of anything, the linear model stays. `linear_gain` [K, T]: its gains.
    """
    gains = Gains(network, linear_gain, target_groups, ground)
    if len(gains.linear) < 2 * ground.block:
        return gains
    gains.use(np.ones_like(gains.shares))
    gains.try_out(_later_shares(gains))
    for row in range(len(gains.groups)):
        _begin_earlier(gains, row)
    for (band, ticks), row in product(enumerate(gains.bands), range(len(gains.groups))):
        for share in (0.0,) if gains.replaces else (0.5, 0.0):  # half of a map that feeds back alone may diverge
            if surely_better(gains.errors[:, row, ticks], gains.linear[:, row, ticks], ground.block):
                break
            trial = gains.shares.copy()
            trial[band:, row] = np.minimum(trial[band:, row], share)
            if not gains.try_out(trial):
                break
    return gains


def _later_shares(gains: Gains) -> Doubles:
    """Return shares with the linear model in the first bands of each group, as long as its error is smaller."""
    shares, errors, linear = gains.shares.copy(), gains.errors.mean(0), gains.linear.mean(0)
    for row in range(len(gains.groups)):
        better = [errors[row, ticks].mean() < linear[row, ticks].mean() for ticks in gains.bands]
        shares[: better.index(True) if any(better) else len(shares), row] = 0.0
    return shares


def _begin_earlier(gains: Gains, row: int) -> None:
    """Let the network begin a band earlier, and another one, as long as that is clearly better.

    Rows that the linear model predicted are nearer to the truth than the network's own, which it was judged by. A small
    gain on recordings that resemble the training may be a loss on others.
    """
    for band in range(np.count_nonzero(gains.shares[:, row] == 0) - 1, -1, -1):
        trial = gains.shares.copy()
        trial[band:, row] = 1.0
        if not gains.try_out(trial, EARLIER / len(gains.groups)):
            return


def least_regret(errors: Mapping[str, Doubles]) -> str:
    """Return the name whose errors [G, N] are, where they are larger than the smallest ones, the least so.

    The logarithm of an error in ratio to the smallest one is squared: one bad horizon counts more than two fair ones.
    """
    least = np.maximum(np.minimum.reduce(list(errors.values())), LEAST)
    regret = {name: np.log(np.maximum(each, LEAST) / least) ** 2 for name, each in errors.items()}
    return min(errors, key=lambda name: float(np.mean(regret[name] @ octaves(least.shape[1]))))


def surely_better(errors: Doubles, reference: Doubles, block: int = BLOCK) -> bool:
    """Tell whether errors [K, n] are below others by `SURE` standard errors of the mean difference.

    Neighbouring forecasts resemble each other: so many of them as `block` says count as one. Of fewer than two such
    blocks nothing is sure.
    """
    difference = (errors - reference).mean(1)
    count = len(difference) // block
    blocks = np.array([each.mean() for each in np.array_split(difference, max(1, count))])
    return bool(count > 1 and blocks.mean() < -SURE * blocks.std(ddof=1) / np.sqrt(len(blocks)))


def ratio(errors: Doubles, linear: Doubles) -> Doubles:
    """Return the mean errors [K, G, N] in ratio to those of the linear model, 1 where neither has any: [G, N]."""
    found: Doubles = np.maximum(errors.mean(0), LEAST) / np.maximum(linear.mean(0), LEAST)
    return found
