"""Reproduce a recorded live session from the bytes on the wire, and compare the predictions with the recorded ones.

The decoder of the live session decodes the recorded bytes. The samples that the session was fed are fed to a session
with the same settings. Only the age of each answer is taken from the recording.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.recorded import RecordedTopic
from rtsysid.live.replay import Comparator, Comparison
from rtsysid.live.settings import Settings
from rtsysid.live.succession import Succession
from rtsysid.recordings.bag import Bag
from rtsysid.spec import Arrival

__all__ = ["Reproduction", "Settings", "reproduce"]


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a reproduction.

    ``decoded``: samples in the bytes. ``dropped_live``: of these, not fed live, since the queue was full or the session
    had ended. ``missing``: samples fed live that are not in the bytes. ``changed``: samples whose values differ.
    ``not_compared``: predictions of a bundle that took over and is not at hand. ``predictions``: comparison with the
    recorded predictions before that.
    """

    decoded: int
    dropped_live: int
    missing: int
    changed: int
    not_compared: int
    predictions: Comparison

    @property
    def equal(self) -> bool:
        """Whether every sample, prediction and status equals the recorded one, to the last bit."""
        return self.predictions.equal and not (self.missing or self.changed or self.not_compared)


def reproduce(bag: Bag, arrivals: Iterable[Arrival], feeder: SessionFeeder | Succession) -> Reproduction:
    """Feed the samples that were fed live, and compare. `arrivals`: samples decoded from the recorded bytes.

    `feeder`: of the session; a `Succession` where bundles took over. Raises TraceError where the recording cannot be
    read or has another number of outputs.
    """
    samples, answers = RecordedTopic(bag, "/samples"), RecordedTopic(bag, "/predictions", age=float, status=str)
    succession = feeder if isinstance(feeder, Succession) else Succession(feeder)
    comparator, decoded, dropped_live, changed, not_compared = Comparator(), 0, 0, 0, 0
    for arrival in arrivals:
        decoded += 1
        sample = samples.match(arrival)
        if sample is None:
            dropped_live += 1
            continue
        changed += not np.array_equal(samples.values(sample), arrival.sample.values, equal_nan=True)
        answered, recorded = succession.feed(arrival), answers.match(arrival)
        if answered is None:
            not_compared += recorded is not None
            continue
        if recorded is None:
            comparator.add_unmatched()
            continue
        running, prediction = answered
        status = running.timed(prediction, recorded["age"]).status
        comparator.add(prediction.t, prediction.y, answers.values(recorded), changed=status != recorded["status"])
    comparator.add_unmatched(answers.missing())
    return Reproduction(
        decoded=decoded,
        dropped_live=dropped_live,
        missing=samples.missing(),
        changed=changed,
        not_compared=not_compared,
        predictions=comparator.result(),
    )
