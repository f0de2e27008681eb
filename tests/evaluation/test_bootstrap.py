"""Test the ratio of mean errors and its interval: known cases, and coverage on errors like their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.evaluation.bootstrap import block_numbers, error_ratio, ratio_interval

errors_of = st.lists(st.floats(0.01, 100), min_size=12, max_size=60).map(np.array)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 130), min_size=1, max_size=6).filter(any), st.integers(1, 50))
def test_a_block_lies_in_one_recording(counts: list[int], length: int) -> None:
    """Each forecast has a block; blocks are consecutive, not longer than stated, and none is in two recordings."""
    blocks = block_numbers(counts, length)
    recording = np.repeat(np.arange(len(counts)), counts)
    assert len(blocks) == sum(counts)
    assert set(np.diff(blocks)) <= {0, 1}
    assert np.unique(blocks).tolist() == list(range(sum(-(-count // length) for count in counts)))
    assert np.bincount(blocks).max() <= length
    assert all(len(set(recording[blocks == block])) == 1 for block in np.unique(blocks))


@settings(max_examples=30)
@given(errors_of, st.floats(0.1, 10))
def test_what_is_always_twice_as_wrong_is_known_exactly(peer: np.ndarray, factor: float) -> None:
    """The comparison is paired: a multiple of every error of the peer has that ratio, without spread."""
    blocks = block_numbers([len(peer)], 5)
    assert ratio_interval([factor * peer], [peer], blocks) == pytest.approx((factor, factor, factor))


@settings(max_examples=30)
@given(errors_of, st.integers(0, 1000), st.floats(0.001, 1000))
def test_the_unit_of_the_errors_does_not_matter(peer: np.ndarray, seed: int, unit: float) -> None:
    """Errors in another unit give the same interval, and the ratio of the means lies in it."""
    model = np.abs(peer + np.random.default_rng(seed).normal(0, 1, len(peer))) + 0.01
    blocks = block_numbers([len(peer)], 3)
    one = ratio_interval([model], [peer], blocks)
    assert ratio_interval([unit * model], [unit * peer], blocks) == pytest.approx(one)
    assert one.ratio == pytest.approx(model.mean() / peer.mean())
    assert one.low <= one.high


def test_errors_of_zero_have_a_ratio() -> None:
    """Two perfect predictors are equal; against a perfect peer an error is infinitely worse."""
    nothing, something, blocks = np.zeros((1, 20)), np.ones((1, 20)), block_numbers([20], 5)
    assert ratio_interval(nothing, nothing, blocks) == (1.0, 1.0, 1.0)
    assert ratio_interval(something, nothing, blocks) == (np.inf, np.inf, np.inf)
    assert error_ratio([0.0, 1.0, 4.0], [0.0, 0.0, 2.0]).tolist() == [1.0, np.inf, 2.0]


def test_the_spread_of_seeds_widens_the_interval() -> None:
    """Three seeds that are half, equally and one and a half times as wrong give the ratio 1, and an interval around it;
    the same three on both sides do, too, since a seed of the one has nothing to do with that of the other."""
    peer, blocks = np.ones((1, 500)), block_numbers([500], 50)
    seeds = np.array([0.5, 1.0, 1.5])[:, None] * peer
    one = ratio_interval(seeds, peer, blocks)
    assert one.ratio == pytest.approx(1.0)
    assert one.low < 0.8
    assert one.high > 1.2
    both = ratio_interval(seeds, seeds, blocks)
    assert both.low < one.low
    assert both.high > one.high


def test_what_does_not_fit_is_refused() -> None:
    """Other numbers of forecasts, and none at all, raise TraceError."""
    with pytest.raises(TraceError, match=r"give \[seeds, 20\]"):
        ratio_interval(np.ones((1, 19)), np.ones((1, 20)), block_numbers([20], 5))
    with pytest.raises(TraceError, match="no forecast"):
        block_numbers([0, 0], 5)


def neighbours(random: np.random.Generator, forecasts: int, memory: float) -> np.ndarray:
    """Positive errors [forecasts] with mean 1, each of which resembles the one before."""
    noise = random.normal(0, np.sqrt(1 - memory**2), forecasts)
    noise[0] = random.normal()
    for k in range(1, forecasts):
        noise[k] += memory * noise[k - 1]
    return np.exp(0.5 * noise - 0.125)


def test_an_interval_covers_as_often_as_it_says() -> None:
    """Over errors with a memory of ten ticks, nine of ten intervals hold the true ratio, if blocks are longer than the
    memory; single forecasts as blocks would pretend to know four times as much."""
    random, covered, pretended, true = np.random.default_rng(0), 0, 0, 1.1
    for trial in range(100):
        peer = neighbours(random, 1000, 0.9)
        model = true * peer * neighbours(random, 1000, 0.9)
        interval = ratio_interval([model], [peer], block_numbers([480, 520], 50))
        covered += interval.low <= true <= interval.high
        if trial < 40:
            interval = ratio_interval([model], [peer], block_numbers([480, 520], 1))
            pretended += interval.low <= true <= interval.high
    assert 0.78 <= covered / 100 <= 0.97
    assert pretended / 40 < 0.6
