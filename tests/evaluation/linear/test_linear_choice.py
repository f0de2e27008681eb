"""Test the fit and the choice of linear models on robots whose law is known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.linear_robots import folds, plain_spec, recordings

from rtsysid.evaluation.linear.choice import GAINS, LinearChoice, Search, choose_linear
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import is_affine, linear_run, one_map, runs_of
from rtsysid.evaluation.linear.ridge import equations

HORIZON = 20
TARGETS = ("y", "v", "w")


def windows_of(pieces: list[np.ndarray], lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat windows with a final 1, and the increments of the outputs after them."""
    features, targets = [], []
    for piece in pieces:
        for k in range(lags, len(piece)):
            features.append([*piece[k - lags : k].astype(float).ravel(), 1.0])
            targets.append(piece[k, 1:].astype(float) - piece[k - 1, 1:])
    return np.array(features), np.array(targets)


def test_a_fit_without_a_fold_is_the_fit_to_the_others() -> None:
    """What a fold left out has no influence on the map that is judged on it."""
    pieces, spec = recordings(3, 80), plain_spec()
    whole = equations(spec, folds(pieces), 3)
    others = equations(spec, folds([pieces[0], pieces[2]]), 3).solve(1e-3)
    assert np.allclose(whole.solve(1e-3, fold=1).weights, others.weights, rtol=1e-9, atol=1e-12)
    assert np.allclose(whole.solve_folds(1e-3).weights[1], others.weights, rtol=1e-9, atol=1e-12)
    assert not np.allclose(whole.solve(1e-3).weights, others.weights)


def test_the_fit_is_that_of_least_squares_with_a_ridge() -> None:
    """numpy's least squares with a row for each ridge has the same solution; the bias has no ridge."""
    pieces, spec, ridge = recordings(2, 60), plain_spec(), 0.1
    found = equations(spec, folds(pieces), 2).solve(ridge).weights
    features, targets = windows_of(pieces, 2)
    penalty = np.sqrt(ridge * len(features)) * np.eye(features.shape[1])[:-1]
    system = np.concatenate((features, penalty)), np.concatenate((targets, np.zeros((len(penalty), 3))))
    assert is_affine(spec)
    assert np.allclose(found, np.linalg.lstsq(*system, rcond=None)[0], rtol=1e-7, atol=1e-9)


@pytest.fixture(scope="module")
def choice() -> LinearChoice:
    """What is chosen for a law with two lags, next to a random walk that nothing predicts."""
    search = Search(plain_spec(), folds(recordings(4, 150)), HORIZON, (2, 10))
    return choose_linear(search, TARGETS)


def test_the_law_of_a_linear_robot_is_found(choice: LinearChoice) -> None:
    """Position and speed are predicted to a thousandth of hold's error, in recordings that no fit has seen."""
    ratio = choice.judged.mean / choice.hold.mean
    assert choice.groups == TARGETS
    assert ratio[:2].max() < 1e-3
    fresh = runs_of(recordings(2, 150, seed=9), choice.spec, choice.model.lags, HORIZON, 100)
    error = np.abs(linear_run(choice.spec, choice.model, fresh) - fresh.truth).mean((0, 1))
    assert (error[:2] < 1e-3 * np.abs(fresh.hold - fresh.truth).mean((0, 1))[:2]).all()


def test_a_random_walk_is_not_predicted_worse_than_by_hold(choice: LinearChoice) -> None:
    """Where nothing can be known, recordings left out show about the error of hold; the other gains stay at 1."""
    ratio = choice.judged.mean[2] / choice.hold.mean[2]
    assert ratio.max() < 1.06
    assert (choice.model.gains[:, :2] == 1).all()


def test_gains_hold_a_group_whose_map_is_worse_than_hold() -> None:
    """The gains of a random walk, whose map fits noise, fall to 0; those of an output with a law stay."""
    search = Search(plain_spec(), folds(recordings(3, 70)), HORIZON, (30,))
    found = choose_linear(search, TARGETS)
    assert (found.model.gains[:, 2] <= min(gain for gain in GAINS if gain)).all()
    assert (found.judged.mean[2] / found.hold.mean[2]).max() < 1.1
    assert (found.judged.mean[:2] / found.hold.mean[:2]).max() < 0.1


def test_an_output_of_coarse_steps_rests_while_its_measurement_is_young() -> None:
    """A position that is rounded so coarsely that it rests for some ticks is held as long, and predicted later."""
    pieces = recordings(4, 150)
    for piece in pieces:
        piece[:, 1] = 0.5 * np.round(piece[:, 1] / 0.5)
    found = choose_linear(Search(plain_spec(), folds(pieces), HORIZON, (2, 10)), TARGETS)
    ratio = found.judged.mean[0] / found.hold.mean[0]
    assert ratio.max() < 1.1
    assert ratio[-1] < 0.8
    assert found.model.gains[0, 0] == 0
    assert found.model.gains[-1, 0] > 0


def test_what_the_caller_says_of_ages_holds() -> None:
    """A number of near ticks and bands that were asked for are not chosen otherwise."""
    search = Search(plain_spec(), folds(recordings(3, 60)), HORIZON, (2,))
    found = choose_linear(search, TARGETS, (4,), (3, 40)).model
    assert found.near_ticks == 4
    assert found.age_bands == (3,)  # no forecast is as old as 40


def test_lags_fit_into_the_shortest_fold() -> None:
    """Each fold is judged from the same starts as before, or fewer lags are tried; no error is a mean of nothing."""
    pieces = [*recordings(3, 150), *recordings(1, 40, seed=5)]
    search = Search(plain_spec(), folds(pieces), HORIZON, (2, 10, 40))
    assert search.lags == [2, 10]
    assert np.isfinite(search.hold.errors).all()
    assert Search(plain_spec(), folds([piece[:24] for piece in pieces]), HORIZON, (10,)).lags == [3]


def test_the_score_does_not_depend_on_the_unit_of_an_output() -> None:
    """Outputs of 1e-6 and 1e6 are chosen for as those of 1 are: equal errors with equal gains.

    Rounding in the outputs that are predicted exactly may tip a gain of the random walk by a step: that moves its error
    by less than a tenth.
    """
    spec, pieces, scores, chosen = plain_spec(), recordings(3, 60), [], []
    gains = None
    for factor in (1.0, 1e-6, 1e6):
        scales = np.array([1.0, factor, factor, factor])
        low, high = (tuple((sign * 4 * scales).tolist()) for sign in (-1, 1))
        scaling = msgspec.structs.replace(
            spec.scaling, std=tuple(scales.tolist()), low=low, high=high,
            feature_std=tuple(scales.tolist()), target_std=tuple(scales[1:].tolist()),
        )  # fmt: skip
        units = msgspec.structs.replace(spec, scaling=scaling)
        scaled = Folds([(piece * scales).astype(np.float32) for piece in pieces], [0, 1, 2])
        search = Search(units, scaled, HORIZON, (2, 5))
        found = choose_linear(search, TARGETS)
        gains = found.crossed.gains if gains is None else gains
        chosen.append((found.judged.mean / found.hold.mean)[2])
        scores.append((search.judged(found.crossed._replace(gains=gains)).mean / found.hold.mean)[2])
    assert np.allclose(scores[1], scores[0], rtol=1e-3)
    assert np.allclose(scores[2], scores[0], rtol=1e-3)
    assert np.allclose(chosen, chosen[0], rtol=0.08)


def test_an_early_age_does_not_pay_for_what_late_ones_need() -> None:
    """A noisy sensor, whose map is better than hold at first and worse later: the late gains alone fall to 0."""
    pieces, rng = recordings(3, 150), np.random.default_rng(1)
    for piece in pieces:
        piece[:, 3] += rng.standard_normal(len(piece)).astype(np.float32)
    found = choose_linear(Search(plain_spec(), folds(pieces), HORIZON, (10,)), TARGETS)
    ratio, gains = found.judged.mean[2] / found.hold.mean[2], found.model.gains[:, 2]
    assert ratio[0] < 0.95
    assert ratio.max() < 1.03
    assert gains[0] > gains[-1]


def test_a_group_that_moves_in_no_forecast_does_not_choose_the_map() -> None:
    """An output that jumps once, in the first row, leaves the mean error in ratio to hold's as it is without it."""
    pieces = recordings(4, 150)
    for piece in pieces:
        piece[:, 3] = 0.0
        piece[0, 3] = 1.0
    search = Search(plain_spec(), folds(pieces), HORIZON, (2, 10))
    assert not search.hold.mean[2].any()
    judged = search.judged(one_map(search.equations(10).solve_folds(1e-3)))
    moving = judged.mean[:2].mean(1) / search.hold.mean[:2].mean(1)
    assert search.relative(judged) == pytest.approx(moving.mean())
