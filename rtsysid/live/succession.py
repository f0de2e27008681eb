"""Succession: which session answered which sample of a recording, where new bundles took over during it.

A live session with updates (`rtsysid.live.updates`) records each of them with the sample at which it happened. The
sessions of a replay start, take over and are taken back at the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.recorded import Key, read_topic
from rtsysid.live.session import Prediction
from rtsysid.spec import Arrival

if TYPE_CHECKING:
    from rtsysid.recordings.bag import Bag

_FIELDS = {"outcome": str, "bundle": str, "model": str, "boot": int, "device_us": int, "seq": int}


class Takeover(NamedTuple):
    """A bundle that took over, by the ids of bundle and model.

    ``first``: the first sample that it was fed. ``last``: the last one that the bundle before answered. ``back``: the
    last one that it answered itself, where it was taken back; None elsewhere.
    """

    bundle: str
    model: str
    first: Key
    last: Key
    back: Key | None = None


def takeovers_in(bag: Bag) -> list[Takeover]:
    """Read the bundles that took over during a recorded session, in order.

    Raises TraceError where the recording is damaged, or its updates lack a field.
    """
    found: list[Takeover] = []
    first: Key | None = None
    for _, values in read_topic(bag, "/updates", _FIELDS):
        outcome, bundle, model, *key = (values[name] for name in _FIELDS)
        at = Key(*key)
        if outcome == "trial":
            first = at
        elif outcome == "taken" and first is not None:
            found.append(Takeover(str(bundle), str(model), first, at))
        elif outcome == "taken back" and found:
            found[-1] = found[-1]._replace(back=at)
    return found


class Succession:
    """Feed samples to the sessions that took turns; `first` is the one that began.

    `session_of` makes the session of a bundle id; None where that bundle is not at hand: the predictions end where it
    took over. ``ended_by``: that bundle, from there on; None before.
    """

    def __init__(
        self, first: SessionFeeder, takeovers: Sequence[Takeover] = (),
        session_of: Callable[[str], SessionFeeder | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.ended_by: Takeover | None = None
        self._session_of = session_of
        self._begun = {each.first: each for each in takeovers}
        self._taken = {each.last: each for each in takeovers}
        self._taken_back = {each.back for each in takeovers}
        self._running = first
        self._aside: SessionFeeder | None = None  # the next one in its trial; then the one before, if it comes back

    def feed(self, arrival: Arrival) -> tuple[SessionFeeder, Prediction] | None:
        """Feed a sample; return the session that answered it live, and its prediction; None after the end."""
        if self.ended_by is not None:
            return None
        key, running = Key.of(arrival), self._running
        if key in self._begun:
            self._aside = self._session_of(self._begun[key].bundle)
        prediction = running.feed(arrival)
        if self._aside is not None:
            self._aside.feed(arrival)
        if key in self._taken:
            self._take_over(self._taken[key])
        elif key in self._taken_back and self._aside is not None:
            self._running, self._aside = self._aside, None
        return running, prediction

    def _take_over(self, new: Takeover) -> None:
        if self._aside is None:
            self.ended_by = new
            return
        self._running, self._aside = self._aside, self._running if new.back is not None else None
