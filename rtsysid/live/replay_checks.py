"""Check that a replay says something: the recording has the rate of the model, and some sample is answered."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.live.session import Prediction, Session
from rtsysid.recordings.time_column import stated_time
from rtsysid.recordings.timeline import check_typical_rate
from rtsysid.spec import Sample

RATE_SAMPLES = 1000  # samples at the start of a recording that show its rate


def at_rate(samples: Iterable[Sample], rate_hz: float, name: str, time: str = "") -> Iterator[Sample]:
    """Return the samples of the recording `name` after a look at the first ones. Gaps and repeated times are allowed.

    `time` is the setting of the time column. Raises TraceError where they have another rate than `rate_hz`.
    """
    rest = iter(samples)
    first = list(itertools.islice(rest, RATE_SAMPLES))
    check_typical_rate(name, np.array([sample.t for sample in first]), rate_hz, stated_time(time))
    return itertools.chain(first, rest)


def require_answers(predictions: Iterable[Prediction], session: Session, name: str) -> Iterator[Prediction]:
    """Yield the predictions of a session. At the end, raises TraceError where no sample of `name` was answered."""
    yield from predictions
    health = session.health
    if not health.predictions:
        reasons = f"{health.rejected} rejected, {health.late} late, {health.warm_up} in warm-up"
        needed = f"a model with {session.spec.settling_samples} samples to settle needs more, in order and without NaN"
        raise TraceError(f"recording {name}", f"none of {health.samples} samples was answered: {reasons}", needed)
