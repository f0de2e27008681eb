"""How often a score passes a level, from few recordings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtsysid.errors import TraceError
from rtsysid.live.exceedance import MAX_EXTRAPOLATION, ExceedanceModel, clusters


def drawn(rng: np.random.Generator, law: str, seconds: int) -> np.ndarray:
    """A score of one burst a second at 100 Hz, whose peaks follow `law`."""
    peaks = rng.standard_exponential(seconds) if law == "exponential" else rng.pareto(4.0, seconds)
    score = np.zeros((seconds, 100))
    score[:, 50] = peaks
    return score.ravel()


@pytest.mark.parametrize("law", ["exponential", "pareto"])
@pytest.mark.parametrize("reach", [1.0, 5.0])
def test_the_rate_holds_beyond_the_recordings(law: str, reach: float) -> None:
    """Over calibrations of twenty minutes, alarms come at the rate asked for on average within a factor of two where
    they saw one, and of three where it is five times rarer; of a score with a light tail they come more rarely."""
    rng = np.random.default_rng(1)
    fresh, ratios = drawn(rng, law, 100_000), []
    per_hour = 3.0 / reach
    for _ in range(40):
        tail = ExceedanceModel.fit([drawn(rng, law, 1200)], hold=20, tick_s=0.01)
        ratios.append(len(clusters(fresh, tail.threshold(per_hour), 20)) / (per_hour * 100_000 / 3600))
    factor = 2.0 if reach == 1 else 3.0
    assert np.mean(ratios) < factor
    assert np.mean(ratios) > (1 / factor if law == "pareto" else 0.1)


def test_it_is_recordings_that_are_alike() -> None:
    """Where scores have a size of their own in every recording, others give alarm at the rate asked for within a factor
    of two on average over calibrations on six."""
    rng = np.random.default_rng(2)

    def recording() -> np.ndarray:
        return float(np.exp(0.3 * rng.standard_normal())) * drawn(rng, "exponential", 120)

    fresh, ratios = [recording() for _ in range(200)], []
    for _ in range(30):
        tail = ExceedanceModel.fit([recording() for _ in range(6)], hold=20, tick_s=0.01)
        counted = sum(len(clusters(score, tail.threshold(30.0), 20)) for score in fresh)
        ratios.append(counted / (30.0 * 200 * 120 / 3600))
    assert 0.5 < np.mean(ratios) < 2.0


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 4)), st.floats(0, 4), st.integers(0, 10))
def test_bursts_are_apart_and_complete(score: np.ndarray, level: float, hold: int) -> None:
    """Every tick above the level belongs to one burst, a new one begins after more than `hold` ticks, and its peak is
    the largest in it."""
    peaks, last, found = [], None, False
    for k, value in enumerate(score):
        if value > level:
            found = last is not None and k - last <= hold
            peaks = [*peaks[:-1], max(peaks[-1], value)] if found else [*peaks, value]
            last = k
    assert clusters(score, level, hold).tolist() == peaks


@given(st.integers(0, 1000), st.floats(0.2, 50), st.floats(1.01, 20))
def test_a_rarer_alarm_has_a_higher_threshold(seed: int, per_hour: float, times: float) -> None:
    """Asking for fewer false alarms never lowers the threshold."""
    tail = ExceedanceModel.fit([drawn(np.random.default_rng(seed), "exponential", 300)], hold=20, tick_s=0.01)
    assert tail.threshold(per_hour) >= tail.threshold(per_hour * times)


def test_the_reach_is_ten_times_the_recordings() -> None:
    """Six minutes speak of one event an hour, and of nothing rarer."""
    tail = ExceedanceModel.fit([drawn(np.random.default_rng(0), "exponential", 360)], hold=20, tick_s=0.01)
    assert MAX_EXTRAPOLATION == 10
    assert tail.lowest_rate == pytest.approx(1.0)


def test_a_score_that_never_moves_is_refused() -> None:
    """No tail is made up for recordings without one burst."""
    with pytest.raises(TraceError, match="give longer recordings"):
        ExceedanceModel.fit([np.ones(500)], hold=20, tick_s=0.01)


def test_levels_at_which_bursts_grow_together_are_passed_over() -> None:
    """Where a recording has fewer clusters than the fit would like, the level with the most of them is taken, not a low
    one at which what lies between them joins all into one."""
    score = drawn(np.random.default_rng(0), "exponential", 30)
    score[::3] += 0.01
    tail = ExceedanceModel.fit([score], hold=20, tick_s=0.01)
    assert tail.clusters >= 25
    assert tail.level < 0.2
