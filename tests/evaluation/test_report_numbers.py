"""Test the numbers of a report: worst forecasts, fits, ratios to baselines, coverage, times."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.judged import judged
from support.robots import make_spec, plant

from rtsysid.errors import TraceError
from rtsysid.evaluation.horizon import Evaluation
from rtsysid.evaluation.report.advice import RULES
from rtsysid.evaluation.report.content import SECTIONS
from rtsysid.evaluation.report.judge import (
    Forecasts,
    interval_coverage,
    judge,
    quantity_fits,
    worst_forecasts,
)
from rtsysid.evaluation.report.metric_values import baseline_ratios, metric_values, significant
from rtsysid.evaluation.report.observed import observe
from rtsysid.model.bundle import Bundle
from rtsysid.model.intervals import Intervals
from rtsysid.recordings.trace import Episode, Trace


def forecasts(bad: dict[int, float], starts: int = 60, horizon: int = 10) -> Forecasts:
    """Errors of 1 everywhere, but as large as `bad` says at some starts."""
    episode = Episode("log", np.arange(200) / 100, np.zeros((200, 5), np.float32))
    truth = np.zeros((starts, horizon, 3))
    predicted = np.ones_like(truth)
    for start, error in bad.items():
        predicted[start] = error
    return Forecasts([(episode, k + 20) for k in range(starts)], predicted, truth)


def test_the_worst_forecasts_do_not_overlap() -> None:
    """Of neighbouring bad forecasts only the worst is taken; the next one is elsewhere, even if much better."""
    found = worst_forecasts(make_spec(), forecasts({10: 9.0, 11: 8.0, 12: 7.0, 40: 3.0}))
    assert [round(s.start_s * 100) - 20 for s in found][:2] == [10, 40]
    assert found[0].times == pytest.approx(9.0)
    assert found[0].groups == {name: pytest.approx(9.0) for name in ("y0", "y1", "y2")}
    assert len(found[0].predicted["y0"]) == 11
    assert len(found[0].measured["y0"]) == len(found[0].t) == found[0].n_before + 11


def test_a_forecast_beyond_the_range_of_training_names_its_channels() -> None:
    """A channel that leaves low .. high in the rows of the forecast is named; others are not."""
    made = forecasts({10: 9.0})
    made.starts[0][0].values[35, 1] = 4.5
    assert worst_forecasts(make_spec(), made)[0].outside == ["u1"]


def test_a_forecast_that_diverges_is_the_worst() -> None:
    """Infinity ranks first and leaves the others comparable."""
    found = worst_forecasts(make_spec(), forecasts({5: np.inf, 40: 3.0}))
    assert [s.times for s in found[:2]] == [np.inf, pytest.approx(3.0)]


def test_fits_of_known_predictions() -> None:
    """A perfect step fits 100 %, the mean as forecast fits 0, an offset is bias, a diverged forecast fits nothing."""
    rng = np.random.default_rng(0)
    measured = rng.standard_normal((500, 3))
    noise = 0.1 * rng.standard_normal((500, 3)) * [0, 1, 1] + [0, 0, 0.3]
    truth = rng.standard_normal((200, 3))
    near = measured - noise, measured
    fits = quantity_fits(make_spec(), near, (np.broadcast_to(truth.mean(0), truth.shape), truth))
    assert fits[0].fit_percent == 100.0
    assert fits[1].nrmse == pytest.approx(0.1, rel=0.1)
    assert fits[2].bias == pytest.approx(3.0, rel=0.1)
    assert fits[0].free_fit_percent == pytest.approx(0.0, abs=1e-9)
    diverged = quantity_fits(make_spec(), near, (np.full(truth.shape, np.inf), truth))
    assert diverged[0].free_nrmse == np.inf


def test_chance_correlations_are_not_a_finding() -> None:
    """About three of 300 random sets give a false finding; one true correlation among a hundred is detected."""
    r = np.random.default_rng(0).standard_normal((300, 25, 4)) / 100
    bounds = np.full(4, 2.5758 / 100)
    assert sum(significant(each, bounds) > 0 for each in r) <= 9
    r[0, 3, 2] = -0.06
    assert significant(r[0], bounds) == pytest.approx(0.06)


def test_a_model_is_measured_by_the_better_baseline() -> None:
    """The ratio uses the smaller baseline error at that tick; against an exact baseline it is 1 or infinite."""
    errors = {"model": {"g": [1.0, 0.0]}, "hold": {"g": [4.0, 0.0]}, "linear ARX": {"g": [2.0, float("inf")]}}
    evaluation = Evaluation(2, 50.0, 1, {"g": "m"}, errors)
    assert baseline_ratios(evaluation, 1) == {"g": 0.5}
    assert baseline_ratios(evaluation, 2) == {"g": 1.0}


def test_every_metric_with_advice_is_measured(bundle_folder: Path, tiny_trace: Trace) -> None:
    """A judgement and a history give each metric of the table, but of known and unknown range maybe one alone."""
    bundle = Bundle.open(bundle_folder)
    judgement = judged(bundle, tiny_trace)
    history = [{"index": i, "stage": "a", "validation": 1.0 - i / 10} for i in range(5)]
    found = metric_values(judgement, history)
    assert set(RULES) - set(found) <= {"worst forecast, range known", "worst forecast, beyond the range"}
    assert found["training"] == {"stage a": pytest.approx(1 / 7)}
    assert set(SECTIONS) == set(RULES)


def test_times_are_seconds_from_the_start_of_a_recording(bundle_folder: Path, tiny_trace: Trace) -> None:
    """Recordings whose clock counts from 1970 are judged at seconds from their start."""
    bundle = Bundle.open(bundle_folder)
    late = tuple(dataclasses.replace(e, t=e.t + 1.7e9) for e in tiny_trace.episodes)
    judgement = judged(bundle, dataclasses.replace(tiny_trace, episodes=late))
    assert all(0 <= each.start_s < 10 and max(each.t) < 10 for each in judgement.worst)
    assert all(o.seconds[0] == 0 for o in judgement.every)


def test_coverage_counts_what_lies_inside(calibrated_folder: Path) -> None:
    """Exact forecasts are covered fully, forecasts with large errors not at all, over the horizon of the intervals."""
    bundle = Bundle.open(calibrated_folder)
    intervals = Intervals.of(bundle)
    assert intervals is not None
    truth = np.zeros((7, intervals.horizon + 5, 2))
    exact = interval_coverage(bundle.spec, Forecasts([], truth, truth), intervals)
    off = interval_coverage(bundle.spec, Forecasts([], truth + 1e9, truth), intervals)
    assert [each.stated for each in exact] == [0.5, 0.8, 0.9, 0.95]
    assert {share for each in exact for share in each.measured.values()} == {1.0}
    assert {share for each in off for share in each.measured.values()} == {0.0}


def observed_with(bundle: Bundle, trace: Trace, horizon: int) -> tuple[Any, ...]:
    every, evaluation = observe(bundle, trace, horizon, 1)
    return every, "short", evaluation, 1


def test_too_few_rows_for_the_residual_tests(bundle_folder: Path) -> None:
    """A recording with room for one forecast but fewer than 25 residuals is refused in one line."""
    bundle, trace = Bundle.open(bundle_folder), plant(1, 25)
    trace = Trace(bundle.spec.channels, trace.episodes)
    with pytest.raises(TraceError, match="residual tests"):
        judge(bundle, *observed_with(bundle, trace, 5))
