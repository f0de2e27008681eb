"""Feed arrivals of a source to a session: the step that live loop, reproduction and updates share."""

from __future__ import annotations

from rtsysid.live.session import Prediction, Session
from rtsysid.spec import Arrival
from rtsysid.statuses import Status


class SessionFeeder:
    """Feed arrivals to a session, live or from a recording, and give each answer its status."""

    def __init__(self, session: Session) -> None:
        self.session, self.budget_s = session, session.settings.budget(session.spec.rate_hz)
        self._boot: int | None = None

    def feed(self, arrival: Arrival) -> Prediction:
        """Feed one arrival to the session and return the prediction; a restart of the device resets the session."""
        if arrival.boot != self._boot:
            if self._boot is not None:
                self.session.reset()  # its clock started at 0, and the samples in between are not known
            self._boot = arrival.boot
        return self.session.feed(arrival.sample)

    def timed(self, prediction: Prediction, age_s: float) -> Prediction:
        """Return the prediction, with the flag ``stale`` where its age is above the budget or not known."""
        return prediction if age_s <= self.budget_s else prediction.with_status(Status.stale)
