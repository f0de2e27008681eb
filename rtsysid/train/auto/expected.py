"""State the error to expect on new recordings, from what each fold of the recordings shows when it is left out."""

from __future__ import annotations

import numpy as np

from rtsysid.evaluation.expectation import Expectation, GroupExpectation
from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.evaluation.metrics import LEAST
from rtsysid.spec import Doubles
from rtsysid.train.auto.judge import ratio

TICKS = (1, 2, 5, 10, 20, 50)
QUANTILE = 1.28  # of a normal distribution: 80 % lie inside
LARGEST = 1e30  # error that is stated
SMALL = 0.05  # of the mean error: a fold without motion, where hold is exact, says no more than that it is small
PARTS = 5  # of the validation recordings, that show how far the network's share of the error differs
FLOOR = 0.05  # relative spread that no number of recordings rules out


def expected_errors(choice: LinearChoice) -> Expectation:
    """Return the expected error of the linear model by group and tick, and the interval that should hold 80 %."""
    judged = choice.judged
    logs = np.log(np.maximum(judged.errors, np.maximum(SMALL * judged.mean, 1e-30)))  # [f, G, N]
    reach = np.exp(QUANTILE * np.sqrt(_shrunk(logs.var(0, ddof=1)) * (1 + 1 / len(logs)) + FLOOR**2))
    ticks = tuple(n for n in TICKS if n <= reach.shape[1])
    at = [n - 1 for n in ticks]
    values = [np.minimum(each, LARGEST)[:, at] for each in (judged.mean, judged.mean / reach, judged.mean * reach)]
    groups = {
        group: GroupExpectation(ticks, *(tuple(each[row].tolist()) for each in values))
        for row, group in enumerate(choice.groups)
    }
    return Expectation(groups, groups)


def _shrunk(variance: Doubles) -> Doubles:
    """Average each variance [G, N] with the mean of its group: a few folds show little about a single tick."""
    return np.asarray((variance + variance.mean(1, keepdims=True)) / 2)


def with_network(stated: Expectation, errors: Doubles, linear: Doubles) -> Expectation:
    """Scale the linear model's expected errors by what the network leaves of them.

    `errors`, `linear` [K, G, N]: of both, forecast by forecast in time order. The interval grows by the spread of their
    ratio over parts of the recordings, for recordings that are as long.
    """
    rows = zip(stated.linear.items(), ratio(errors, linear), _spread(errors, linear), strict=True)
    return Expectation({name: _scaled(group, *each) for (name, group), *each in rows}, stated.linear)


def _spread(errors: Doubles, linear: Doubles) -> Doubles:
    """Return the standard deviation [G, N] of the logarithm of the ratio, between two recordings of this length."""
    if len(errors) < PARTS:
        return np.zeros(errors.shape[1:])
    parts = zip(np.array_split(errors, PARTS), np.array_split(linear, PARTS), strict=True)
    logs = np.log(np.maximum([ratio(*part) for part in parts], LEAST))
    return np.asarray(logs.std(0, ddof=1) * np.sqrt(2 / PARTS))


def _scaled(group: GroupExpectation, left: Doubles, spread: Doubles) -> GroupExpectation:
    """Multiply errors by a ratio [N] whose logarithm has a spread [N], independent of the spread of the errors."""
    at = [n - 1 for n in group.ticks]
    error, high = (np.maximum(each, 1e-30) for each in (group.error, group.high))
    reach = np.exp(np.hypot(np.log(high / error), QUANTILE * spread[at]))
    values = [np.minimum(each * left[at], LARGEST).tolist() for each in (group.error, error / reach, error * reach)]
    return GroupExpectation(group.ticks, *map(tuple, values))
