"""Forecasts from many starts at once, each from exactly the past that a protocol allows."""

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
    return forecast_from(predictor, _states(predictor, pasts), u_future)


def forecast_from(predictor: Predictor, states: Iterable[State], u_future: Floats) -> Floats:
    """The same from K states of a predictor, each of them a snapshot: window, h and c."""
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
