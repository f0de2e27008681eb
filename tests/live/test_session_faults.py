"""The live session under any faults: what it says and what it counts."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.integrator import DT, Integrator, plant_spec

from rtsysid.live.session import STATUSES, Prediction, Session
from rtsysid.spec import Sample

times = st.one_of(
    st.sampled_from([1.0, 1.0, 1.0, 1.0, 1.1, 0.7, 0.0, 0.3, 2.0, 3.0, 4.0, 5.0, 50.0, -1.0, -3.0, -60.0, 1e18]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
levels = st.sampled_from([0.0, 0.5, -0.5, 1.0, 1.5, -2.5, 3.5, -1e30, 3.4e38, math.nan, math.inf])
faults = st.tuples(times, st.one_of(st.just(0.25), levels), st.sampled_from([False] * 9 + [True]))


@settings(max_examples=300)
@given(st.lists(faults, max_size=60), st.integers(0, 4), st.integers(0, 3), st.sampled_from([True, ("v",), False]))
def test_whatever_comes_in_the_counts_add_up(
    events: list[tuple[float, float, bool]], max_gap: int, warmup: int, feedback: bool | tuple[str, ...]
) -> None:
    """Over any faults: one answer a sample, nothing impossible fed, sums that predictor and answers tell as well."""
    predictor = Integrator(plant_spec(feedback), warmup=warmup)
    session = Session(predictor, max_gap=max_gap)
    predictor.resets, tick, answers = 0, 0.0, list[Prediction]()
    for step, level, broken in events:
        tick = tick + step if math.isfinite(step) else tick + 1
        predictor.broken |= broken
        t = tick * DT if math.isfinite(step) else step
        answers.append(session.feed(Sample(t, np.array([0.0, level, 0.0], np.float32))))
    assert_honest(answers)
    assert_sums(session, predictor, answers)


UNUSABLE = {"rejected", "held", "late", "warm-up", "diverged", "reset", "stale", "fallback"}


def assert_honest(answers: list[Prediction]) -> None:
    for answer in answers:
        assert answer.status == answer.flags[0]
        assert list(answer.flags) == sorted(set(answer.flags), key=STATUSES.index)
        assert answer.usable == (not UNUSABLE & set(answer.flags))
        assert np.isfinite(answer.y).all() or "warm-up" in answer.flags


def assert_sums(session: Session, predictor: Integrator, answers: list[Prediction]) -> None:
    health = session.health
    told = Counter(flag for answer in answers for flag in answer.flags)
    fed = [a for a in answers if "late" not in a.flags and "rejected" not in a.flags]
    assert health.samples == len(answers)
    assert (health.late, health.rejected, health.fed) == (told["late"], told["rejected"], len(fed))
    assert health.samples == health.fed + health.late + health.rejected
    assert health.predictions == sum("warm-up" not in a.flags for a in fed)
    assert health.fed == health.predictions + health.warm_up
    assert health.steps == health.fed + health.held == len(predictor.stepped)
    assert health.extrapolating == told["extrapolating"]
    assert health.resets == predictor.resets
    assert health.diverged <= health.resets
    assert health.diverged >= told["diverged"]
    assert np.isfinite(predictor.stepped).all()
    assert np.abs(np.array(predictor.stepped or [[0.0]])).max() < 5e37
