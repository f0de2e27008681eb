"""Replay: pace, and the comparison of predictions. The clock is a fake one; nothing sleeps."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.predictions import OUTPUTS, prediction

from rtsysid.errors import SpecError, TraceError
from rtsysid.live.predictions import Recorded, read_predictions, write_predictions
from rtsysid.live.replay import Matcher, compare, paced, replay
from rtsysid.live.session import Prediction, Session, Status
from rtsysid.spec import Channel, Floats, ModelSpec, Sample, unit_scaling


class FakeTime:
    """A clock that only sleep moves, and the list of what was slept."""

    def __init__(self, now: float = 5000.0) -> None:
        self.now, self.slept = now, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Repeater:
    """Predicts what it sees, at once."""

    def __init__(self) -> None:
        channels = (Channel("x"), Channel("y"))
        blank = ModelSpec(channels=channels, rate_hz=10.0)
        self.spec = msgspec.structs.replace(blank, scaling=unit_scaling(blank, 9.0))
        self.ready = True

    def reset(self) -> None: ...

    def step(self, values: Floats, age: int = 0) -> Floats:
        return values


def recording(*times: float) -> list[Sample]:
    return [Sample(t, np.array([t % 7, k % 5], np.float32)) for k, t in enumerate(times)]


def replayed(times: list[float], speed: float, work_s: float = 0.0) -> tuple[FakeTime, list[float]]:
    """Host times, from the first on, at which each prediction came when each takes `work_s` to consume."""
    fake, came = FakeTime(), list[float]()
    for _ in replay(Session(Repeater()), recording(*times), speed=speed, clock=fake.clock, sleep=fake.sleep):
        came.append(fake.now - 5000.0)
        fake.now += work_s
    return fake, came


def test_recorded_speed_keeps_recorded_times() -> None:
    """At speed 1 each prediction comes when its sample did, gaps included; at speed 2 in half the time."""
    times = [100.0, 100.1, 100.25, 160.0, 160.1]
    assert replayed(times, 1.0)[1] == pytest.approx([0.0, 0.1, 0.25, 60.0, 60.1])
    assert replayed(times, 2.0)[1] == pytest.approx([0.0, 0.05, 0.125, 30.0, 30.05])


def test_pace_is_absolute() -> None:
    """Work between samples does not add up: after 1,000 samples the replay is where the recording is."""
    _, came = replayed([0.1 * k for k in range(1000)], 1.0, work_s=0.04)
    assert came[-1] == pytest.approx(99.9)


def test_a_slow_consumer_catches_up_without_sleeping() -> None:
    """Where each sample takes twice its period, nothing sleeps; no wait is ever negative."""
    fake, came = replayed([0.1 * k for k in range(50)], 1.0, work_s=0.2)
    assert fake.slept == []
    assert came[-1] == pytest.approx(49 * 0.2)


def test_pace_survives_bad_times() -> None:
    """A time that is not finite or a little back is handed on at once; a restart of the device begins a new count."""
    _, came = replayed([10.0, 10.1, math.nan, 10.0, math.inf, 10.2, 1.0, 1.1], 1.0)
    assert came == pytest.approx([0.0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3])


@pytest.mark.parametrize("speed", [None, "max"])
def test_full_speed_asks_no_clock(speed: None) -> None:
    """As fast as possible neither reads the clock nor sleeps."""

    def never(*_: float) -> float:
        raise AssertionError("asked for the time")

    answers = replay(Session(Repeater()), recording(0, 0.1, 900), speed=speed, clock=never, sleep=never)
    assert len(list(answers)) == 3


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_speed_is_refused_at_once(speed: float) -> None:
    """The error is raised before the first sample is requested."""
    with pytest.raises(SpecError, match="positive factor"):
        replay(Session(Repeater()), [], speed=speed)


@given(st.lists(st.floats(0, 100), max_size=40), st.floats(0.1, 10))
def test_pace_hands_on_every_sample_in_order(times: list[float], speed: float) -> None:
    """Pacing changes nothing but when, and never hands a sample on before it is due."""
    fake, samples = FakeTime(), recording(*sorted(times))
    got = []
    for sample in paced(samples, speed=speed, restart_s=1.0, clock=fake.clock, sleep=fake.sleep):
        got.append(sample)
        assert fake.now - 5000.0 >= (sample.t - samples[0].t) / speed - 1e-9
    assert all(a is b for a, b in zip(got, samples, strict=True))


def test_a_time_of_another_century_is_not_waited_for() -> None:
    """A gap is waited for; after a time that is a year ahead, or too large for a clock, the count starts again."""
    fake = FakeTime()
    assert len(list(paced(recording(0, 9, 4e7, 1e300), speed=1, restart_s=1, clock=fake.clock, sleep=fake.sleep))) == 4
    assert fake.slept == [9]


def test_what_is_compared_may_be_written_too() -> None:
    """A matcher hands on what it compares: the same predictions, and the result of `compare`."""
    made = [prediction(t, 1.0, 2.0) for t in (0.0, 0.1, 0.2)]
    recorded = Recorded(np.array([0.0, 0.1]), np.array([[1, 2], [1, 3]], np.float32), [Status.ok] * 2, ("a", "b"))
    matcher = Matcher(recorded)
    assert [matcher.pass_on(each) for each in made] == made
    assert matcher.result() == compare(made, recorded)


def recorded(*predictions: Prediction) -> Recorded:
    t = np.array([p.t for p in predictions])
    y = np.array([p.y for p in predictions], np.float32).reshape(-1, 1)
    return Recorded(t, y, [p.status for p in predictions], ("x",))


def test_compare_finds_the_first_difference() -> None:
    """Count, largest difference, and the first tick beyond the tolerance come out exactly."""
    ours = [prediction(0.0, 1.0), prediction(0.1, 2.0), prediction(0.2, math.nan), prediction(0.3, 4.0)]
    theirs = recorded(ours[0], prediction(0.1, 2.25), ours[2], prediction(0.3, 3.0))
    result = compare(ours, theirs)
    assert (result.compared, result.max_abs, result.first_tick, result.first_t) == (4, 1.0, 1, 0.1)
    assert (result.equal, result.unmatched, result.statuses) == (False, 0, 0)
    assert compare(ours, theirs, tolerance=0.5).first_tick == 3
    assert compare(ours, theirs, tolerance=1.0).equal


def test_nan_equals_only_nan() -> None:
    """NaN against a number is an infinite difference; infinities of one sign are equal."""
    assert compare([prediction(0, math.nan)], recorded(prediction(0, math.nan))).equal
    assert compare([prediction(0, math.nan)], recorded(prediction(0, 0.0))).max_abs == math.inf
    assert compare([prediction(0, math.inf)], recorded(prediction(0, math.inf))).equal
    assert compare([prediction(0, math.inf)], recorded(prediction(0, -math.inf))).max_abs == math.inf


def test_a_changed_status_is_a_difference() -> None:
    """Equal numbers with another status are not an equal replay."""
    result = compare([prediction(0, 1.0, status="held")], recorded(prediction(0, 1.0)))
    assert (result.equal, result.statuses, result.max_abs, result.first_tick) == (False, 1, 0.0, 0)


def test_unmatched_ticks_of_both_sides_are_counted() -> None:
    """A tick that only one side has is never compared with a neighbour, and never equal."""
    ours = [prediction(t, t) for t in (0.0, 0.1, 0.3)]
    result = compare(ours, recorded(*[prediction(t, t) for t in (0.1, 0.2, 0.3, 0.4)]))
    assert (result.compared, result.unmatched, result.equal, result.first_tick) == (2, 3, False, None)


def test_another_number_of_outputs_is_an_error() -> None:
    """Predictions of another model are not compared by broadcasting."""
    with pytest.raises(TraceError, match="compare with a model of 2"):
        compare([prediction(0, 1, 2)], recorded(prediction(0, 1)))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=30))
def test_matching_is_one_to_one_for_repeated_times(pairs: list[tuple[int, int]]) -> None:
    """Repeated times (late samples, a restarted device) match the n-th with the n-th: a sequence equals itself."""
    ours = [prediction(float(t), float(y)) for t, y in pairs]
    result = compare(ours, recorded(*ours))
    assert result.equal
    assert result.compared == len(ours)
    reordered = sorted(ours, key=lambda p: p.t)
    assert compare(reordered, recorded(*ours)).equal


def test_a_replay_of_a_recording_equals_itself(tmp_path: Path) -> None:
    """What was written at recorded speed is what a replay at full speed says, gaps and bad samples included."""
    samples = recording(0.0, 0.1, 0.2, 0.2, 0.5, math.nan, 0.7, 9.0, 9.1, 0.0, 0.1)
    fake = FakeTime()
    slow = replay(Session(Repeater()), samples, speed=1, clock=fake.clock, sleep=fake.sleep)
    write_predictions(tmp_path / "p.csv.gz", OUTPUTS, slow)
    result = compare(replay(Session(Repeater()), samples), read_predictions(tmp_path / "p.csv.gz"))
    assert (result.equal, result.compared) == (True, len(samples))
