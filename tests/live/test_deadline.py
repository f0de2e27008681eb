"""Deadline accounting against numpy's own figures."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.errors import DeadlineError
from rtsysid.live.deadline import Deadline

latencies = st.lists(st.floats(-6, 2, exclude_max=True).map(lambda x: 10.0**x), min_size=1, max_size=300)


@given(latencies, st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_lie_within_a_bin_of_numpy(values: list[float], fraction: float) -> None:
    """A percentile is never below the exact nearest-rank one, and at most 2 % above it."""
    deadline = Deadline(1.0)
    for value in values:
        deadline.record(value)
    exact = float(np.quantile(values, fraction, method="inverted_cdf"))
    assert exact * (1 - 1e-9) <= deadline.percentile(fraction) <= exact * 1.02


@given(latencies, st.floats(1e-6, 10))
def test_worst_and_misses_are_exact(values: list[float], budget: float) -> None:
    """The worst latency and the number above the budget are exact, not binned."""
    deadline = Deadline(budget)
    for value in values:
        deadline.record(value)
    summary = deadline.summary()
    assert summary.worst == max(values)
    assert summary.misses == sum(value > budget for value in values)
    assert summary.n == len(values)
    assert summary.p50 <= summary.p99 <= summary.worst


@given(st.lists(st.floats(1e-4, 1.0), min_size=3, max_size=100))
def test_jitter_is_the_spread_of_the_period(intervals: list[float]) -> None:
    """Period and jitter are the mean and the standard deviation of the intervals between starts."""
    starts = np.concatenate([[1e6], 1e6 + np.cumsum(intervals)])
    deadline = Deadline(1.0)
    for start in starts.tolist():
        deadline.mark(start, start + 1e-3)
    summary = deadline.summary()
    assert summary.period == pytest.approx(np.diff(starts).mean(), rel=1e-9)
    assert summary.jitter == pytest.approx(np.diff(starts).std(), rel=1e-6, abs=1e-9)


def test_a_drop_is_counted_and_says_nothing_about_jitter() -> None:
    """Ten ticks that never came are ten drops, and do not look like one long period."""
    deadline = Deadline(0.001)
    for start in (0.0, 0.01, 0.02):
        deadline.mark(start, start)
    deadline.drop(10)
    for start in (0.13, 0.14):
        deadline.mark(start, start)
    summary = deadline.summary()
    assert (summary.n, summary.drops) == (5, 10)
    assert summary.period == pytest.approx(0.01)
    assert summary.jitter == pytest.approx(0.0, abs=1e-12)


def test_latency_exactly_at_the_budget_is_no_miss() -> None:
    """A deadline is missed when more than the budget went by."""
    deadline = Deadline(0.5)
    deadline.mark(1.0, 1.5)
    deadline.mark(2.0, 2.5000001)
    assert deadline.summary().misses == 1


def test_latencies_beyond_the_bins_are_kept() -> None:
    """Zero, negative, huge and infinite latencies are counted, and the worst stays exact."""
    deadline = Deadline(math.inf)
    for value in (0.0, -1.0, 1e-9):
        deadline.record(value)
    assert deadline.percentile(1.0) == deadline.worst == 1e-9
    for value in (100.0, 1e9, math.inf):
        deadline.record(value)
    assert deadline.percentile(0.5) == 1e-6
    assert deadline.percentile(0.99) == deadline.worst == math.inf
    assert deadline.summary().misses == 0


def test_an_unused_deadline_has_no_figures() -> None:
    """Without marks every figure is NaN, since zero would look like perfection; reset goes back to that."""
    deadline = Deadline(0.1)
    deadline.mark(0.0, 1.0)
    deadline.reset()
    summary = deadline.summary()
    assert summary.n == summary.misses == summary.drops == 0
    assert all(map(math.isnan, (summary.p50, summary.p99, summary.worst, summary.period, summary.jitter)))


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan])
def test_a_budget_that_is_no_time_is_refused(budget: float) -> None:
    """A budget of zero, a negative one or NaN would make every or no sample miss."""
    with pytest.raises(DeadlineError, match="positive number of seconds"):
        Deadline(budget)


def test_a_latency_that_is_not_a_number_is_refused() -> None:
    """NaN as a clock reading is a mistake of the caller, not a fast sample."""
    with pytest.raises(DeadlineError, match="one clock"):
        Deadline(1.0).record(math.nan)


def test_memory_does_not_grow() -> None:
    """Thirty thousand more marks take no more memory than the first three thousand."""
    deadline, random = Deadline(1e-3), np.random.default_rng(5)
    values = random.lognormal(-8, 2, 3000).tolist()

    def mark_all() -> None:
        for value in values:
            deadline.mark(0.0, value)

    mark_all()
    tracemalloc.start()
    try:
        mark_all()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(9):
            mark_all()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 32 * 1024  # counts above 256 are objects of their own: at most one for each bin


def test_a_missed_deadline_is_an_error_with_its_count() -> None:
    """A latency above the budget is named with count, budget and worst case; latencies up to the budget are not."""
    deadline = Deadline(0.005)
    deadline.record(0.005)
    deadline.require_met("answers")
    deadline.record(0.0125)
    with pytest.raises(DeadlineError, match=r"answers: 1 of 2 took longer than 5 ms, the worst 12\.5 ms"):
        deadline.require_met("answers")
