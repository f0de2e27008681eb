"""LiveLoop: feed the samples of a source to a session, and send the predictions back in time.

Every sample is fed to the session, in order. Only the newest sample of a batch is answered: a backlog then delays one
answer and not all later ones. While the host time of the samples is not known, none is answered. The age of a sample
when its answer is ready is measured on the host's clock from the instant of capture; an answer above the time budget is
`stale`.

The loop does not depend on the kind of line: it takes any `rtsysid.source.Source`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from rtsysid.device_clock import host_s
from rtsysid.live.deadline import Deadline
from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.service import Service, StopSignal
from rtsysid.live.session import Prediction, Session
from rtsysid.source import Source, SourceHealth
from rtsysid.spec import Arrival
from rtsysid.statuses import Status

__all__ = ["Answer", "Follower", "LiveLoop", "LiveStats", "SessionFeeder", "Sink"]
_WAIT_S = 0.1  # longest wait for a sample before the loop checks signals and the time of the next report


class Sink(Protocol):
    """A recorder of live sessions; no method waits for the disk."""

    def sample(self, arrival: Arrival) -> None:
        """Record a sample that was fed to the session."""

    def prediction(self, answer: Answer) -> None:
        """Record the answer to a sample."""

    def health(self, figures: Mapping[str, Any]) -> None:
        """Record figures of the session and the source by name; they may be nested."""


class Answer(NamedTuple):
    """Prediction for one arrival. ``age_s``: age of the sample when the answer was ready; NaN where it is not known.

    ``prediction``: has the flag ``stale`` where the age is above the budget or not known.
    ``sent``: whether the answer was sent to the source: the sample is the newest of its batch, and its age is known.
    """

    arrival: Arrival
    prediction: Prediction
    age_s: float
    sent: bool

    @property
    def status(self) -> Status:
        """The gravest flag of the prediction."""
        return self.prediction.status

    @property
    def stale(self) -> bool:
        """Whether the answer was above the time budget, also where a graver flag is its status."""
        return Status.stale in self.prediction.flags


class LiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a time interval, in seconds; NaN where nothing was measured.

    ``rate_hz``: samples per second of host time. ``p50``, ``p99``, ``worst``: age of the samples that were answered.
    ``statuses``: counts of the statuses that were sent; ``stale``: answers above the time budget, whatever else their
    status says. ``skipped``: samples that were fed to the session but not
    answered, since a newer one was there. ``undated``: not answered, since the clocks of host and device did not agree
    yet. ``link``: counts of the source since its start.
    """

    seconds: float
    samples: int
    skipped: int
    undated: int
    stale: int
    statuses: dict[str, int]
    rate_hz: float
    p50: float
    p99: float
    worst: float
    link: SourceHealth

    def line(self) -> str:
        """Format the figures as one line of text."""
        ages = " ".join(f"{name} {_in_ms(getattr(self, name))}" for name in ("p50", "p99", "worst"))
        counts = f"dropped {self.link.dropped} gaps {self.link.gaps} corrupt {self.link.corrupt}"
        own = f"stale {self.stale} skipped {self.skipped}"
        rate = "-" if math.isnan(self.rate_hz) else f"{self.rate_hz:.1f}"
        return f"{self.link.state} {rate} Hz  age ms {ages}  {own} {counts}"

    def plain(self) -> dict[str, Any]:
        """Return the figures as JSON takes them; None replaces NaN."""
        built = {**msgspec.structs.asdict(self), "link": self.link.plain()}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in built.items()}


class Follower(Protocol):
    """What follows the live session and may replace it: `rtsysid.live.updates.BundleUpdates`."""

    def follow(self, answers: Sequence[Answer], running: SessionFeeder) -> SessionFeeder:
        """Take what the running session has answered, which is sent by now; return the feeder of the next tick."""


class LiveLoop:
    """Feed the samples of `source` to `session`, and send the predictions back.

    The time budget is that of the session's settings. `recorder`: gets every sample, answer and report. `service`: is
    told about fresh answers. `clock`: the host's clock in seconds, the one of `Arrival.captured_s`.
    `deadline_s`: age that no answer may exceed (`require_met`). `follower`: may replace the session between two ticks.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        *,
        recorder: Sink | None = None,
        service: Service | None = None,
        clock: Callable[[], float] = host_s,
        deadline_s: float = math.inf,
        follower: Follower | None = None,
    ) -> None:
        self.source, self._follower = source, follower
        self._tick_s = 1.0 / session.spec.rate_hz
        self._sinks: list[Sink] = [] if recorder is None else [recorder]
        self._service, self._clock = service or Service({}), clock
        self._feeder = SessionFeeder(session)
        self._whole, self._recent = _Interval(deadline_s=deadline_s), _Interval()

    @property
    def session(self) -> Session:
        """The session that answers now."""
        return self._feeder.session

    def add_sink(self, sink: Sink | None) -> None:
        """Hand samples, answers and reports to one more sink, from the next batch on; None adds none."""
        if sink is not None:
            self._sinks.append(sink)

    def run(self, stop: StopSignal, *, every_s: float = 1.0) -> Iterator[LiveStats]:
        """Run until the source ends or `stop` is requested; yield the figures of each `every_s` seconds.

        Raises LinkError where the source does.
        """
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
        """Return the figures from the first sample to the last."""
        return self._whole.report(self._whole.latest_s, self.source.health())

    def require_met(self) -> None:
        """Raise DeadlineError where an answer was older than the deadline."""
        self._whole.ages.require_met("answers")

    def _work(self, batch: Sequence[Arrival]) -> None:
        answers = [self.answer(arrival, sent=False) for arrival in batch[:-1]]
        newest = self.answer(batch[-1], sent=not math.isnan(batch[-1].captured_s))
        if newest.sent:
            self.source.predict(newest.arrival.seq, newest.status, newest.age_s, self._tick_s, newest.prediction.y)
        now_s = self._clock()
        if not newest.stale:
            self._service.fresh(now_s)
        for interval in (self._whole, self._recent):
            interval.add(len(batch), newest, now_s)
        for sink in self._sinks:
            for answer in (*answers, newest):
                sink.sample(answer.arrival)
                sink.prediction(answer)
        if self._follower is not None:
            self._feeder = self._follower.follow((*answers, newest), self._feeder)

    def answer(self, arrival: Arrival, *, sent: bool) -> Answer:
        """Feed one arrival, and return the prediction with its age and status."""
        prediction = self._feeder.feed(arrival)
        age_s = self._clock() - arrival.captured_s
        return Answer(arrival, self._feeder.timed(prediction, age_s), age_s, sent)

    def _report(self, now_s: float) -> LiveStats:
        report = self._recent.report(now_s, self.source.health())
        self._recent = _Interval(now_s)
        for sink in self._sinks:
            sink.health(report.plain())
        self._service.status(report.line())
        return report


class _Interval:
    """Counts of a time interval that starts at `begun_s`, or with its first batch where that is not given."""

    def __init__(self, begun_s: float = math.nan, deadline_s: float = math.inf) -> None:
        self.begun_s = self.latest_s = begun_s
        self.ages = Deadline(deadline_s)
        self._statuses: Counter[str] = Counter()
        self._samples = self._skipped = self._undated = self._stale = self._beginning = 0

    def add(self, samples: int, newest: Answer, now_s: float) -> None:
        """Add a batch of `samples`, of which `newest` was answered at `now_s`, if it was."""
        if math.isnan(self.begun_s):
            self.begun_s, self._beginning = now_s, samples
        self.latest_s = now_s
        self._samples += samples
        if not newest.sent:
            self._undated += samples
            return
        self._skipped += samples - 1
        self._statuses[str(newest.status)] += 1
        self._stale += newest.stale
        self.ages.record(newest.age_s)

    def report(self, until_s: float, link: SourceHealth) -> LiveStats:
        """Return the figures up to `until_s`."""
        seconds = until_s - self.begun_s
        ages = self.ages
        return LiveStats(
            seconds=seconds, samples=self._samples, skipped=self._skipped, undated=self._undated,
            stale=self._stale, statuses=dict(self._statuses),
            rate_hz=(self._samples - self._beginning) / seconds if seconds > 0 else math.nan,
            p50=ages.percentile(0.5), p99=ages.percentile(0.99), worst=ages.worst, link=link,
        )  # fmt: skip


def _in_ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:.2f}"
