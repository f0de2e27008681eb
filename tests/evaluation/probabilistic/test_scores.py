"""Test the proper scores against scoringrules, and what they must do for known distributions."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules

from rtsysid.errors import SpecError, TraceError
from rtsysid.evaluation.probabilistic.nulls import null_futures
from rtsysid.evaluation.probabilistic.scores import (
    crps,
    energy_score,
    pit,
    variogram_score,
)
from rtsysid.model.intervals import central_intervals

RNG = np.random.default_rng(3)
FUTURES, TRUTH = RNG.standard_normal((40, 12)), RNG.standard_normal(12)


def test_the_energy_score_is_that_of_scoringrules() -> None:
    """The fair energy score agrees with the library to rounding."""
    assert energy_score(FUTURES, TRUTH) == pytest.approx(
        float(scoringrules.es_ensemble(TRUTH, FUTURES, estimator="fair")), rel=1e-9
    )


def test_the_crps_is_that_of_scoringrules() -> None:
    """The fair CRPS of every value agrees with the library to rounding, also with ties."""
    futures = np.concatenate((FUTURES, FUTURES[:5]))
    expected = scoringrules.crps_ensemble(TRUTH, futures.T, estimator="fair")
    np.testing.assert_allclose(crps(futures, TRUTH), expected, rtol=1e-9, atol=1e-12)


def test_the_variogram_score_is_that_of_scoringrules() -> None:
    """The variogram score agrees with the library, which sums over ordered pairs where ours is a mean over pairs."""
    pairs = TRUTH.size * (TRUTH.size - 1)
    expected = float(scoringrules.vs_ensemble(TRUTH, FUTURES, p=0.5)) / pairs
    assert variogram_score(FUTURES, TRUTH) == pytest.approx(expected, rel=1e-9)


def test_the_true_distribution_has_the_smallest_scores() -> None:
    """Samples of the distribution of the truth score better than too narrow, too wide and uncorrelated ones."""
    rng, mix = np.random.default_rng(5), np.linalg.cholesky(0.2 * np.eye(6) + 0.8)
    truths = rng.standard_normal((600, 6)) @ mix.T

    def mean_scores(change: float, shuffle: bool = False) -> tuple[float, float]:
        energy, variogram = 0.0, 0.0
        for truth in truths:
            futures = change * rng.standard_normal((60, 6)) @ mix.T
            futures = np.stack([rng.permutation(column) for column in futures.T], 1) if shuffle else futures
            energy += energy_score(futures, truth)
            variogram += variogram_score(futures, truth)
        return energy, variogram

    right = mean_scores(1.0)
    for other in (mean_scores(0.4), mean_scores(2.5), mean_scores(1.0, shuffle=True)):
        assert right[0] < other[0]
        assert right[1] < other[1]


@pytest.mark.parametrize("stated", [0.5, 0.8, 0.9, 0.95])
def test_intervals_hold_what_they_state(stated: float) -> None:
    """A new draw of the same distribution lies inside the central interval as often as stated, with 39 futures."""
    rng = np.random.default_rng(9)
    low, high = central_intervals(rng.standard_normal((39, 20_000)), stated)
    truth = rng.standard_normal(20_000)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(stated, abs=0.01)


def test_ranks_are_uniform() -> None:
    """The ranks of draws of the same distribution fill ten bins evenly; those of a shifted one do not."""
    rng = np.random.default_rng(9)
    futures, truth = rng.standard_normal((20, 10_000)), rng.standard_normal(10_000)
    counts, _ = np.histogram(pit(futures, truth, rng), 10, (0, 1))
    assert counts.min() > 850
    assert counts.max() < 1150
    shifted, _ = np.histogram(pit(futures, truth + 1, rng), 10, (0, 1))
    assert shifted[-1] > 2000


def test_residuals_keep_correlations_and_the_box_does_not() -> None:
    """The strong null model draws whole errors; the box draws each tick and output from its own errors alone."""
    rng = np.random.default_rng(1)
    pool = rng.standard_normal((500, 1, 1)) * np.array([1.0, 5.0])[:, None] * np.ones(2)
    residuals, box = (null_futures(name, pool, 4000, rng) for name in ("residuals", "box"))
    assert abs(np.corrcoef(residuals[:, 0, 0], residuals[:, 1, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(box[:, 0, 0], box[:, 1, 1])[0, 1]) < 0.1
    np.testing.assert_allclose(residuals.std(0), box.std(0), rtol=0.1)


def test_scores_of_one_future_and_nulls_of_nothing_are_refused() -> None:
    """One future has no spread, and no other recording has no errors: one line each."""
    with pytest.raises(SpecError, match="sample two or more"):
        energy_score(FUTURES[:1], TRUTH)
    with pytest.raises(TraceError, match="give more recordings"):
        null_futures("residuals", np.zeros((0, 3, 2)), 5, RNG)
