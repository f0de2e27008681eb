"""Prediction intervals: what they state, they hold; what they cannot state, they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import plant

from rtsysid.errors import SpecError
from rtsysid.evaluation.calibrate import HeldOut, forecast_errors
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor


def errors(seed: int, count: int) -> np.ndarray:
    """Heavy-tailed errors [count, 4, 2] that grow with the horizon."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, (count, 4, 2)) * np.array([1.0, 2.0, 4.0, 8.0])[:, None]


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("recordings", [1, 4, 20])
def test_the_coverage_holds_for_whatever_distribution(coverage: float, recordings: int) -> None:
    """Over many calibrations from the same law, new errors lie inside as often as stated, within a point."""
    shares = []
    for seed in range(30):
        calibration = np.array_split(errors(seed, 200), recordings)
        half = Intervals.fit(calibration, 200).half_widths(coverage, 4)
        shares.append(np.mean(np.abs(errors(10_000 + seed, 2000)) <= half))
    assert abs(np.mean(shares) - coverage) < 0.01


def test_it_is_recordings_that_are_alike() -> None:
    """Where every recording has errors of a size of its own, a new one is covered as stated, within 3 points on average
    over calibrations on six; plain quantiles of the same errors fall short of it."""
    ours, plain = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sizes = np.exp(0.7 * rng.standard_normal(9))
        drawn = [size * errors(100 * seed + k, 200) for k, size in enumerate(sizes)]
        fresh, found = np.abs(np.concatenate(drawn[6:])), Intervals.fit(drawn[:6], 200)
        ours.append(np.mean(fresh <= found.half_widths(0.9, 4)))
        plain.append(np.mean(fresh <= np.quantile(np.abs(np.concatenate(drawn[:6])), 0.9, axis=0)))
    assert abs(np.mean(ours) - 0.9) < 0.03
    assert np.mean(plain) < np.mean(ours) - 0.01


@given(st.integers(5, 300), st.floats(0.01, 0.99), st.floats(0.0, 0.2))
def test_more_coverage_is_never_narrower(independent: int, coverage: float, more: float) -> None:
    """Intervals nest: one that states more contains one that states less."""
    intervals = Intervals.fit([errors(0, 50), errors(1, 30), errors(2, 40)], independent)
    wider = min(coverage + more, intervals.max_coverage)
    if coverage <= wider:
        assert (intervals.half_widths(wider, 4) >= intervals.half_widths(coverage, 4)).all()


def test_few_forecasts_support_less() -> None:
    """With nine forecasts side by side 0.9 is the most there can be, and more is refused in one line."""
    intervals = Intervals.fit([errors(3, 900)], 9)
    assert intervals.max_coverage == 0.9
    with pytest.raises(
        SpecError, match=r"0\.91, but the recordings it was calibrated on support 0\.900; ask for a smaller coverage"
    ):
        intervals.half_widths(0.91, 4)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 90.0, float("nan"), "x", None, [0.9]])
def test_a_coverage_is_a_share(coverage: float) -> None:
    """Nothing but a number between 0 and 1 is taken for a coverage."""
    with pytest.raises(SpecError, match="between 0 and 1"):
        Intervals.fit([errors(0, 50)], 50).half_widths(coverage, 4)


def test_a_horizon_that_was_not_calibrated_is_refused() -> None:
    """A plan longer than the calibration names the longest there is."""
    with pytest.raises(SpecError, match="5 ticks, calibrated are 4"):
        Intervals.fit([errors(0, 50)], 50).half_widths(0.9, 5)


@given(st.integers(0, 100), st.integers(1, 60))
def test_arrays_bring_them_back(seed: int, independent: int) -> None:
    """What is stored in a bundle gives the same widths as what was fitted."""
    intervals = Intervals.fit([errors(seed, 40)], independent)
    again = Intervals.from_arrays(intervals.arrays())
    coverage = 0.9 * intervals.max_coverage
    np.testing.assert_array_equal(again.half_widths(coverage, 3), intervals.half_widths(coverage, 3))


@pytest.mark.parametrize("backend", ["c", "onnx", "numpy"])
def test_a_forecast_carries_its_interval(calibrated_folder: Path, backend: str) -> None:
    """On every backend the interval is around the plain forecast, for one plan and for several, and grows with time."""
    predictor = Predictor.load(calibrated_folder, backend)
    for row in plant(1, 60, seed=3).episodes[0].values:
        predictor.step(row)
    plan = np.zeros((12, 1), np.float32)
    y, lower, upper = predictor.forecast(plan, interval=0.8)
    np.testing.assert_array_equal(y, predictor.forecast(plan))
    np.testing.assert_allclose((lower + upper) / 2, y, atol=1e-6)
    assert ((upper - lower)[-1] > (upper - lower)[0]).all()
    several = predictor.forecast(np.stack([plan, plan + 1]), interval=0.8)
    np.testing.assert_allclose(several.upper[0] - several.lower[0], upper - lower, rtol=1e-5)


def test_intervals_hold_on_unseen_recordings(bundle_folder: Path) -> None:
    """Of two sets of recordings of the same plant, each calibrated on the other, coverage is within 3 points."""
    predictor = Predictor.load(bundle_folder)
    sets = [plant(20, 500, seed=seed).episodes for seed in (9, 77)]
    first, second = ([forecast_errors(predictor, HeldOut(e.values, e.values), 20, 3) for e in each] for each in sets)
    pairs = [(Intervals.fit(first, 400), second), (Intervals.fit(second, 400), first)]
    for coverage in (0.5, 0.8, 0.9, 0.95):
        inside = [np.abs(np.concatenate(unseen)) <= found.half_widths(coverage, 20) for found, unseen in pairs]
        assert abs(np.mean(inside) - coverage) < 0.03


def test_without_calibration_there_is_no_interval(bundle_folder: Path) -> None:
    """A bundle that was never calibrated forecasts as before, and says what to do for more."""
    predictor = Predictor.load(bundle_folder, "numpy")
    for _ in range(10):
        predictor.step(np.zeros(3, np.float32))
    assert predictor.forecast(np.zeros((4, 1))).shape == (4, 2)
    with pytest.raises(SpecError, match="not calibrated; rtsysid calibrate"):
        predictor.forecast(np.zeros((4, 1)), interval=0.9)
