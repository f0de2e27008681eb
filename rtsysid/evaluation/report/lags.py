"""Find at which lags inputs still drive the one-step error: the dead time, and the taps that a window needs.

Inputs move slowly, so that a plain correlation is smeared over many lags. Each input is made white first, by a filter
that predicts it from its own past; the error passes the same filter. What then correlates is the response itself.
Ref: G. Box, G. Jenkins, Time Series Analysis, 1970, section 11.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from rtsysid.evaluation.residuals import cross_sums, lags_for
from rtsysid.spec import Doubles, ModelSpec

ORDER = 12  # of the filter that makes an input white
SMALL = 0.3  # of the largest correlation: the response goes on
LEAST = 0.05  # correlation that is worth a word
INTEGRATED = 3  # ticks after which a force has moved a position, without any dead time
FALSE_ALARM = 0.01  # of one input and all outputs and lags


class MissedLags(NamedTuple):
    """Describe the response of the error to an input beyond what the model used.

    ``first`` to ``last``: lags in ticks at which it is large, 1 for the input of the row before; ``peak``: the largest,
    with its correlation ``strength``, of `output`. ``begins``: the lag at which the output itself begins to move.
    """

    input: str
    output: int
    first: int
    last: int
    peak: int
    strength: float
    begins: int

    def dead_time(self, taps: int) -> bool:
        """Tell whether the output begins to move after the window has ended: the input acts late as a whole.

        A response that goes on from the window into the rows before it lacks rows, and no time is dead.
        """
        return self.begins > max(taps, INTEGRATED) and self.first > max(taps + 1, INTEGRATED)


class LateInput(NamedTuple):
    """State that an input acts on outputs ``ticks`` after the first row that it may act on, ``low`` to ``high``.

    ``undelayed``: share of what the input explains there that it explains without a delay.
    """

    input: str
    ticks: int
    low: int
    high: int
    undelayed: float


def missed_lags(
    spec: ModelSpec, inputs: Sequence[Doubles], errors: Sequence[Doubles], measured: Sequence[Doubles], horizon: int
) -> list[MissedLags]:
    """Return the inputs [n, nu] of each episode whose rows from before the window drive the error, the strongest first.

    `errors`: residuals [n, nq] of each episode; `measured`: what they are errors of.
    """
    reach = lags_for(errors, horizon)
    columns = ([each[:, k : k + 1] for each in inputs] for k in range(spec.n_inputs))
    found = [
        _of_input(channel.name, spec.taps, own, errors, measured, reach)
        for channel, own in zip(spec.inputs, columns, strict=True)
    ]
    return sorted((each for each in found if each is not None), key=lambda each: -each.strength)


def _of_input(
    name: str,
    taps: int,
    inputs: Sequence[Doubles],
    errors: Sequence[Doubles],
    measured: Sequence[Doubles],
    reach: int,
) -> MissedLags | None:
    whitener = _whitener(inputs)
    if reach <= taps or whitener is None:
        return None
    u = [_filtered(x, whitener) for x in inputs]
    r = _responses(errors, u, whitener, reach)
    bound = NormalDist().inv_cdf(1 - FALSE_ALARM / 2 / r.size) / np.sqrt(sum(map(len, u)))
    beyond = np.abs(r[taps:])
    peak, output = map(int, np.unravel_index(int(beyond.argmax()), beyond.shape))
    strength = float(beyond[peak, output])
    if strength < max(3 * bound, LEAST):
        return None
    large = np.flatnonzero(beyond[:, output] > max(SMALL * strength, bound)) + taps + 1
    own = [each[:, output : output + 1] for each in measured]
    changes = [np.diff(y, axis=0, prepend=y[:1]) for y in own]
    moved = _responses(changes, u, whitener, reach)[:, 0]
    begins = int(np.flatnonzero(np.abs(moved) > SMALL * np.abs(moved).max()).min()) + 1
    return MissedLags(name, output, int(large.min()), int(large.max()), peak + taps + 1, strength, begins)


def _responses(series: Sequence[Doubles], u: Sequence[Doubles], whitener: Doubles, reach: int) -> Doubles:
    """Return the correlation of series [n, m] with a white input at lags 1 .. `reach`, [reach, m]."""
    e = [_filtered(x, whitener) for x in series]
    scale = np.sqrt(sum((x**2).sum(0) for x in e) * sum((x**2).sum(0) for x in u))
    sums = cross_sums(e, u, reach)[reach + 1 :, :, 0]
    return np.asarray(np.divide(sums, scale, where=scale > 0, out=np.zeros_like(sums)))


def _whitener(inputs: Sequence[Doubles]) -> Doubles | None:
    """Return the filter [ORDER + 1] whose output is white for an input, or None where the input does not move."""
    longest = max(inputs, key=len)[:, 0]
    mean = float(np.concatenate(inputs).mean())
    if len(longest) < 4 * ORDER or not np.ptp(longest):
        return None
    rows = [x[:, 0] - mean for x in inputs if len(x) > 2 * ORDER]
    past = np.concatenate([np.lib.stride_tricks.sliding_window_view(x[:-1], ORDER) for x in rows])
    now = np.concatenate([x[ORDER:] for x in rows])
    gram = past.T @ past
    weights = np.linalg.solve(gram + 1e-6 * np.trace(gram) / ORDER * np.eye(ORDER), past.T @ now)
    return np.concatenate(([1.0], -weights[::-1]))


def _filtered(x: Doubles, whitener: Doubles) -> Doubles:
    """Filter each column of a series [n, m]: [n - ORDER, m], or nothing of a series that is too short."""
    x = x - x.mean(0)
    columns = [np.convolve(column, whitener, "valid") for column in x.T] if len(x) > ORDER else []
    return np.stack(columns, 1) if columns else np.zeros((0, x.shape[1]))
