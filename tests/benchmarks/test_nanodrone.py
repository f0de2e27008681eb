"""Test the nano-drone benchmark: starts, layouts and split, on generated and on real flights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.benchmark_parts import config_of, copying, need, weights_of

from rtsysid.benchmarks.nanodrone import (
    INPUTS,
    LAYOUTS,
    STARTS,
    STATES,
    Nanodrone,
    coasting,
    forecasts_of,
    score,
    starts_of,
)
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.metrics import horizon_errors
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.coordinates import coordinates
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import ModelSpec, RigidBody, unit_scaling


def flights(count: int = 2, rows: int = 130, seed: int = 0) -> tuple[Episode, ...]:
    """Draw random walks with the channels of the nano-drone; quaternions have length one."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        values = np.cumsum(rng.standard_normal((rows, 17)), 0).astype(np.float32)
        values[:, 10:14] /= np.linalg.norm(values[:, 10:14], axis=1, keepdims=True)
        made.append(Episode(f"melon{k}", np.arange(rows) / 100, values))
    return tuple(made)


def standing(order: list[int]) -> Predictor:
    """Return the hold model, with the states in another order than in `STATES`."""
    channels = (*INPUTS, *(STATES[k] for k in order))
    spec = ModelSpec(channels=channels, rate_hz=100.0, encoder=(), taps=3, hidden=1, linear_path=True)
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec))
    return Predictor(spec, NumpyBackend(spec, weights_of(spec, {})))


def test_nanodrone_predictions_have_one_order() -> None:
    """Predictions have the channel order of `STATES`, for any channel order of the model."""
    flown = flights()
    for start in STARTS:
        predicted = forecasts_of(standing([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2]), flown, start)
        at = starts_of(flown, start)
        now = np.stack([flown[k].values[t, 4:] for k, t in zip(*at, strict=True)])
        np.testing.assert_allclose(predicted, np.repeat(now[:, None], 50, 1), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="channels of benchmark nanodrone"):
        forecasts_of(copying(False)[1], flown, "50 samples")


def test_the_names_of_columns_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of a forecast holds the channel that is named for it, wherever the file has that channel."""
    order = sorted([*INPUTS, *STATES], key=lambda channel: channel.name)
    values = np.tile(np.arange(17.0, dtype=np.float32), (120, 1))
    Trace(tuple(order), (Episode("melon", np.arange(120) / 100, values),)).write(tmp_path / "nanodrone/test/melon.csv")
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    drone = Nanodrone()
    found = dict(zip((channel.name for channel in drone.outputs), drone.hold()["pred"][0, 0], strict=True))
    assert found == {channel.name: k for k, channel in enumerate(order) if channel in STATES}


def test_a_perfect_forecast_scores_zero_in_the_safe_layout_alone() -> None:
    """The truth scores 0 in the boundary-safe layout. In the paper's layout a few rows cross into the next flight."""
    flown = flights()
    for start in STARTS:
        at = starts_of(flown, start)
        perfect = np.stack([flown[k].values[t + 1 : t + 51, 4:] for k, t in zip(*at, strict=True)])
        safe = score("m", flown, start, "boundary-safe", perfect).errors
        paper = score("m", flown, start, "paper", perfect).errors
        assert all(max(errors) < 1e-5 for errors in safe.values())
        assert all(errors[0] < 1e-5 < errors[-1] for errors in paper.values())
    with pytest.raises(TraceError, match="the protocol has"):
        score("m", flown, "50 samples", "paper", perfect[1:])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_coasting_ends_at_the_row_and_moves_as_it_says(samples: int, seed: int) -> None:
    """The synthetic history ends at x_t, with constant velocities and consistent positions and attitudes."""
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(17).astype(np.float32)
    row[10:14] /= np.linalg.norm(row[10:14])
    rows = coasting(row, samples)
    assert rows.shape == (samples, 17)
    np.testing.assert_allclose(rows[-1], row, atol=1e-6)
    np.testing.assert_allclose(np.diff(rows[:, 4:7], axis=0), np.tile(0.01 * row[7:10], (samples - 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows[:, 10:14], axis=1), 1.0, atol=1e-5)
    turned = np.abs(np.sum(rows[1:, 10:14].astype(float) * rows[:-1, 10:14], 1))
    np.testing.assert_allclose(turned, np.cos(0.005 * np.linalg.norm(row[14:17])), atol=1e-5)
    assert (rows[:, [0, 1, 2, 3, 7, 8, 9, 14, 15, 16]] == row[[0, 1, 2, 3, 7, 8, 9, 14, 15, 16]]).all()


def test_coasting_turns_about_the_axes_of_the_body() -> None:
    """The attitude of a tilted drone is extrapolated about its body axes."""
    half = np.sqrt(0.5)
    row = np.zeros(17, np.float32)
    row[10:14], row[14:17] = (half, 0, 0, half), (0, 0, 100 * np.pi / 2)  # a quarter turn per tick
    # (half, 0, 0, half) * (0, 0, -half, half), multiplied out by hand
    np.testing.assert_allclose(coasting(row, 2)[0, 10:14], (0.5, 0.5, -0.5, 0.5), atol=1e-6)


@pytest.mark.recordings
def test_the_naive_model_has_the_published_figures() -> None:
    """Hold has the paper's scores on the real flights, and the known scores in the boundary-safe layout."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    held = drone.hold()
    assert held["pred_history_free"].shape == (19_347, 50, 13)
    paper, safe = (score("hold", drone.flights, "history-free", each, held["pred_history_free"]) for each in LAYOUTS)
    naive = drone.published[0]
    for measure in drone.measures:
        assert paper.errors[measure][:3] == pytest.approx(naive.errors[measure][:3], abs=2.5e-4)
        assert paper.errors[measure][3] == pytest.approx(naive.errors[measure][3], rel=2e-4)
    sums = [errors[3] for errors in safe.errors.values()]
    assert sums == pytest.approx([17.682, 38.725, 8.194, 28.985], abs=5e-3)


@pytest.mark.recordings
def test_the_authors_validation_flights_are_kept_apart() -> None:
    """Run 4 of each manoeuvre validates, nine flights train, and no test flight is among them."""
    trace = need("nanodrone").training(config_of("nanodrone").data.channels)
    training, validation = trace.split(config_of("nanodrone").data.validation)
    assert {e.name.split("_")[0] for e in validation.episodes} == {"chirp", "random", "square"}
    assert all(e.name.endswith("run4") for e in validation.episodes)
    assert len(training.episodes) == 9
    assert not any("melon" in e.name for e in trace.episodes)


@pytest.mark.recordings
def test_a_manoeuvre_left_out_is_not_trained_on_and_alone_judges() -> None:
    """Without random flights, training has none of them, and the four of them are the test flights."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    left = drone.without("random")
    kinds = {e.name.split("_")[0] for e in left.training(config_of("nanodrone").data.channels).episodes}
    assert kinds == {"chirp", "square"}
    assert [e.name.split("_")[0] for e in left.flights] == ["random"] * 4
    assert left.published == ()
    with pytest.raises(ConfigError, match="choose among chirp, random, square"):
        drone.without("melon")


@pytest.mark.recordings
def test_recorded_positions_are_not_the_integral_of_the_velocities() -> None:
    """Integrating the recorded velocities and rates of the random flights errs by 1.3 m and 0.7 rad over 50 ticks."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    flights = drone.without("random").flights
    values = np.concatenate([e.values[t : t + 51][None] for e in flights for t in range(50, len(e) - 51, 40)])
    values = values.astype(np.float64)
    body = RigidBody(("qx", "qy", "qz", "qw"), ("wx", "wy", "wz"), ("vx", "vy", "vz"), ("x", "y", "z"), kinematics=True)
    coords = coordinates(ModelSpec(channels=(*INPUTS, *STATES), rate_hz=100, rigid_body=body), np)
    row, ahead = values[:, 0], []
    for after in np.moveaxis(values[:, 1:], 1, 0):
        y = coords.next_outputs(row, coords.targets(row, after[:, 4:]))
        ahead.append(y)
        row = np.concatenate((after[:, :4], y), 1)
    errors = horizon_errors(np.stack(ahead, 1), values[:, 1:, 4:], STATES)
    assert errors["velocity"].sum() < 1e-6
    assert errors["position"].sum() == pytest.approx(1.3, abs=0.1)
    assert errors["rotation"].sum() == pytest.approx(0.7, abs=0.1)
