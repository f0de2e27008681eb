"""Compute forecasts from many starts at once, each from the history that a benchmark's protocol allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.evaluation.forecasts import rollouts
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Integers
from rtsysid.spec import Floats


class Windows(NamedTuple):
    """Hold the starts of forecasts: number of the episode [K], and row of x_t in it [K]."""

    episode: Integers
    t: Integers


def windows(episodes: Iterable[Episode], first: int, horizon: int) -> Windows:
    """List every start from row `first` on whose forecast ends inside its episode."""
    starts = [np.arange(first, len(episode) - horizon) for episode in episodes]
    return Windows(np.repeat(np.arange(len(starts)), [len(each) for each in starts]), np.concatenate(starts))


def history(values: Floats, t: int, samples: int) -> Floats:
    """Return the history of a forecast: row t of `values` [n, C], and the `samples` rows before it."""
    return values[t - samples : t + 1]


def forecast(predictor: Predictor, pasts: Iterable[Floats], u_future: Floats) -> Floats:
    """Compute forecasts [K, N, ny] after each of K histories [n, C], for inputs [K, N, nu]; u_future[:, 0] acts at x_t.

    The model is reset before every history. Raises SpecError for a history shorter than the delay line.
    """
    return rollouts(predictor, _snapshots_after(predictor, pasts), u_future)


def _snapshots_after(predictor: Predictor, pasts: Iterable[Floats]) -> Iterator[Snapshot]:
    for past in pasts:
        if len(past) < predictor.spec.taps:
            found = f"{predictor.spec.taps}, but the protocol shows {len(past)} samples"
            raise SpecError("taps", found, "configure fewer taps")
        predictor.reset()
        for row in past:
            predictor.step(row)
        yield predictor.snapshot()
