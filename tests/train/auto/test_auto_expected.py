"""Test the interval that a training states for the error on new recordings."""

from __future__ import annotations

from typing import cast

import numpy as np
from support.linear_robots import plain_spec

from rtsysid.evaluation.linear.choice import Judged, LinearChoice
from rtsysid.train.auto.expected import expected_errors, with_network
from rtsysid.train.auto.judge import ratio

FOLDS, GROUPS, TICKS = 5, 600, 20


def choice_of(errors: np.ndarray) -> LinearChoice:
    """A choice that was judged with these errors [f, G, N]."""
    judged = Judged(errors, np.ones(len(errors)))
    fields = dict.fromkeys(LinearChoice._fields, None)
    names = tuple(f"g{k}" for k in range(errors.shape[1]))
    return cast(LinearChoice, LinearChoice(**{**fields, "spec": plain_spec(), "judged": judged, "groups": names}))  # type: ignore[arg-type]


def drawn(spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors of folds [f, G, N] and of one more recording [G, N], whose logarithms have this spread."""
    logs = spread * np.random.default_rng(0).standard_normal((FOLDS + 1, GROUPS, 1)) + np.log(np.arange(1, TICKS + 1))
    return np.exp(logs[:-1]), np.exp(logs[-1])


def test_the_interval_holds_new_recordings_of_a_known_spread() -> None:
    """Of recordings that differ as the folds do, about the share that is stated lies inside, at every tick."""
    errors, new = drawn(0.2)
    stated = expected_errors(choice_of(errors)).groups.values()
    for at, tick in enumerate((1, 2, 5, 10, 20)):
        low, high = ([getattr(group, key)[at] for group in stated] for key in ("low", "high"))
        inside = np.mean((low <= new[:, tick - 1]) & (new[:, tick - 1] <= high))
        assert 0.7 < inside < 0.9


def test_ticks_beyond_the_forecasts_are_not_stated() -> None:
    """Twenty ticks were judged: fifty are not mentioned."""
    stated = expected_errors(choice_of(drawn(0.1)[0])).groups["g0"]
    assert stated.ticks == (1, 2, 5, 10, 20)
    assert len(stated.error) == len(stated.low) == len(stated.high) == 5


def test_equal_folds_and_errors_of_0_still_give_an_interval() -> None:
    """No number of recordings rules out every difference, and an exact model breaks no logarithm."""
    equal = expected_errors(choice_of(np.ones((FOLDS, 1, TICKS)))).groups["g0"]
    assert all(low < error < high for low, error, high in zip(equal.low, equal.error, equal.high, strict=True))
    exact = expected_errors(choice_of(np.zeros((FOLDS, 1, TICKS)))).groups["g0"]
    assert np.isfinite(exact.high).all()


def test_what_the_network_leaves_scales_the_whole_interval() -> None:
    """A network that halves the error of one tick halves error and interval there, and nothing else."""
    stated = expected_errors(choice_of(drawn(0.1)[0][:, :2]))
    ratio = np.ones((2, TICKS))
    ratio[1, 4] = 0.5  # the third of the ticks that are stated
    scaled, before = with_network(stated, ratio), stated.groups["g1"]
    assert scaled.groups["g0"] == stated.groups["g0"]
    assert scaled.linear == stated.linear
    for key in ("error", "low", "high"):
        assert np.allclose(getattr(scaled.groups["g1"], key), np.array(getattr(before, key)) * [1, 1, 0.5, 1, 1])


def test_where_the_linear_model_has_no_error_the_stated_one_stays() -> None:
    """An output that rests in the validation recordings says nothing: no error of 0 or without bound is stated."""
    stated = expected_errors(choice_of(drawn(0.1)[0][:, :1]))
    still = np.zeros((3, 1, TICKS))
    assert with_network(stated, ratio(still, still)) == stated
    moved = with_network(stated, ratio(still + 1e9, still)).groups["g0"]
    assert max(*moved.error, *moved.high) <= 1e30  # what is written can be read
