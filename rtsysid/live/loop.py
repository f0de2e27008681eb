"""LiveLoop: samples of a device through a session, and predictions back to it in time.

Every sample enters the session, in order; an answer goes out for the newest only, so that a backlog is worked off in
one go instead of making every later answer old. How old a sample was when its answer left is measured in device time,
and an answer that is too old says so.

The loop knows nothing of cables: a device is whatever yields batches of arrivals.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from rtsysid.live.deadline import Deadline
from rtsysid.live.service import Service, StopSignal
from rtsysid.live.session import Prediction, Session
from rtsysid.source import Source, SourceHealth
from rtsysid.spec import Arrival
from rtsysid.statuses import Status

_WAIT_S = 0.1  # longest wait for a sample before the loop looks at signals and the second hand
_OUTDATED = frozenset(each for each in Status if each.gravity > Status.stale.gravity)  # less grave than `stale`


class Sink(Protocol):
    """Where a live session is written down; none of these waits for a disk."""

    def sample(self, arrival: Arrival) -> None: ...
    def prediction(self, answer: Answer) -> None: ...
    def health(self, figures: Mapping[str, Any]) -> None: ...


class Answer(NamedTuple):
    """``age_s``: of the sample when the answer was ready. ``status``: that of the prediction, or ``stale``.

    ``sent``: whether it was the newest of its batch and went to the device.
    """

    arrival: Arrival
    prediction: Prediction
    age_s: float
    status: Status
    sent: bool


class LiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a stretch of time, in seconds; NaN where there is nothing to say.

    ``rate_hz``: samples per second of host time. ``p50``, ``p99``, ``worst``: age of the samples that were answered.
    ``statuses``: of the answers that were sent. ``skipped``: samples that entered the session but were overtaken by
    newer ones before they could be answered. ``link``: the device's counts, since the beginning.
    """

    seconds: float
    samples: int
    skipped: int
    statuses: dict[str, int]
    rate_hz: float
    p50: float
    p99: float
    worst: float
    link: SourceHealth

    @property
    def stale(self) -> int:
        """Answers over the budget."""
        return self.statuses.get(Status.stale, 0)

    def line(self) -> str:
        """One line for a person."""
        ages = " ".join(f"{name} {_ms(getattr(self, name))}" for name in ("p50", "p99", "worst"))
        counts = f"dropped {self.link.dropped} gaps {self.link.gaps} corrupt {self.link.corrupt}"
        own = f"stale {self.stale} skipped {self.skipped}"
        rate = "-" if math.isnan(self.rate_hz) else f"{self.rate_hz:.1f}"
        return f"{self.link.state} {rate} Hz  age ms {ages}  {own} {counts}"

    def plain(self) -> dict[str, Any]:
        """Return the figures as JSON takes them; None replaces NaN."""
        built = {**msgspec.structs.asdict(self), "link": self.link.plain()}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in built.items()}


class SessionFeeder:
    """Feed arrivals to a session, live or from a recording, and give each answer its status."""

    def __init__(self, session: Session) -> None:
        self.session, self.budget_s = session, session.settings.budget(session.spec.rate_hz)
        self._boot: int | None = None

    def feed(self, arrival: Arrival) -> Prediction:
        """What the session says to one arrival; a device that restarted is a new beginning."""
        if arrival.boot != self._boot:
            if self._boot is not None:
                self.session.reset()  # its time began anew, and what it did meanwhile nobody knows
            self._boot = arrival.boot
        return self.session.feed(arrival.sample)

    def status(self, prediction: Prediction, age_s: float) -> Status:
        """That of the prediction, or ``stale`` where the sample is older than the budget or nobody knows how old."""
        return Status.stale if prediction.status in _OUTDATED and not age_s <= self.budget_s else prediction.status


class LiveLoop:
    """Feeds what `device` yields to `session`, and answers.

    `budget_s`: the age beyond which an answer is stale; by default one tick, since by then what it predicts is past.
    `clock`: the host's monotonic clock in seconds, the one of `Arrival.captured_s`.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        *,
        recorder: Sink | None = None,
        service: Service | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.session = source, session
        self._tick_s = 1.0 / session.spec.rate_hz
        self._recorder, self._service, self._clock = recorder, service or Service({}), clock
        self._feeder = SessionFeeder(session)
        self._whole, self._recent = _Interval(), _Interval()

    def run(self, stop: StopSignal, *, every_s: float = 1.0) -> Iterator[LiveStats]:
        """Work until the device yields no more, which `stop.requested` asks it for; a report each `every_s` seconds."""
        due_s = self._clock() + every_s
        for batch in self.source.batches(_WAIT_S):
            if batch:
                self._work(batch)
            now_s = self._clock()
            if now_s >= due_s:
                due_s = max(due_s + every_s, now_s)
                yield self._report(now_s)
            if stop.requested:
                self.source.close()
        self._service.stopping()

    def summary(self) -> LiveStats:
        """The figures from the first sample to the last."""
        return self._whole.report(self._whole.latest_s, self.source.health())

    def _work(self, batch: Sequence[Arrival]) -> None:
        answers = [self.answer(arrival, sent=False) for arrival in batch[:-1]]
        newest = self.answer(batch[-1], sent=True)
        self.source.predict(newest.arrival.seq, newest.status, newest.age_s, self._tick_s, newest.prediction.y)
        now_s = self._clock()
        if newest.status is not Status.stale:
            self._service.fresh(now_s)
        for stretch in (self._whole, self._recent):
            stretch.add(len(batch), newest, now_s)
        if self._recorder is not None:
            for answer in (*answers, newest):
                self._recorder.sample(answer.arrival)
                self._recorder.prediction(answer)

    def answer(self, arrival: Arrival, *, sent: bool) -> Answer:
        """What the session says to one arrival, how old that was, and whether it is too old."""
        prediction = self._feeder.feed(arrival)
        age_s = self._clock() - arrival.captured_s
        return Answer(arrival, prediction, age_s, self._feeder.status(prediction, age_s), sent)

    def _report(self, now_s: float) -> LiveStats:
        report = self._recent.report(now_s, self.source.health())
        self._recent = _Interval(now_s)
        if self._recorder is not None:
            self._recorder.health(report.plain())
        self._service.status(report.line())
        return report


class _Interval:
    """Counts of a stretch of time that began at `begun_s`, or with its first batch where that is not given."""

    def __init__(self, begun_s: float = math.nan) -> None:
        self.begun_s = self.latest_s = begun_s
        self._ages = Deadline(math.inf)
        self._statuses: Counter[str] = Counter()
        self._samples = self._skipped = self._beginning = 0

    def add(self, samples: int, newest: Answer, now_s: float) -> None:
        if math.isnan(self.begun_s):
            self.begun_s, self._beginning = now_s, samples
        self.latest_s = now_s
        self._samples += samples
        self._skipped += samples - 1
        self._statuses[str(newest.status)] += 1
        if not math.isnan(newest.age_s):
            self._ages.record(newest.age_s)

    def report(self, until_s: float, link: SourceHealth) -> LiveStats:
        seconds = until_s - self.begun_s
        ages = self._ages
        return LiveStats(
            seconds=seconds, samples=self._samples, skipped=self._skipped, statuses=dict(self._statuses),
            rate_hz=(self._samples - self._beginning) / seconds if seconds > 0 else math.nan,
            p50=ages.percentile(0.5), p99=ages.percentile(0.99), worst=ages.worst, link=link,
        )  # fmt: skip


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:.2f}"
