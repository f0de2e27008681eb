"""Proper scores of samples: energy score, CRPS, variogram score; coverage, width and PIT of their quantiles.

M futures and the truth of one forecast have D values, or N ticks of ny outputs. All estimators of scores are fair: they
do not prefer few samples or many. Ref: T. Gneiting, A. Raftery, J. Am. Stat. Assoc. 102 (2007) 359; C. Ferro, Q. J. R.
Meteorol. Soc. 140 (2014) 1917 (fair scores); M. Scheuerer, T. Hamill, Mon. Weather Rev. 143 (2015) 1321 (variogram).
"""

from __future__ import annotations

import numpy as np

from rtsysid.model.intervals import require_two
from rtsysid.spec import Doubles

STATED = (0.5, 0.8, 0.9, 0.95)  # coverages of central intervals
BINS = 10  # of a PIT histogram


def energy_score(futures: Doubles, truth: Doubles) -> float:
    """Compute the fair energy score of futures [M, D] for the truth [D]; smaller is better.

    Raises SpecError for fewer than two futures.
    """
    count = require_two(futures)
    to_truth = np.linalg.norm(futures - truth, axis=1).mean()
    squares = (futures * futures).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * futures @ futures.T, 0.0))
    np.fill_diagonal(apart, 0.0)  # rounding leaves a little there
    return float(to_truth - apart.sum() / (2 * count * (count - 1)))


def crps(futures: Doubles, truth: Doubles) -> Doubles:
    """Compute the fair continuous ranked probability score of each value: [M, ...], [...] -> [...].

    Raises SpecError for fewer than two futures.
    """
    count = require_two(futures)
    weights = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * truth.ndim)
    apart = (weights * np.sort(futures, axis=0)).sum(0) / (count * (count - 1))
    score: Doubles = np.abs(futures - truth).mean(0) - apart
    return score


def variogram_score(futures: Doubles, truth: Doubles) -> float:
    """Compute the variogram score of order 1/2 over all pairs of values: futures [M, D], truth [D].

    It sees correlations: the mean square of the difference between |truth_i - truth_j|^(1/2) and its mean over futures.
    """
    i, j = np.triu_indices(len(truth), 1)
    expected = np.sqrt(np.abs(futures[:, i] - futures[:, j])).mean(0)
    return float(np.mean((np.sqrt(np.abs(truth[i] - truth[j])) - expected) ** 2))


def pit(futures: Doubles, truth: Doubles, rng: np.random.Generator) -> Doubles:
    """Compute the randomised rank of each true value among the futures, 0 .. 1: [M, ...], [...] -> [...].

    Uniform where the futures have the distribution of the truth. Ref: A. P. Dawid, J. R. Stat. Soc. A 147 (1984) 278.
    """
    below, ties = (futures < truth).sum(0), (futures == truth).sum(0)
    ranks: Doubles = (below + rng.random(truth.shape) * (ties + 1)) / (len(futures) + 1)
    return ranks
