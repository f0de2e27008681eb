"""Test the residual tests on residuals with known correlations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.evaluation.residuals import LAGS, cross_correlation, one_step, whiteness
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles


def white(rows: int, columns: int, seed: int = 0) -> Doubles:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def remembering(rows: int, columns: int, memory: float, seed: int) -> Doubles:
    """A first-order autoregression."""
    series = white(rows, columns, seed)
    for k in range(1, rows):
        series[k] += memory * series[k - 1]
    return series


def test_white_noise_stays_within_the_bounds_at_the_nominal_share() -> None:
    """Of 10,000 correlations of white noise, in episodes of unequal length, about one in a hundred is outside."""
    parts = [white(1500, 400, 1), white(500, 400, 2)]
    assert np.mean(whiteness(parts).outside) == pytest.approx(0.01, abs=0.003)


def test_autocorrelation_is_measured() -> None:
    """Of an autoregression, the correlation at lag n is its coefficient to the n-th; nearly all lags are outside."""
    found = whiteness([remembering(20000, 1, 0.9, 0)])
    assert found.r[:3, 0] == pytest.approx(0.9 ** np.arange(1, 4), abs=0.03)
    assert found.outside[0] > 0.9


def test_a_constant_error_is_no_correlation() -> None:
    """A bias or a constant residual does not change whiteness."""
    parts = [white(2000, 1, 3)]
    assert np.allclose(whiteness([parts[0] + 7.0]).r, whiteness(parts).r)
    assert whiteness([np.full((100, 1), 7.0)]).outside[0] == 0.0


def test_residuals_of_episodes_are_never_joined() -> None:
    """A residual that continues the previous episode is not correlated with it."""
    first, second = np.zeros((100, 1)), np.zeros((100, 1))
    first[-1], second[0] = 1.0, 1.0
    assert abs(whiteness([first, second]).r[0, 0]) < 0.02
    assert abs(cross_correlation([second, second], [first, first]).r).max() < 0.02


@settings(max_examples=25, deadline=None)
@given(lag=st.integers(-LAGS, LAGS), gain=st.sampled_from([-0.5, 0.3]), seed=st.integers(0, 99))
def test_a_delayed_input_peaks_at_its_lag(lag: int, gain: float, seed: int) -> None:
    """A residual that contains u_{k - lag} peaks there with the same sign: earlier inputs at positive lags only."""
    u = white(3000, 2, seed)
    e = gain * np.roll(u[:, 1:], lag, axis=0) + 0.5 * white(3000, 1, seed + 1000)
    found = cross_correlation([e[50:-50]], [u[50:-50]])
    peak = int(np.abs(found.r[:, 0, 1]).argmax())
    assert found.lags[peak] == lag
    assert np.sign(found.r[peak, 0, 1]) == np.sign(gain)
    assert found.outside(earlier=lag >= 1)[0, 1] > 0
    assert found.outside(earlier=lag < 1)[0, 1] <= 0.16  # a few by chance


@pytest.mark.parametrize(("e_memory", "u_memory"), [(0.0, 0.0), (0.8, 0.8), (0.0, 0.9), (-0.5, 0.8)])
def test_bounds_include_both_autocorrelations(e_memory: float, u_memory: float) -> None:
    """Independent residuals and inputs stay within the bounds at the nominal share, whatever their spectra."""
    found = cross_correlation([remembering(4000, 40, e_memory, 1)], [remembering(4000, 10, u_memory, 2)])
    assert np.mean(np.abs(found.r) > found.bounds) == pytest.approx(0.01, abs=0.006)


def test_an_input_at_rest_is_correlated_with_nothing() -> None:
    """A constant input gives zero, not a division by zero."""
    found = cross_correlation([white(200, 1)], [np.full((200, 1), 3.0)])
    assert not found.r.any()


def test_too_few_residuals_are_refused() -> None:
    """Fewer samples than lags give one line."""
    with pytest.raises(TraceError, match="20 residuals for 25 lags"):
        whiteness([white(20, 1)])


def test_one_step_pairs_each_prediction_with_its_measurement(bundle_folder: Path, tiny_trace: Trace) -> None:
    """Row k holds y_k, u_k, its time, and the prediction that the runtime gave at k - 1; the warm-up is left out."""
    predictor = Predictor.load(bundle_folder)
    episode = tiny_trace.episodes[0].piece(0, 40)
    (part,) = one_step(predictor, [episode])
    skipped = predictor.spec.taps + predictor.spec.warmup
    assert len(part.t) == 40 - skipped
    for tick, sample in enumerate(episode.values[:-1]):
        expected = predictor.step(sample)
        if tick + 1 >= skipped:
            row = tick + 1 - skipped
            assert np.array_equal(part.predicted[row], expected)
            assert np.array_equal(part.measured[row], episode.values[tick + 1, 1:])
            assert part.inputs[row, 0] == episode.values[tick + 1, 0]
            assert part.t[row] == episode.t[tick + 1]
    assert np.array_equal(part.residual, part.measured - part.predicted)
    with pytest.raises(TraceError, match="8 rows"):
        one_step(predictor, [episode.piece(0, 8)])
