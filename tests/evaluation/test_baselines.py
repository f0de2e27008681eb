"""Test the baselines: the ARX identifies linear systems, and its free run equals the explicit loop."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import SpecError, TraceError
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.evaluation.metrics import HorizonErrors, forecast_windows
from rtsysid.spec import Channel

HISTORY = 20


def arx_system(n: int, seed: int, start: float = 0.0, disturbance: float = 0.0) -> np.ndarray:
    """Two inputs, two outputs, three lags, stable; float64, so that a fit can be exact."""
    rng = np.random.default_rng(seed)
    u, y = rng.standard_normal((n, 2)), np.full((n, 2), start)
    e = disturbance * rng.standard_normal((n, 2))
    for k in range(2, n - 1):
        y[k + 1, 0] = 1.2 * y[k, 0] - 0.5 * y[k - 1, 0] + 0.3 * u[k, 0] + 0.2 * y[k - 2, 1] + 0.4 + e[k, 0]
        y[k + 1, 1] = (
            0.8 * y[k, 1] - 0.3 * y[k - 2, 1] + 0.5 * u[k - 1, 1] + 0.1 * y[k, 0] + 0.25 * u[k - 2, 0] + e[k, 1]
        )
    return np.hstack((u, y))


def cart(n: int, seed: int, start: float = 0.0) -> np.ndarray:
    """Force in, position and speed out: the position drifts without bound and only its differences matter."""
    u = np.random.default_rng(seed).standard_normal(n)
    y = np.zeros((n, 2))
    y[0, 0] = start
    for k in range(n - 1):
        y[k + 1] = y[k, 0] + 0.1 * y[k, 1], 0.97 * y[k, 1] + 0.1 * u[k]
    return np.hstack((u[:, None], y))


def windows(episode: np.ndarray, n_inputs: int, horizon: int, stride: int = 1):
    starts = np.arange(HISTORY - 1, len(episode) - horizon, stride)
    history = episode[starts[:, None] + np.arange(1 - HISTORY, 1)]
    return (history, *forecast_windows(episode, n_inputs, starts, horizon))


def loop(model: LinearArx, history: np.ndarray, u_future: np.ndarray) -> np.ndarray:
    """The definition, one forecast and one step at a time."""
    rows, nu, result = [row.astype(np.float64) for row in history], model.n_inputs, []
    for u in u_future:
        rows[-1] = np.concatenate((u, rows[-1][nu:]))
        window = np.array(rows[-model.lags :])
        centred = window - model.mean
        for column in model.relative:
            centred[:, column] = window[:, column] - window[-1, column]
        y = rows[-1][nu:] + model.weights @ (centred / model.std).ravel() + model.bias
        result.append(y)
        rows.append(np.concatenate((np.zeros(nu), y)))
    return np.array(result)


def test_arx_identifies_a_linear_system():
    """From noise-free data of three lags, a free run of 100 steps reproduces an unseen episode to 1e-8."""
    model = LinearArx.fit([arx_system(400, 1), arx_system(300, 2)], 2, lags=3, ridge=0.0)
    history, u_future, truth = windows(arx_system(300, 3), 2, 100)
    np.testing.assert_allclose(model.forecast(history, u_future), truth, atol=1e-8)


def test_arx_weights_are_the_coefficients_of_the_system():
    """Divided by the deviations, the weights are the known coefficients in window order, oldest first."""
    model = LinearArx.fit([arx_system(600, 1)], 2, lags=3, ridge=0.0)
    found = (model.weights.reshape(2, 3, 4) / model.std).round(6) + 0.0
    wanted = np.zeros((2, 3, 4))
    wanted[0, 2, 2], wanted[0, 1, 2], wanted[0, 2, 0], wanted[0, 0, 3] = 0.2, -0.5, 0.3, 0.2  # 1.2 less the hold's 1
    wanted[1, 2, 3], wanted[1, 0, 3], wanted[1, 1, 1], wanted[1, 2, 2], wanted[1, 0, 0] = -0.2, -0.3, 0.5, 0.1, 0.25
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_episodes_are_never_joined():
    """Two episodes that start far apart fit exactly, which a window across their border would prevent."""
    far = arx_system(200, 5, start=40.0)
    model = LinearArx.fit([arx_system(200, 4), far], 2, lags=3, ridge=0.0)
    history, u_future, truth = windows(far, 2, 20)
    np.testing.assert_allclose(model.forecast(history, u_future), truth, atol=1e-8)


def test_blocks_do_not_change_the_fit(monkeypatch):
    """Normal equations summed in blocks of 7 windows equal those of one block."""
    episodes = [arx_system(100, 6), arx_system(61, 7)]
    whole = LinearArx.fit(episodes, 2, lags=4, ridge=1e-6, relative=(2,))
    monkeypatch.setattr("rtsysid.evaluation.baselines._BLOCK", 7)
    blocks = LinearArx.fit(episodes, 2, lags=4, ridge=1e-6, relative=(2,))
    np.testing.assert_allclose(blocks.std, whole.std, rtol=1e-12)
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-7)


def test_a_relative_position_is_forecast_anywhere():
    """Trained near the origin, the cart's forecast is as exact 1,000 m away, and the newest position has no weight."""
    model = LinearArx.fit([cart(500, 1), cart(500, 2)], 1, lags=3, ridge=1e-10, relative=(1,))
    assert model.mean[1] == 0.0
    np.testing.assert_array_equal(model.weights.reshape(2, 3, 3)[:, -1, 1], 0.0)
    history, u_future, truth = windows(cart(200, 3, start=1000.0), 1, 50)
    np.testing.assert_allclose(model.forecast(history, u_future), truth, atol=1e-5)


def test_scaling_comes_from_the_training_episodes():
    """Absolute columns have their own mean and deviation, relative ones 0 and the spread of their differences."""
    episode = cart(400, 4, start=5.0)
    model = LinearArx.fit([episode], 1, lags=2, ridge=0.0, relative=(1,))
    newest = episode[1:-1]
    np.testing.assert_allclose(model.mean[[0, 2]], newest[:, [0, 2]].mean(0))
    np.testing.assert_allclose(model.std[[0, 2]], newest[:, [0, 2]].std(0))
    np.testing.assert_allclose(model.std[1], np.sqrt(np.mean(np.diff(episode[:-1, 1]) ** 2)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.sets(st.integers(0, 3)), st.integers(0, 2**32 - 1))
def test_forecast_is_the_explicit_loop(lags, horizon, relative, seed):
    """For any lags, horizon and relative columns, K forecasts at once equal the written-out loop of each."""
    rng = np.random.default_rng(seed)
    episode = rng.standard_normal((60, 4)).cumsum(0).astype(np.float32)
    model = LinearArx.fit([episode], 2, lags=lags, ridge=0.1, relative=relative)
    history, u_future, _ = windows(episode, 2, horizon, stride=7)
    u_future = u_future + np.float32(1.0)  # plans that differ from what the history holds
    for at_once, *single in zip(model.forecast(history, u_future), history, u_future, strict=True):
        np.testing.assert_allclose(at_once, loop(model, *single), rtol=1e-9, atol=1e-9)


def test_hold_repeats_and_its_error_grows():
    """The held output is the newest one, and on a drifting system its error grows along the horizon."""
    history, u_future, truth = windows(cart(2000, 8), 1, 20)
    held = Hold(1).forecast(history, u_future)
    assert held.shape == truth.shape
    np.testing.assert_array_equal(held, np.broadcast_to(history[:, -1:, 1:], truth.shape))
    error = np.abs(held - truth).mean(0)
    assert (np.diff(error, axis=0) > 0).all()


def test_select_picks_the_order_of_the_system():
    """Among lags of 1, 3 and 12 on a disturbed system, the free run on validation picks the system's 3."""
    episodes = [arx_system(150, seed, disturbance=0.1) for seed in range(6)]
    model = LinearArx.select(episodes[:2], episodes[2:], 2, horizon=20, lags=(1, 3, 12), ridges=(1e-8, 1.0))
    assert model.lags == 3
    best = LinearArx.fit(episodes[:2], 2, lags=3, ridge=1e-8)
    np.testing.assert_array_equal(model.weights, best.weights)


def one_and_three_lags(n: int, seed: int) -> np.ndarray:
    """One input; a disturbed output of one lag, and an undisturbed one that needs three."""
    rng = np.random.default_rng(seed)
    u, e, y = rng.standard_normal(n), rng.standard_normal(n), np.zeros((n, 2))
    for k in range(2, n - 1):
        y[k + 1] = 0.9 * y[k, 0] + e[k], 0.5 * y[k - 2, 1] + u[k - 2]
    return np.hstack((u[:, None], y))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_select_weighs_all_outputs_the_same(unit):
    """The order that one output needs is chosen though it costs the other a little, in whatever unit that is."""
    episodes = [one_and_three_lags(60, seed) * (1.0, unit, 1.0) for seed in range(8)]
    train, validation = episodes[:1], episodes[1:]
    assert LinearArx.select(train, validation, 1, horizon=10, lags=(1, 3), ridges=(1e-8,)).lags == 3


def test_ridge_shrinks_the_weights_but_not_the_bias():
    """Under a very large ridge only the mean increment remains."""
    episode = cart(300, 5)
    free, bound = (LinearArx.fit([episode], 1, lags=2, ridge=ridge) for ridge in (1e-8, 1e9))
    assert np.abs(free.weights).max() > 0.01
    np.testing.assert_allclose(bound.weights, 0.0, atol=1e-8)
    np.testing.assert_allclose(bound.bias, np.diff(episode[1:, 1:], axis=0).mean(0), atol=1e-6)


def test_an_unstable_candidate_loses_without_a_warning(monkeypatch):
    """A candidate that diverges is not selected; warnings are errors here."""
    episodes = [arx_system(200, seed) for seed in range(3)]
    fits = {p: LinearArx.fit(episodes[:2], 2, lags=p, ridge=1e-8) for p in (2, 3)}
    fits[2].weights[...] = 1e9
    monkeypatch.setattr("rtsysid.evaluation.baselines._arx_equations", lambda e, n, lags, r: fits[lags])
    monkeypatch.setattr("rtsysid.evaluation.baselines._solve_arx", lambda fit, ridge: fit)
    history, u_future, _ = windows(episodes[2], 2, 60)
    assert not np.isfinite(fits[2].forecast(history, u_future)).all()
    chosen = LinearArx.select(episodes[:2], episodes[2:], 2, horizon=60, lags=(2, 3), ridges=(1e-8,))
    assert chosen.lags == 3
    with pytest.raises(TraceError, match="every candidate diverges"):
        LinearArx.select(episodes[:2], episodes[2:], 2, horizon=60, lags=(2,), ridges=(1e-8,))


def test_select_leaves_out_lags_that_the_episodes_cannot_hold():
    """Lags longer than an episode are not candidates; where none remain there is an error."""
    short = [arx_system(30, seed) for seed in range(2)]
    long = [arx_system(90, seed) for seed in range(2)]
    for train, validation in ((short, short), (short, long), (long, short)):
        assert LinearArx.select(train, validation, 2, horizon=5, lags=(2, 40), ridges=(1e-6,)).lags == 2
    with pytest.raises(TraceError, match="shorten the horizon"):
        LinearArx.select(short, short, 2, horizon=29)


def test_a_constant_channel_is_harmless():
    """A constant input gets no weight and no division by zero."""
    episode = arx_system(200, 9)
    episode[:, 1] = 3.3
    model = LinearArx.fit([episode.astype(np.float32)], 2, lags=3, ridge=1e-8)
    assert np.isfinite(model.weights).all()
    np.testing.assert_allclose(model.weights.reshape(2, 3, 4)[..., 1], 0.0, atol=1e-12)


def test_arrays_survive_an_npz_file(tmp_path):
    """Stored and read again, the model forecasts the same bits; missing and misshapen arrays are refused."""
    episode = cart(300, 1)
    model = LinearArx.fit([episode], 1, lags=4, ridge=1e-6, relative=(1,))
    np.savez(tmp_path / "arx.npz", **model.arrays())
    with np.load(tmp_path / "arx.npz", allow_pickle=False) as stored:
        again = LinearArx.from_arrays(stored)
    history, u_future, _ = windows(episode, 1, 10)
    np.testing.assert_array_equal(again.forecast(history, u_future), model.forecast(history, u_future))
    assert (again.lags, again.n_inputs, again.relative) == (4, 1, (1,))
    arrays = model.arrays()
    with pytest.raises(SpecError, match="shapes must be"):
        LinearArx.from_arrays({**arrays, "weights": arrays["weights"][:, 1:]})
    del arrays["bias"]
    with pytest.raises(SpecError, match="no array bias"):
        LinearArx.from_arrays(arrays)


def test_bad_episodes_and_windows_are_refused():
    """NaN, episodes that are too short, unknown columns and a short history are errors of one line each."""
    episode = arx_system(50, 1)
    broken = episode.copy()
    broken[20, 1] = np.nan
    with pytest.raises(TraceError, match="not finite"):
        LinearArx.fit([episode, broken], 2, lags=2, ridge=0.0)
    with pytest.raises(TraceError, match="not finite"):
        LinearArx.select([episode], [broken], 2, horizon=5, lags=(2,))
    with pytest.raises(TraceError, match="longest episode 50"):
        LinearArx.fit([episode], 2, lags=50, ridge=0.0)
    with pytest.raises(SpecError, match="relative"):
        LinearArx.fit([episode], 2, lags=2, ridge=0.0, relative=(4,))
    model = LinearArx.fit([episode], 2, lags=5, ridge=1e-6)
    with pytest.raises(TraceError, match="5 or more"):
        model.forecast(np.zeros((1, 4, 4), np.float32), np.zeros((1, 3, 2), np.float32))


@pytest.mark.recordings
def test_hold_gives_the_published_errors_of_recorded_flights():
    """On the melon flights of the nano-drone benchmark, hold sums up to the naive SimErr, flight by flight.

    Ref: Busetto et al., arXiv 2512.14450; 50 steps from every sample without history, flights kept apart.
    """
    folder = Path(os.environ.get("RTSYSID_DATA", "no recordings")) / "nanodrone" / "test"
    paths = sorted(folder.glob("melon_*.csv.gz"))
    if not paths:
        pytest.skip("wants RTSYSID_DATA/nanodrone/test/melon_*.csv.gz")
    names = {"position": "x y z", "velocity": "vx vy vz", "attitude": "qx qy qz qw", "rotation rate": "wx wy wz"}
    outputs = [
        Channel(c, "quat" if group == "attitude" else "", "output", group)
        for group in names
        for c in names[group].split()
    ]
    errors = HorizonErrors(outputs)
    for path in paths:
        with gzip.open(path, "rt") as lines:
            rows = [[float(row[c.name]) for c in outputs] for row in csv.DictReader(lines)]
        values = np.array(rows, np.float32)
        u_future, truth = forecast_windows(values, 0, np.arange(len(values) - 50), 50)
        errors.add(Hold(0).forecast(values[: len(truth), None], u_future), truth)
    assert errors.windows == 19347
    found = {name: error.sum() for name, error in errors.mean().items()}
    published = {"position": 17.682, "velocity": 38.725, "attitude": 8.194, "rotation rate": 28.985}
    assert found == pytest.approx(published, rel=2e-4)
