"""Forecasts from many starts at once, each from exactly the past that a protocol allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.evaluation.forecasts import rollouts
from rtsysid.model.predictor import Predictor, Snapshot
from rtsysid.recordings.trace import Episode, Integers
from rtsysid.spec import Floats


class Windows(NamedTuple):
    """Starts of forecasts: number of the episode [K], and row of x_t in it [K]."""

    episode: Integers
    t: Integers


def windows(episodes: Iterable[Episode], first: int, horizon: int) -> Windows:
    """Every start from row `first` on whose forecast stays inside its episode."""
    starts = [np.arange(first, len(episode) - horizon) for episode in episodes]
    return Windows(np.repeat(np.arange(len(starts)), [len(each) for each in starts]), np.concatenate(starts))


def history(values: Floats, t: int, samples: int) -> Floats:
    """What a model may know: the `samples` rows before row t, and that row."""
    return values[t - samples : t + 1]


def forecast(predictor: Predictor, pasts: Iterable[Floats], u_future: Floats) -> Floats:
    """Forecasts [K, N, ny] after each of K pasts [n, C], under inputs [K, N, nu]; u_future[:, 0] acts from x_t on.

    The model starts anew for every past, so that it knows nothing else. Raises SpecError for a past that does not
    fill the delay line.
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
