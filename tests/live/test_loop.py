"""The live loop, in simulated time, with a device made of a list of batches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.integrator import DT, Integrator, plant_spec

from rtsysid.live.loop import Answer, LiveLoop, LiveStats
from rtsysid.live.service import Service, StopSignal
from rtsysid.live.session import Session, SessionSettings
from rtsysid.source import SourceHealth
from rtsysid.spec import Arrival, Floats, Sample

STEP_S = 0.0001  # what one prediction costs, on the simulated clock


class Sent(NamedTuple):
    seq: int
    status: str
    age_s: float
    horizon_s: float
    y: Floats


class Slow(Integrator):
    """A model that takes its time: each step moves the clock."""

    def __init__(self, device: ListDevice) -> None:
        super().__init__()
        self.device = device

    def step(self, values: Floats, age: int = 0) -> Floats:
        self.device.now += STEP_S
        return super().step(values, age)


class ListDevice:
    """Yields pairs of a time and a batch of tick numbers; ticks are captured on time."""

    def __init__(self, *batches: tuple[float, Sequence[int]], boots: Mapping[int, int] | None = None) -> None:
        self.queue, self.boots, self.now = batches, boots or {}, 0.0
        self.closed = False
        self.sent: list[Sent] = []
        self.waited: list[float] = []

    def arrival(self, tick: int) -> Arrival:
        boot = max((b for t, b in self.boots.items() if t <= tick), default=1)
        values = np.array([0.1, 0.01 * tick, 0.0], np.float32)
        return Arrival(Sample(tick * DT, values), round(tick * DT * 1e6), tick * DT, self.now, tick & 0xFFFF, boot)

    def batches(self, timeout_s: float) -> Iterator[list[Arrival]]:
        for at, ticks in self.queue:
            if self.closed and at >= self.now:
                return
            self.waited.append(timeout_s)
            self.now = max(self.now, at)
            yield [self.arrival(tick) for tick in ticks]

    def predict(self, *fields: Any) -> None:
        self.sent.append(Sent(*fields))

    def close(self) -> None:
        self.closed = True

    def health(self) -> SourceHealth:
        return SourceHealth(state="streaming", samples=9, gaps=2, dropped=3, corrupt=1, losses=0, reboots=0)


def on_time(ticks: range, delay_s: float = 0.001) -> list[tuple[float, list[int]]]:
    return [(tick * DT + delay_s, [tick]) for tick in ticks]


class Notes:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.samples: list[Arrival] = []
        self.answers: list[Answer] = []
        self.figures: list[Mapping[str, Any]] = []

    def sample(self, arrival: Arrival) -> None:
        self.samples.append(arrival)

    def prediction(self, answer: Answer) -> None:
        self.answers.append(answer)

    def health(self, figures: Mapping[str, Any]) -> None:
        self.figures.append(figures)


def loop(device: ListDevice, budget_s: float | None = None, **options: Any) -> tuple[LiveLoop, list[LiveStats]]:
    live = LiveLoop(device, Session(Slow(device), budget_s=budget_s), clock=lambda: device.now, **options)
    return live, list(live.run(StopSignal()))


def test_every_sample_is_answered_on_time() -> None:
    """Without trouble each sample gets its prediction with its number, its age and one tick of horizon."""
    device = ListDevice(*on_time(range(20)))
    live, _ = loop(device)
    assert [sent.seq for sent in device.sent] == list(range(20))
    assert [sent.status for sent in device.sent] == ["warm-up"] * 4 + ["ok"] * 16
    assert [sent.age_s for sent in device.sent] == pytest.approx([0.001 + STEP_S] * 20)
    assert {sent.horizon_s for sent in device.sent} == {DT}
    summary = live.summary()
    assert (summary.samples, summary.skipped, summary.stale) == (20, 0, 0)
    assert summary.rate_hz == pytest.approx(100.0)
    assert summary.worst == pytest.approx(0.001 + STEP_S)
    assert summary.statuses == {"warm-up": 4, "ok": 16}


def test_a_backlog_is_fed_whole_and_answered_once() -> None:
    """After a second without the processor all samples enter the delay line, one answer goes out for the newest, and
    the next answer is in time again."""
    device = ListDevice(*on_time(range(10)), (1.1, list(range(10, 110))), *on_time(range(112, 115)))
    live, _ = loop(device)
    assert len(live.session._predictor.stepped) == 115  # type: ignore[attr-defined]  # two ticks were held
    assert [sent.seq for sent in device.sent[9:12]] == [9, 109, 112]
    assert [sent.status for sent in device.sent[9:12]] == ["ok", "stale", "held"]
    assert device.sent[10].age_s == pytest.approx(0.01 + 100 * STEP_S)
    assert device.sent[11].age_s < 0.0015
    summary = live.summary()
    assert (summary.samples, summary.skipped, summary.stale) == (113, 99, 1)


@given(st.lists(st.lists(st.integers(1, 7), max_size=4), max_size=20))
def test_whatever_the_batches_the_session_sees_all(steps: list[list[int]]) -> None:
    """However arrivals are cut into batches, the predictor is stepped as by a session that is fed one by one, and the
    answers that go out are its answers to the last of each batch."""
    tick, batches = 0, []
    for batch in steps:
        ticks = [tick := tick + step for step in batch]
        batches.append((tick * DT, ticks))
    device = ListDevice(*batches)
    live, _ = loop(device)
    session = Session(Integrator())
    told = [[session.feed(device.arrival(t).sample) for t in ticks] for _, ticks in batches]
    assert live.session.health == session.health
    for sent, predictions in zip(device.sent, filter(None, told), strict=True):
        np.testing.assert_array_equal(sent.y, predictions[-1].y)


@pytest.mark.parametrize(("delay_s", "status"), [(0.0049, "ok"), (0.0051, "stale")])
def test_the_budget_decides_what_is_stale(delay_s: float, status: str) -> None:
    """An answer over the budget says stale, with its age, and one under it does not."""
    device = ListDevice(*on_time(range(10), delay_s - STEP_S))
    loop(device, budget_s=0.005)
    assert device.sent[-1].status == status
    assert device.sent[-1].age_s == pytest.approx(delay_s)


def test_graver_news_than_stale_are_kept_and_the_flags_say_both() -> None:
    """An answer that is old and comes from a model without its warm-up says the latter, which is graver; its flags and
    the count of stale answers say that it is old as well, and none of them is usable."""
    device, notes = ListDevice(*on_time(range(10), 0.5)), Notes()
    live, _ = loop(device, recorder=notes)
    assert [sent.status for sent in device.sent] == ["warm-up"] * 4 + ["stale"] * 6
    flags = [answer.prediction.flags for answer in notes.answers]
    assert flags == [("warm-up", "stale")] * 4 + [("stale",)] * 6
    assert (live.summary().stale, live.summary().statuses) == (10, {"warm-up": 4, "stale": 6})
    assert not any(answer.prediction.usable for answer in notes.answers)


def test_a_late_and_stale_answer_does_not_feed_the_watchdog() -> None:
    """An answer whose status is graver than stale is not fresh where it is stale as well."""
    service = Ledger()
    loop(ListDevice(*on_time(range(8)), (1.0, [7])), service=service)
    assert len(service.fed) == 8


def undated(device: ListDevice, first: int) -> None:
    """Make the host time of the first samples of a device unknown."""
    known = device.arrival
    times = {True: math.nan}
    device.arrival = lambda tick: known(tick)._replace(  # type: ignore[method-assign]
        captured_s=times.get(tick < first, known(tick).captured_s)
    )


def test_samples_of_unknown_age_fill_the_window_and_are_not_answered() -> None:
    """Before the device's clock is known no answer is sent, and none passes for fresh; the session is fed all the same,
    so that the first sample of known age is answered after the warm-up."""
    device, notes = ListDevice(*on_time(range(10))), Notes()
    undated(device, 6)
    live, _ = loop(device, recorder=notes)
    assert [sent.status for sent in device.sent] == ["ok"] * 4
    assert [answer.sent for answer in notes.answers] == [False] * 6 + [True] * 4
    assert [answer.status for answer in notes.answers] == ["warm-up"] * 4 + ["stale"] * 2 + ["ok"] * 4
    summary = live.summary()
    assert (summary.samples, summary.undated, summary.skipped, summary.stale) == (10, 6, 0, 0)


def test_without_a_known_age_there_are_no_figures_of_ages() -> None:
    """A device whose clock is never known is answered never, and its figures are valid JSON."""
    device = ListDevice(*on_time(range(10)))
    undated(device, 10)
    live, _ = loop(device)
    assert not device.sent
    assert math.isnan(live.summary().worst)
    json.dumps(live.summary().plain(), allow_nan=False)


def test_a_restarted_board_begins_a_new_session() -> None:
    """Another boot number drops the state before its first sample is fed, though its time would follow on."""
    device = ListDevice(*on_time(range(20)), boots={10: 2})
    live, _ = loop(device)
    assert [sent.status for sent in device.sent] == (["warm-up"] * 4 + ["ok"] * 6) * 2
    assert live.session.health.resets == 1


def test_everything_is_recorded() -> None:
    """A recorder gets every sample and every answer in order, sent or not, and the figures of every second."""
    device = ListDevice(*on_time(range(150)), (1.55, [150, 151, 152]), (2.6, []))
    notes = Notes()
    _, reports = loop(device, recorder=notes)
    assert [arrival.seq for arrival in notes.samples] == list(range(153))
    assert [answer.arrival for answer in notes.answers] == notes.samples
    assert [answer.arrival.seq for answer in notes.answers if not answer.sent] == [150, 151]
    assert notes.figures == [report.plain() for report in reports]


def test_a_report_each_second_even_when_nothing_comes() -> None:
    """The second hand goes on in silence; each report tells of its own second, and the line names what is lost."""
    device = ListDevice(*on_time(range(110)), *((1.1 + 0.1 * k, []) for k in range(1, 22)))
    live, reports = loop(device)
    assert [report.samples for report in reports] == [101, 9, 0]
    assert [report.seconds for report in reports] == pytest.approx([1.0, 1.0, 1.0], abs=0.11)
    assert set(device.waited) == {0.1}
    assert reports[0].line().endswith("stale 0 skipped 0 dropped 3 gaps 2 corrupt 1")
    assert "p50 -" in reports[2].line()
    assert live.summary().seconds == pytest.approx(1.09)


def test_a_stop_closes_the_device_and_answers_what_had_come() -> None:
    """A request to stop is passed on, and what came until the device had stopped is still fed."""
    device = ListDevice((0.05, [0, 1]), (0.05, [2]), *on_time(range(10, 20)))
    stop = StopSignal()
    live = LiveLoop(device, Session(Slow(device)), clock=lambda: device.now)
    stop.requested = True
    assert list(live.run(stop)) == []
    assert [sent.seq for sent in device.sent] == [1, 2]
    assert live.session.health.samples == 3


class Ledger(Service):
    """Counts what would feed the watchdog."""

    def __init__(self) -> None:
        super().__init__({})
        self.fed: list[float] = []

    def fresh(self, now_s: float) -> None:
        self.fed.append(now_s)


def test_only_fresh_answers_feed_the_watchdog() -> None:
    """Silence and stale answers do not count as life."""
    device = ListDevice(*on_time(range(8)), (1.0, []), (2.0, [8, 9]), (3.0, []))
    service = Ledger()
    loop(device, service=service)
    assert len(service.fed) == 8
    assert max(service.fed) < 0.1


def test_the_default_budget_is_one_tick() -> None:
    """A prediction is about the next tick, so that by then it is about the past."""
    assert SessionSettings().budget(plant_spec().rate_hz) == DT
