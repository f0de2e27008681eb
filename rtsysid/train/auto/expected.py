"""State the error to expect on new recordings, from what each fold of the recordings shows when it is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtsysid.evaluation.expectation import Expectation, GroupExpectation
from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.spec import Doubles

TICKS = (1, 2, 5, 10, 20, 50)
QUANTILE = 1.28  # of a normal distribution: 80 % lie inside
LARGEST = 1e30  # error that is stated
SMALL = 0.05  # of the mean error: a fold without motion, where hold is exact, says no more than that it is small
FLOOR = 0.03  # relative spread that no number of recordings rules out


def expected_errors(choice: LinearChoice) -> Expectation:
    """Return the expected error of the linear model by group and tick, and the interval that should hold 80 %."""
    judged = choice.judged
    logs = np.log(np.maximum(judged.errors, np.maximum(SMALL * judged.mean, 1e-30)))  # [f, G, N]
    reach = np.exp(QUANTILE * np.sqrt(logs.var(0, ddof=1) * (1 + 1 / len(logs)) + FLOOR**2))
    ticks = tuple(n for n in TICKS if n <= reach.shape[1])
    at = [n - 1 for n in ticks]
    values = [np.minimum(each, LARGEST)[:, at] for each in (judged.mean, judged.mean / reach, judged.mean * reach)]
    groups = {
        group: GroupExpectation(ticks, *(tuple(each[row].tolist()) for each in values))
        for row, group in enumerate(choice.groups)
    }
    return Expectation(groups, groups)


def with_network(stated: Expectation, ratio: Doubles) -> Expectation:
    """Scale the linear model's expected errors by what the network leaves of them, [G, N]."""
    groups = {
        name: _multiplied(group, [float(row[n - 1]) for n in group.ticks])
        for (name, group), row in zip(stated.linear.items(), ratio, strict=True)
    }
    return Expectation(groups, stated.linear)


def _multiplied(group: GroupExpectation, factors: Sequence[float]) -> GroupExpectation:
    limits = (np.minimum(np.multiply(each, factors), LARGEST) for each in (group.error, group.low, group.high))
    return GroupExpectation(group.ticks, *(tuple(each.tolist()) for each in limits))
