"""Scores against values worked out by hand, and errors per horizon that hide nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtsysid.circle import rotation_angle
from rtsysid.errors import SpecError, TraceError
from rtsysid.evaluation.metrics import (
    HorizonErrors,
    fit_percent,
    forecast_windows,
    horizon_errors,
    nrmse,
    rmse,
)
from rtsysid.spec import Channel

VECTOR = [Channel("a", "m", group="v"), Channel("b", "m", group="v"), Channel("alone", "V")]
ATTITUDE = [Channel(f"q{c}", "quat", group="attitude") for c in "xyzw"]
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.01)


def about_x(angle: float) -> np.ndarray:
    return np.array((np.sin(angle / 2), 0.0, 0.0, np.cos(angle / 2)))


def test_scores_of_a_known_series():
    """RMSE, NRMSE and fit of a worked example come out, per column."""
    truth = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])
    guess = truth + np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(rmse(guess, truth), (1.0, 0.0))
    np.testing.assert_allclose(nrmse(guess, truth), (np.sqrt(3 / 8), 0.0))
    np.testing.assert_allclose(fit_percent(guess, truth), (100 * (1 - np.sqrt(3 / 8)), 100.0))
    assert fit_percent(np.full(3, 3.0), truth[:, 0]) == pytest.approx(0.0)


def test_a_truth_that_never_moves_has_no_finite_nrmse():
    """Against a constant, a wrong guess scores inf and a right one 0, without a warning."""
    np.testing.assert_array_equal(nrmse(np.array([[1.0, 2.0]] * 3), np.array([[1.0, 1.0]] * 3)), (0.0, np.inf))


@pytest.mark.parametrize("where", ["predicted", "truth"])
def test_scores_refuse_values_that_are_not_finite(where):
    """A NaN on either side is an error that counts the rows, not a value that is averaged."""
    series = {"predicted": np.zeros((4, 2)), "truth": np.ones((4, 2))}
    series[where][[1, 2], 0] = np.nan
    with pytest.raises(TraceError, match="2 rows are not finite"):
        rmse(**series)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 3.0, np.pi])
def test_rotation_angles_keep_their_digits(angle):
    """The angle comes back to 12 digits from half a turn down to a millionth of a microradian."""
    base = np.array((0.0, 0.0, 0.0, 1.0))
    assert rotation_angle(base, about_x(angle)) == pytest.approx(angle, rel=1e-12, abs=1e-20)


@settings(max_examples=100, deadline=None)
@given(quaternions, quaternions, st.floats(0.01, 100), st.floats(0.01, 100))
def test_rotation_angle_is_a_distance_of_rotations(p, q, a, b):
    """It is symmetric, within 0 to pi, blind to length and sign, and agrees with the arc cosine."""
    angle = rotation_angle(p, q)
    assert 0.0 <= angle <= np.pi + 1e-12
    assert rotation_angle(q, p) == pytest.approx(angle, abs=1e-12)
    assert rotation_angle(-a * p, b * q) == pytest.approx(angle, abs=1e-12)
    cosine = min(abs(p @ q) / np.linalg.norm(p) / np.linalg.norm(q), 1.0)
    assert angle == pytest.approx(2 * np.arccos(cosine), abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2), st.data())
def test_forecast_windows_hold_inputs_from_k_and_outputs_from_k_plus_1(n_inputs, horizon, n_outputs, data):
    """Against an episode that numbers its samples, every window is u_k.. and y_{k+1}.."""
    n = horizon + data.draw(st.integers(1, 20))
    starts = data.draw(st.lists(st.integers(0, n - horizon - 1), max_size=5))
    values = (np.arange(n)[:, None] + 0.01 * np.arange(n_inputs + n_outputs)).astype(np.float32)
    u_future, truth = forecast_windows(values, n_inputs, starts, horizon)
    assert u_future.shape == (len(starts), horizon, n_inputs)
    assert truth.shape == (len(starts), horizon, n_outputs)
    for row, k in enumerate(starts):
        np.testing.assert_array_equal(u_future[row], values[k : k + horizon, :n_inputs])
        np.testing.assert_array_equal(truth[row], values[k + 1 : k + 1 + horizon, n_inputs:])


@pytest.mark.parametrize(("starts", "horizon"), [([-1], 2), ([8], 2), ([0], 10), ([0], 0)])
def test_forecast_windows_outside_the_episode_are_refused(starts, horizon):
    """A start before the episode, or a horizon beyond its end, is an error and wraps around nowhere."""
    with pytest.raises(TraceError):
        forecast_windows(np.zeros((10, 3), np.float32), 1, starts, horizon)


def test_groups_are_norms_and_lone_channels_their_own():
    """A group's error is the mean over windows of the norm of its components, per horizon step."""
    truth = np.zeros((2, 2, 3))
    guess = np.array([[[3.0, 4.0, -1.0], [0.0, 0.0, 2.0]], [[0.0, 1.0, 0.0], [6.0, 8.0, 0.0]]])
    errors = horizon_errors(guess, truth, VECTOR)
    assert list(errors) == ["v", "alone"]
    np.testing.assert_allclose(errors["v"], (3.0, 5.0))
    np.testing.assert_allclose(errors["alone"], (0.5, 1.0))


def test_attitude_is_an_angle_whatever_length_and_sign():
    """Four components of unit quat give the rotation angle, with the prediction normalised."""
    truth = np.broadcast_to(about_x(0.2), (1, 2, 4))
    guess = np.stack([3.0 * about_x(0.5), -0.1 * about_x(0.2001)])[None]
    np.testing.assert_allclose(horizon_errors(guess, truth, ATTITUDE)["attitude"], (0.3, 1e-4), rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 2**32 - 1))
def test_batches_add_up_to_the_whole(k, cuts, seed):
    """Errors added in any batches, empty ones included, equal those of all windows at once."""
    rng = np.random.default_rng(seed)
    outputs = VECTOR + ATTITUDE
    guess, truth = rng.standard_normal((2, k, 5, len(outputs)))
    whole, parts = horizon_errors(guess, truth, outputs), HorizonErrors(outputs)
    for g, t in zip(np.split(guess, sorted(cuts)), np.split(truth, sorted(cuts)), strict=True):
        parts.add(g, t)
    assert parts.windows == k
    for name, error in parts.mean().items():
        np.testing.assert_allclose(error, whole[name], rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_diverged_predictions_are_infinite_and_counted(bad):
    """A prediction that is not finite, or whose norm is not, is never averaged away: its step is inf, and counted."""
    truth, guess = np.zeros((4, 3, 3)), np.zeros((4, 3, 3))
    guess[1, 2, 0] = bad
    errors = HorizonErrors(VECTOR)
    errors.add(guess, truth)
    np.testing.assert_array_equal(errors.mean()["v"], (0.0, 0.0, np.inf))
    np.testing.assert_array_equal(errors.mean()["alone"], 0.0)
    assert (errors.windows, errors.diverged) == (4, 1)


@pytest.mark.parametrize("bad", [(np.nan, 0, 0, 1), (0, 0, 0, 0)])
def test_a_prediction_that_is_no_rotation_counts_as_diverged(bad):
    """A quaternion without length or with NaN is an infinite error, not an angle of something else."""
    guess = np.array(bad, np.float64).reshape(1, 1, 4)
    errors = HorizonErrors(ATTITUDE)
    errors.add(guess, about_x(0.0).reshape(1, 1, 4))
    assert errors.mean()["attitude"][0] == np.inf
    assert errors.diverged == 1


@pytest.mark.parametrize("bad", [(np.nan, 0, 0, 1), (0, 0, 0, 0)])
def test_a_truth_that_is_no_rotation_is_refused(bad):
    """Bad truth is the recording's fault and raises, whatever was predicted."""
    with pytest.raises(TraceError):
        horizon_errors(about_x(0.0).reshape(1, 1, 4), np.array(bad, np.float64).reshape(1, 1, 4), ATTITUDE)


def test_shapes_and_names_that_do_not_fit_are_refused():
    """Another number of outputs, another horizon, no window, and a group named like a channel are errors."""
    errors = HorizonErrors(VECTOR)
    with pytest.raises(TraceError, match="no forecast"):
        errors.mean()
    errors.add(np.zeros((1, 3, 3)), np.zeros((1, 3, 3)))
    with pytest.raises(TraceError, match="give 3 as before"):
        errors.add(np.zeros((1, 4, 3)), np.zeros((1, 4, 3)))
    with pytest.raises(TraceError, match=r"must be \[K, N, 3\]"):
        errors.add(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(SpecError, match="has this name"):
        HorizonErrors([Channel("v"), Channel("a", group="v")])
