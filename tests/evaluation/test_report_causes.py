"""Test the parts of which a report names causes: shares, lags, swings, quantities, the sentence of the verdict."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import make_attitude_spec, make_spec

from rtsysid.evaluation.report.causes import Cause, is_new_motion
from rtsysid.evaluation.report.explained import block_means, explained_share, octave_blocks
from rtsysid.evaluation.report.lags import missed_lags
from rtsysid.evaluation.report.quantities import ShownOutputs, roll_pitch_yaw, rotation_error
from rtsysid.evaluation.report.ringing import growing_swing
from rtsysid.evaluation.report.verdict import Reach, verdict_of


def test_a_share_is_measured_on_what_was_left_out() -> None:
    """Half of the power is explained by the feature that causes it, nothing by forty that are noise."""
    rng = np.random.default_rng(0)
    cause, noise = rng.standard_normal((2, 800, 1))
    assert explained_share(cause, cause + noise)[0] == pytest.approx(0.5, abs=0.06)
    assert explained_share(rng.standard_normal((800, 40)), noise)[0] < 0.03


@given(st.integers(0, 20), st.integers(1, 200))
def test_octaves_cover_every_lag_once(first: int, count: int) -> None:
    """Blocks of lags follow each other without a gap, from the first lag to before the last."""
    blocks = octave_blocks(first, first + count)
    assert blocks[0][0] == first
    assert blocks[-1][1] == first + count
    assert all(a[1] == b[0] for a, b in pairwise(blocks))


def test_block_means_are_those_of_the_rows() -> None:
    """A block of lags 2 and 3 is the mean of the rows two and three ticks before."""
    x = np.random.default_rng(0).standard_normal((50, 2)).cumsum(0)
    rows = np.array([10, 30])
    assert np.allclose(block_means(x, rows, [(2, 4)]), (x[rows - 2] + x[rows - 3]) / 2)


@pytest.mark.parametrize("dead", [50, 120])
def test_a_dead_time_far_beyond_the_taps_is_found(dead: int) -> None:
    """With 4 taps an input that acts 50 or 120 ticks late is found at that lag, slow as it is, as a dead time."""
    rng = np.random.default_rng(0)
    u = np.repeat(rng.uniform(-1, 1, (300, 2)), 10, axis=0)
    y = np.zeros((len(u), 3))
    y[dead + 1 :, 1] = np.cumsum(0.1 * u[: -dead - 1, 0])
    y[:, 1] += 0.01 * rng.standard_normal(len(u))
    error = np.diff(y, axis=0, prepend=0.0)
    (found,) = missed_lags(make_spec(), [u], [error], [y], 50)
    assert (found.input, found.output) == ("u0", 1)
    assert found.first == found.begins == dead + 1
    assert found.dead_time(4)


def test_a_force_that_moves_a_position_has_no_dead_time() -> None:
    """With 1 tap the position of a pushed mass begins to move after the window has ended: it lacks rows, no more."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (3000, 2))
    y = np.zeros((len(u), 3))
    y[2:, 1] = np.cumsum(np.cumsum(0.1 * u[:-2, 0]) * 0.1)
    error = np.diff(y, axis=0, prepend=0.0) + 1e-3 * rng.standard_normal(y.shape)
    found = missed_lags(make_spec(), [u], [error], [y], 50)
    assert not any(each.dead_time(1) for each in found)


def test_an_input_that_acts_at_once_and_goes_on_is_no_dead_time() -> None:
    """The mean of twelve rows of an input asks for taps: the output begins to move with the first of them."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((3000, 2))
    y = np.stack([np.convolve(u[:, 0], np.ones(12) / 12)[: len(u)]] * 3, 1)
    y = np.concatenate((np.zeros((1, 3)), np.cumsum(y, axis=0)[:-1]))
    (found,) = missed_lags(make_spec(), [u], [np.diff(y, axis=0, prepend=0.0)], [y], 50)
    assert not found.dead_time(4)
    assert found.last == 12


def swings(pole: complex, runs: int = 8, ticks: int = 300) -> np.ndarray:
    """Runs of an oscillator with this pole, from random starts."""
    start = np.random.default_rng(0).standard_normal((runs, 1)) + 0.5j
    return np.real(start * pole ** np.arange(ticks))


def test_new_motion_is_told_from_a_drifted_sensor() -> None:
    """A sensor that alone leaves the range of training may have drifted; where an input leaves it too, in 4 of 10 rows,
    the motion is new, and constant errors say nothing of a sensor. Other attitudes alone are no new motion."""
    beyond = np.zeros((10, 5), np.bool_)
    beyond[:, 3] = True
    assert not is_new_motion(make_spec(), beyond, "y1")
    beyond[:4, 0] = True
    assert is_new_motion(make_spec(), beyond, "y1")
    assert is_new_motion(make_spec(), beyond, "y0")
    attitude = make_attitude_spec()
    turned = np.array([[channel.unit == "quat" for channel in attitude.channels]])
    assert not is_new_motion(attitude, turned, "y0")


def test_only_a_growing_swing_rings() -> None:
    """A swing that grows is found with its frequency; one that decays, a run-away and a drift are not."""
    grows, hz = growing_swing(swings(1.01 * np.exp(2j * np.pi * 0.1)), 100.0)
    assert grows is not None
    assert grows > 1.3
    assert hz == pytest.approx(10.0, rel=0.1)
    for quiet in (swings(0.99 * np.exp(2j * np.pi * 0.1)), swings(1.02), np.cumsum(np.ones((8, 300)), 1)):
        assert growing_swing(quiet, 100.0)[0] is None


def test_a_quaternion_is_one_rotation() -> None:
    """Its four components are one quantity in rad; q and -q do not differ, and a turn differs by its angle."""
    shown = ShownOutputs(make_attitude_spec())
    assert [(q.name, q.unit) for q in shown.quantities] == [("attitude", "rad"), ("y0", "m/s"), ("y1", "m")]
    assert shown.names[:3] == ["attitude roll", "attitude pitch", "attitude yaw"]
    half = np.array([np.sin(0.15), 0, 0, np.cos(0.15)])
    level = np.array([0, 0, 0, 1.0])
    assert np.allclose(rotation_error(-level, level), 0)
    assert np.allclose(rotation_error(half, level), [0.3, 0, 0])
    assert np.allclose(roll_pitch_yaw(-half), [0.3, 0, 0])


def reach(group: str, ticks: int, relative: float = 0.1) -> Reach:
    return Reach(group, group, ticks, ticks / 50, relative)


def cause(fault: str, effect: float) -> Cause:
    return Cause(fault, ("u1",), ("y",), 0.5, effect, "evidence", f"mend the {fault}")


def test_the_verdict_says_how_far_for_what() -> None:
    """Groups of one reach are named together, useless ones apart; a good model is called good."""
    spec = make_spec()
    mixed = verdict_of(
        spec, [reach("v", 10), reach("p", 25), reach("w", 0)], 50, "run1 at 3 s", [cause("dead time", 0.3)]
    )
    assert mixed.sentence == (
        "usable up to 0.2 s ahead for v, 0.5 s for p; not usable for w; fault: dead time (u1); worst on run1 at 3 s; "
        "first thing to do: mend the dead time"
    )
    assert mixed.grade == "poor"
    good = verdict_of(spec, [reach("v", 50), reach("p", 50)], 50, "run1 at 3 s", [])
    assert (
        good.sentence
        == "usable up to 1 s ahead, as far as tested, for v and p: good; worst on run1 at 3 s; nothing to do"
    )
    assert good.grade == "good"
    none = verdict_of(spec, [reach("v", 0)], 50, "run1 at 3 s", [])
    assert none.sentence.startswith("not usable")
    assert none.grade == "poor"


def test_a_small_fault_leaves_a_fair_grade() -> None:
    """A model that reaches the whole horizon but has a cause of a small effect is not called good."""
    fair = verdict_of(make_spec(), [reach("v", 50)], 50, "run1 at 3 s", [cause("too few taps", 0.05)])
    assert fair.grade == "fair"
    assert "good" not in fair.sentence
