"""The live session: what it feeds, what it refuses, what it says."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.integrator import DT, GAIN, Integrator, plant_spec

from rtsysid.errors import SpecError
from rtsysid.live.deadline import Deadline
from rtsysid.live.session import Session, SessionSettings
from rtsysid.spec import Sample


def sample(tick: float, *values: float) -> Sample:
    return Sample(tick * DT, np.array(values or (0.2, 0.01 * tick, 0.0), np.float32))


def warm(predictor: Integrator | None = None, **options: float) -> tuple[Session, Integrator]:
    """A session that had its warm-up with the samples 0..9."""
    predictor = predictor or Integrator()
    session = Session(predictor, **options)  # type: ignore[arg-type]
    for tick in range(10):
        session.feed(sample(tick))
    predictor.stepped.clear()
    predictor.resets = 0
    return session, predictor


def test_warm_up_then_ok() -> None:
    """Predictions count from the sample on that makes the predictor ready, and say so before."""
    predictions = list(Session(Integrator()).run(sample(tick) for tick in range(7)))
    assert [p.status for p in predictions] == ["warm-up"] * 4 + ["ok"] * 3
    assert [p.usable for p in predictions] == [False] * 4 + [True] * 3
    np.testing.assert_allclose(predictions[6].y, [0.06 + GAIN * 0.2, GAIN * 0.2], rtol=1e-6)
    assert predictions[6].t == 6 * DT


def test_predictions_are_copies() -> None:
    """A prediction that was kept does not change with the next step."""
    session, _ = warm()
    kept = session.feed(sample(10))
    before = kept.y.copy()
    session.feed(sample(11, 0.9, 0.9, 0.9))
    np.testing.assert_array_equal(kept.y, before)


def test_a_source_may_reuse_its_array() -> None:
    """The held sample is what was measured, also where the source writes all samples into one array."""
    session, predictor = warm()
    reused = np.array([0.1, 0.2, 0.3], np.float32)
    session.feed(Sample(10 * DT, reused))
    reused[:] = 0.7
    session.feed(Sample(12 * DT, reused))
    np.testing.assert_allclose(predictor.stepped[1], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_a_short_gap_is_held(missing: int) -> None:
    """1..max_gap missing ticks step the predictor with the last good sample, then with the new one."""
    session, predictor = warm(max_gap=5)
    prediction = session.feed(sample(10 + missing, 0.4, 0.5, 0.6))
    assert (prediction.status, prediction.usable) == ("held", False)
    np.testing.assert_allclose(predictor.stepped, [[0.2, 0.09, 0.0]] * missing + [[0.4, 0.5, 0.6]], rtol=1e-6)
    assert predictor.ages[-missing - 1 :] == [*range(1, missing + 1), 0]
    assert session.health.held == missing
    assert session.feed(sample(11 + missing)).status == "ok"


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_the_age_of_a_row_is_the_ticks_since_the_newest_measurement(gaps: list[int], good: list[bool]) -> None:
    """Whatever is missing or rejected: a good sample has age 0, and each row that replaces one is a tick older."""
    session, predictor = warm(max_gap=4)
    predictor.ages.clear()
    tick, age = 9, 0
    for gap, fine in zip(gaps, good, strict=False):
        before, tick = len(predictor.ages), tick + gap
        session.feed(sample(tick) if fine else sample(tick, np.nan, 0.0, 0.0))
        *held, last = predictor.ages[before:] or [age]
        assert held == list(range(age + 1, age + 1 + len(held)))
        assert last == (0 if fine else age + len(predictor.ages) - before)
        age = last
    assert max(predictor.ages, default=0) <= 4


@pytest.mark.parametrize("max_gap", [0, 1, 5])
def test_a_long_gap_resets(max_gap: int) -> None:
    """One tick more than max_gap drops the state, says so on that sample, and starts another warm-up."""
    session, predictor = warm(max_gap=max_gap)
    prediction = session.feed(sample(11 + max_gap))
    assert (prediction.status, prediction.flags) == ("reset", ("reset", "warm-up"))
    assert np.isnan(prediction.y).all()
    assert (predictor.resets, len(predictor.stepped)) == (1, 1)
    assert [session.feed(sample(12 + max_gap + k)).status for k in range(4)] == ["warm-up"] * 3 + ["ok"]
    assert session.health.resets == 1


def test_gaps_are_counted_in_device_time_with_jitter() -> None:
    """Times that stray by 0.4 ticks are neither gaps nor duplicates, and the error does not add up over 2,000 ticks."""
    session, _ = warm()
    stray = np.random.default_rng(3).uniform(-0.2, 0.2, 2000)
    statuses = Counter(session.feed(sample(10 + k + stray[k], 0.0, 0.0, 0.0)).status for k in range(2000))
    assert statuses == {"ok": 2000}


@pytest.mark.parametrize("tick", [9.0, 9.4, 8.0, 4.0])
def test_duplicate_and_backward_samples_are_late(tick: float) -> None:
    """A duplicate or overtaken sample is not fed; the previous prediction is returned again, with its own time."""
    session, predictor = warm(max_gap=5)
    before = session.feed(sample(9.0 + 1))
    predictor.stepped.clear()
    prediction = session.feed(sample(tick + 1, 0.9, 0.9, 0.9))
    assert (prediction.status, prediction.t, prediction.usable) == ("late", before.t, False)
    np.testing.assert_array_equal(prediction.y, before.y)
    assert predictor.stepped == []
    assert session.feed(sample(11)).status == "ok"


def test_a_restarted_device_resets() -> None:
    """Time that jumps back by more than max_gap ticks is a new beginning, not an endless run of late samples."""
    session, predictor = warm(max_gap=5)
    session.feed(sample(1000, 0.2, 0.0, 0.0))
    predictor.resets = 0
    assert session.feed(sample(0)).status == "reset"
    assert [session.feed(sample(tick)).status for tick in range(1, 6)] == ["warm-up"] * 3 + ["ok"] * 2
    assert predictor.resets == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3.5, -3.5, 3e38])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_impossible_values_are_never_fed(value: float, channel: int) -> None:
    """NaN, infinity and values beyond the widened range are not fed; the last good sample replaces them."""
    session, predictor = warm()
    values = [0.1, 0.1, 0.1]
    values[channel] = value
    prediction = session.feed(sample(10, *values))
    assert (prediction.status, prediction.flags) == ("rejected", ("rejected", "held"))
    assert prediction.channels == (channel,)
    assert prediction.t == 10 * DT
    np.testing.assert_allclose(predictor.stepped, [[0.2, 0.09, 0.0]], rtol=1e-6)
    assert session.feed(sample(11)).status == "ok"
    assert (session.health.rejected, session.health.held) == (1, 1)


def test_too_many_rejected_in_a_row_reset_once() -> None:
    """After max_gap stand-ins the state is dropped, once, and nothing is fed until a good sample comes."""
    session, predictor = warm(max_gap=3)
    statuses = [session.feed(sample(10 + k, math.nan, 0, 0)).status for k in range(6)]
    assert statuses == ["rejected"] * 3 + ["reset"] + ["rejected"] * 2
    assert (len(predictor.stepped), predictor.resets) == (3, 1)
    after = [session.feed(sample(16 + k)).status for k in range(5)]
    assert after == ["warm-up"] * 4 + ["ok"]
    assert session.health.rejected == 6


def test_rejected_and_missing_ticks_add_up() -> None:
    """Two rejected and two missing ticks are four without a measurement: too many for max_gap = 3."""
    session, _ = warm(max_gap=3)
    session.feed(sample(10, math.nan, 0, 0))
    session.feed(sample(11, math.nan, 0, 0))
    assert session.feed(sample(14)).status == "reset"


@pytest.mark.parametrize("t", [math.nan, math.inf, -math.inf])
def test_a_sample_without_a_time_stands_for_the_next_tick(t: float) -> None:
    """A time that is not finite rejects the sample, holds one tick, and leaves the time base whole."""
    session, predictor = warm()
    prediction = session.feed(Sample(t, np.zeros(3, np.float32)))
    assert (prediction.status, len(predictor.stepped)) == ("rejected", 1)
    assert prediction.t == pytest.approx(10 * DT)
    assert session.feed(sample(11)).status == "ok"


def test_rejected_samples_before_the_first_good_one() -> None:
    """With nothing to hold, a bad sample is refused without a step, a reset or a made-up answer."""
    predictor = Integrator()
    session = Session(predictor)
    bad = [Sample(math.nan, np.zeros(3, np.float32)), sample(0, math.nan, 0, 0)]
    predictions = list(session.run(bad))
    assert [p.flags for p in predictions] == [("rejected", "warm-up")] * 2
    assert all(np.isnan(p.y).all() for p in predictions)
    assert (predictor.stepped, session.health.resets) == ([], 0)


def test_outside_the_trained_range_is_said_and_fed() -> None:
    """Up to one width outside the trained range a sample is fed, and the columns are named."""
    session, predictor = warm()
    prediction = session.feed(sample(10, 1.5, 0.0, -2.9))
    assert (prediction.status, prediction.channels) == ("extrapolating", (0, 2))
    np.testing.assert_allclose(predictor.stepped, [[1.5, 0.0, -2.9]], rtol=1e-6)
    assert session.feed(sample(11, 1.0, -1.0, 1.0)).status == "ok"
    assert session.health.extrapolating == 1


def test_margins_are_arguments() -> None:
    """Wider margins turn what was rejected into extrapolating, and that into ok."""
    wide, _ = warm(trained_margin=1.0, reject_margin=1e9)
    assert wide.feed(sample(10, 2.9, 0, 0)).status == "ok"
    assert wide.feed(sample(11, 1e9, 0, 0)).status == "extrapolating"
    assert wide.feed(sample(12, math.inf, 0, 0)).status == "rejected"
    narrow, _ = warm(reject_margin=0.0)
    assert narrow.feed(sample(10, 1.01, 0, 0)).status == "rejected"
    with pytest.raises(SpecError, match="margins"):
        warm(trained_margin=2.0, reject_margin=1.0)


def test_a_channel_that_stood_still_does_not_reject_everything() -> None:
    """Where low == high = 1 the scaling's spread of 0.5 is the width: 0.6 and 1.45 are fed, 0.3 is not."""
    session = Session(Integrator(plant_spec(low=1.0)))
    answers = [session.feed(sample(k, u, 0.0, 0.0)) for k, u in enumerate([1.0, 0.6, 1.45, 0.3])]
    assert [a.flags for a in answers] == [
        ("warm-up",),
        ("warm-up", "extrapolating"),
        ("warm-up", "extrapolating"),
        ("rejected", "warm-up", "held"),
    ]


def test_a_channel_that_the_network_does_not_see_may_stand_anywhere() -> None:
    """A position that leaves the trained box step by step is fed; one that jumps by kilometres is not."""
    session, _ = warm(Integrator(plant_spec(feedback=("v",))))
    walk = [session.feed(sample(10 + k, 0.0, 0.5 * k, 0.0)).status for k in range(100)]
    assert walk == ["ok"] * 100
    jump = session.feed(sample(110, 0.0, 4000.0, 0.0))
    assert (jump.status, jump.channels) == ("rejected", (1,))
    assert session.feed(sample(111, 0.0, 50.0, 0.0)).status == "ok"
    assert session.feed(sample(200, 0.0, 4000.0, 0.0)).status == "reset"
    assert session.feed(sample(201, 0.0, 4000.0, 0.0)).status == "warm-up"


def test_a_diverged_model_is_silenced_and_reset() -> None:
    """An infinity out of the model never reaches the caller, and the state that made it is dropped."""
    session, predictor = warm()
    predictor.broken = True
    prediction = session.feed(sample(10))
    assert prediction.flags == ("diverged", "warm-up")
    assert np.isnan(prediction.y).all()
    assert predictor.resets == 1
    assert [session.feed(sample(11 + k)).status for k in range(5)] == ["warm-up"] * 4 + ["ok"]
    assert (session.health.diverged, session.health.resets) == (1, 1)


def test_a_divergence_while_holding_is_said() -> None:
    """A model that diverges on a held tick is reset before the new sample is fed to it."""
    session, predictor = warm()
    predictor.broken = True
    prediction = session.feed(sample(13))
    assert prediction.flags == ("diverged", "warm-up", "held")
    assert len(predictor.stepped) == 2  # the first of three held ticks, and the sample itself
    assert np.isnan(prediction.y).all()


def test_a_sample_for_another_model_is_an_error() -> None:
    """Too many or too few values are an error of one line, and not a bad measurement."""
    session, _ = warm()
    with pytest.raises(SpecError, match="one value per channel"):
        session.feed(sample(10, 1, 2, 3, 4))


@pytest.mark.parametrize("number", [-1, math.nan, math.inf, 2**64])
@pytest.mark.parametrize("name", SessionSettings.__struct_fields__)
def test_every_setting_has_a_range(name: str, number: float) -> None:
    """A number that no session can use is refused by name."""
    with pytest.raises(SpecError, match=r"margin" if "margin" in name else name):
        Session(Integrator(), **{name: number})


def test_reset_begins_another_recording() -> None:
    """After a reset by the caller, any time is a beginning."""
    session, _ = warm()
    session.reset()
    assert session.feed(sample(8)).status == "warm-up"
    assert session.feed(sample(9)).status == "warm-up"


def test_a_session_starts_from_nothing() -> None:
    """A predictor that was used before does not carry its state into a new session."""
    _, predictor = warm()
    assert Session(predictor).feed(sample(10)).status == "warm-up"


def test_the_deadline_sees_the_clock_and_the_drops() -> None:
    """Each feed is marked with the clock that was given, missing ticks are drops, and the summary is plain JSON."""
    ticks: Iterator[float] = iter(np.arange(0, 1000, 0.25).tolist())
    session = Session(Integrator(), deadline=Deadline(0.2), clock=lambda: next(ticks))
    for tick in (0, 1, 2, 5, 6):
        session.feed(sample(tick))
    summary = json.loads(json.dumps(session.summary(), allow_nan=False))
    assert summary["health"] == {
        **dict.fromkeys(("late", "rejected", "novel", "alarms", "extrapolating", "resets", "diverged"), 0),
        **{"samples": 5, "fed": 5, "held": 2, "steps": 7, "warm_up": 3, "predictions": 2},
    }
    assert (summary["latency"]["n"], summary["latency"]["misses"], summary["latency"]["drops"]) == (5, 5, 2)
    assert summary["latency"]["worst"] == 0.25
    assert summary["latency"]["period"] == 0.5
    assert Session(Integrator()).summary()["latency"] is None
    idle = Session(Integrator(), deadline=Deadline(math.inf)).summary()["latency"]
    assert (idle["budget"], idle["worst"], idle["n"]) == (None, None, 0)
