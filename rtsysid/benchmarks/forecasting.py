"""Compute forecasts from many starts at once, each from the history that a benchmark's protocol allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Integers
from rtsysid.spec import Floats

BATCH = 256  # forecasts per call
State: TypeAlias = tuple[Floats, Floats, Floats]  # window [L, C], h and c [H]


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
    return forecast_from(predictor, _states(predictor, pasts), u_future)


def forecast_from(predictor: Predictor, states: Iterable[State], u_future: Floats) -> Floats:
    """Compute forecasts [K, N, ny] from K snapshots of a predictor, for inputs `u_future` [K, N, nu]."""
    parts, done, following = [], 0, iter(states)
    while batch := list(islice(following, BATCH)):
        window, h, c = (np.stack(part) for part in zip(*batch, strict=True))
        parts.append(predictor.backend.rollout(window, h, c, u_future[done : done + len(batch)]))
        done += len(batch)
    return np.concatenate(parts)


def _states(predictor: Predictor, pasts: Iterable[Floats]) -> Iterator[State]:
    for past in pasts:
        if len(past) < predictor.spec.taps:
            found = f"{predictor.spec.taps}, but the protocol shows {len(past)} samples"
            raise SpecError("taps", found, "configure fewer taps")
        predictor.reset()
        for row in past:
            predictor.step(row)
        yield predictor.snapshot()
