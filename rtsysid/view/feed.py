"""LiveFeed: take what the loop answers, and keep some of it for the views. No method waits.

The loop pays for a few appends to bounded queues. All that is shown is computed by the thread of the viewer.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rtsysid.live.loop import Answer
from rtsysid.live.session import Session
from rtsysid.spec import Arrival
from rtsysid.view.forecasts import PeriodicForecast, ShownForecast

if TYPE_CHECKING:
    from rtsysid.model.predictor import Predictor

SHOWN_HZ = 50.0  # answers a second that are shown, of as many as there are
AGES_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # ends of the bins of the histogram of ages
_WAITING = 1024  # answers that may wait for the viewer


class Kept(NamedTuple):
    """An answer that is shown, and the novelty score of its sample; NaN where there is none."""

    answer: Answer
    score: float


class LiveFeed:
    """A sink of the loop. `watched` says whether anybody looks: without, no forecast is made.

    `session_of` returns the session that answers now: a new bundle may take over. ``ages``: counts of their ages in
    the bins of `AGES_MS`, the last one above them. ``statuses``: of the answers that were sent. ``figures``: the
    newest report of the loop. ``dropped``: answers that nobody fetched in time.
    """

    def __init__(
        self, session_of: Callable[[], Session], forecasts: PeriodicForecast | None = None,
        watched: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self._session_of, self._session = session_of, session_of()
        self._forecasts, self._watched = forecasts, watched
        self._every = max(1, round(self._session.spec.rate_hz / SHOWN_HZ))
        self._count = self.dropped = 0
        self._kept: deque[Kept] = deque(maxlen=_WAITING)
        self._shown: deque[ShownForecast] = deque(maxlen=4)
        self.ages = [0] * (len(AGES_MS) + 1)
        self.statuses = Counter[str]()
        self.figures: Mapping[str, Any] = {}

    def sample(self, arrival: Arrival) -> None:
        """Do nothing: an answer holds its sample."""

    def prediction(self, answer: Answer) -> None:
        """Count an answer that was sent, and keep every so many of all."""
        if answer.sent:
            self.statuses[answer.status] += 1
            if answer.age_s >= 0:
                self.ages[bisect(AGES_MS, answer.age_s * 1e3)] += 1
        self._count += 1
        session = self._session_of()
        if session is not self._session:
            self._follow(session)
        if self._count % self._every == 0:
            novelty = self._session.novelty
            self.dropped += len(self._kept) == _WAITING
            self._kept.append(Kept(answer, math.nan if novelty is None else novelty.score))
        if answer.sent and self._forecasts is not None and self._watched():
            found = self._forecasts.due(answer)
            if found is not None:
                self._shown.append(found)

    def health(self, figures: Mapping[str, Any]) -> None:
        """Keep the newest report."""
        self.figures = figures

    def _follow(self, session: Session) -> None:
        self._session = session
        if self._forecasts is not None:
            self._forecasts.follow(cast("Predictor", session.predictor))

    def take(self) -> list[Kept]:
        """Return the answers since the last call."""
        return [self._kept.popleft() for _ in range(len(self._kept))]

    def forecast(self) -> ShownForecast | None:
        """Return the newest forecast since the last call."""
        found = None
        while self._shown:
            found = self._shown.popleft()
        return found
