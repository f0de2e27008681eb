"""Null models: distributions around the same point forecast that know nothing of the moment they are made at.

``box``: every tick and output is drawn by itself from the errors of other recordings, with either sign, as the box of
conformal intervals suggests. ``residuals``: the whole error of another forecast is added, all ticks and outputs
together. That keeps every correlation, and is hard to beat. Ref: H. R. Künsch, Annals of Statistics 17 (1989) 1217.
"""

from __future__ import annotations

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.spec import Doubles

NULLS = ("box", "residuals")


def null_futures(name: str, pool: Doubles, count: int, rng: np.random.Generator) -> Doubles:
    """Draw `count` deviations from the point forecast, [count, N, ny], from the errors [K, N, ny] of other forecasts.

    Raises TraceError where there is no other forecast.
    """
    if not len(pool):
        raise TraceError("null models", "no forecast of another recording", "give more recordings, or longer ones")
    if name == "residuals":
        return pool[rng.integers(len(pool), size=count)]
    _, ticks, outputs = pool.shape
    drawn = rng.integers(len(pool), size=(count, ticks, outputs))
    signs = rng.choice((-1.0, 1.0), size=drawn.shape)
    return np.asarray(signs * pool[drawn, np.arange(ticks)[:, None], np.arange(outputs)])
