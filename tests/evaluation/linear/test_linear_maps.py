"""Test linear maps and their free run against other ways to compute the same."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.linear_robots import aged_model, plain_spec, random_map, recordings
from support.robots import make_angle_spec, make_braked_spec, make_spec

from rtsysid.evaluation.baselines import LinearArx
from rtsysid.evaluation.linear.maps import (
    LinearMap,
    LinearModel,
    Runs,
    bounded_errors,
    is_affine,
    linear_run,
    one_map,
    runs_of,
    spec_of,
)
from rtsysid.spec import ModelSpec

AFFINE = {
    "plain": make_spec(age_bands=(2,)),
    "relative": make_spec(age_bands=(2,), relative=("y1",)),
    "not fed back": make_spec(age_bands=(2,), feedback=("y0", "y2"), relative=("y2",)),
}


def starts(spec: ModelSpec, ticks: int = 9, count: int = 6, rows: int = 5) -> Runs:
    """Random starts of free runs."""
    rng = np.random.default_rng(3)
    shapes = ((count, rows, spec.width), (count, ticks, spec.n_inputs), (count, ticks, spec.n_outputs))
    return Runs(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


@pytest.mark.parametrize("name", AFFINE)
def test_the_affine_form_is_the_map_of_the_features(name: str) -> None:
    """From the rows themselves and from scaled features a map computes the same targets."""
    spec = AFFINE[name]
    each, windows = random_map(spec, 3, size=1.0), starts(spec).windows.astype(np.float64)
    assert is_affine(spec)
    assert np.allclose(each.affine(spec).of_rows(windows, ()), each.of(spec, windows, ()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", [make_angle_spec(age_bands=(2,)), make_braked_spec(age_bands=(2,))])
def test_angles_and_friction_have_no_affine_form(spec: ModelSpec) -> None:
    """A matrix of the rows is not used where features depend on them otherwise."""
    assert not is_affine(spec)


@pytest.mark.parametrize("name", AFFINE)
def test_a_linear_run_is_that_of_the_arx_of_the_tables(name: str) -> None:
    """In plain coordinates the map forecasts what `LinearArx` of the same weights does."""
    spec = AFFINE[name]
    each, runs = random_map(spec, 3), starts(spec)
    arx = LinearArx.of_rows(3, spec.n_inputs, each.affine(spec).weights * np.asarray(spec.scaling.target_std))
    assert np.allclose(linear_run(spec, one_map(each), runs), arx.forecast(runs.windows, runs.u_future), atol=1e-9)


def rising(spec: ModelSpec, step: float, lags: int) -> LinearMap:
    """A map that adds `step` standard deviations of a target at every tick, whatever it sees."""
    own = spec_of(spec, lags)
    weights = np.zeros((own.window_size + 1, own.n_targets))
    weights[-1] = step
    return LinearMap(lags, weights)


def rises(spec: ModelSpec, model: LinearModel, runs: Runs) -> np.ndarray:
    """Mean change of the outputs at each tick, in steps of the target."""
    track = np.concatenate((runs.hold[:, :1], linear_run(spec, model, runs)), 1)
    found: np.ndarray = (np.diff(track, axis=1) / spec.scaling.target_std).mean((0, 2))
    return found


@pytest.mark.parametrize("near_ticks", [0, 1, 4])
def test_the_near_map_predicts_from_rows_younger_than_near_ticks(near_ticks: int) -> None:
    """Each tick changes the outputs by the step of the map for its age, and by no other."""
    spec = plain_spec()
    model = LinearModel(rising(spec, 1.0, 2), rising(spec, 3.0, 3), near_ticks, (), np.ones((1, 3)))
    assert np.allclose(rises(spec, model, starts(spec)), [1.0] * near_ticks + [3.0] * (9 - near_ticks))


def test_a_gain_scales_the_change_from_its_age_on_and_a_gain_of_0_holds() -> None:
    """Outputs change by the gain of the band of their age; with a gain of 0 they stay."""
    spec = plain_spec()
    each = rising(spec, 1.0, 2)
    model = LinearModel(each, each, 0, (2, 5), np.repeat([[1.0], [0.5], [0.0]], 3, 1))
    assert np.allclose(rises(spec, model, starts(spec)), [1, 1, 0.5, 0.5, 0.5, 0, 0, 0, 0])


def test_one_map_for_each_fold_runs_on_the_starts_of_that_fold() -> None:
    """Maps that were fitted without a fold forecast that fold alone."""
    spec, runs = plain_spec(), starts(plain_spec())
    first, second = random_map(spec, 2, 1), random_map(spec, 2, 2)
    both = LinearMap(2, np.stack((first.weights, second.weights)))
    joined = linear_run(spec, one_map(both), runs._replace(folds=(slice(0, 2), slice(2, 6))))
    alone = [linear_run(spec, one_map(each), runs) for each in (first, second)]
    assert np.allclose(joined, np.concatenate((alone[0][:2], alone[1][2:])), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_forecast_that_diverges_is_bounded_in_any_unit(scale: float) -> None:
    """An unstable map gives finite forecasts, and errors that are as large in every unit."""
    spec, largest = plain_spec(), (scale,) * 4
    scaling = msgspec.structs.replace(spec.scaling, low=largest, high=largest)
    spec = msgspec.structs.replace(spec, scaling=scaling)
    runs = starts(spec, ticks=60)
    wild = linear_run(spec, one_map(random_map(spec, 2, size=1e8)), runs)
    errors = bounded_errors(spec, wild, runs.truth)
    assert np.isfinite(wild).all()
    assert np.isclose(errors.max() / scale, 1e9, rtol=0.01)
    lost = bounded_errors(spec, np.full_like(wild, np.nan), runs.truth)
    assert np.allclose(lost / scale, 1e12)


def test_starts_are_spread_over_pieces_and_end_with_them() -> None:
    """Each start has its window, the inputs from its tick on, and the outputs that follow; none leaves its piece."""
    pieces = [values for rows in (60, 20, 45) for values in recordings(1, rows)]
    runs = runs_of(pieces, plain_spec(), past=10, horizon=20, count=1000)
    assert len(runs.truth) == (60 - 29) + (45 - 29)
    assert np.array_equal(runs.windows[0], pieces[0][:10])
    assert np.array_equal(runs.u_future[0, :, 0], pieces[0][9:29, 0])
    assert np.array_equal(runs.truth[-1], pieces[2][-20:, 1:])
    assert np.array_equal(runs.hold[0], np.repeat(pieces[0][9:10, 1:], 20, 0))


def test_thousands_of_pieces_give_as_many_starts_as_are_wanted() -> None:
    """A log with a gap in every second takes no longer than another one; pieces of the whole log are used."""
    pieces = [np.full((40, plain_spec().width), k, np.float32) for k in range(900)]
    runs = runs_of(pieces, plain_spec(), past=10, horizon=20, count=60)
    assert len(runs.truth) == 60
    assert (runs.truth[0, 0, 0], runs.truth[-1, 0, 0]) == (0, 899)


def test_the_aged_model_of_the_tests_has_no_two_equal_ages() -> None:
    """What other tests compare depends on the age at every change."""
    spec = plain_spec(near_ticks=3, age_bands=(2, 5))
    model = aged_model(spec)
    gains = [model.gain(age).tolist() for age in (0, 2, 5)]
    assert gains[0] != gains[1] != gains[2]
    assert model.lags == 3
