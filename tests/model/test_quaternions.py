"""Quaternions among the outputs of plain coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.robots import make_attitude_spec, make_body_spec, make_spec

from rtsysid.evaluation.metrics import group_errors
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Channel, ModelSpec

SPEC = make_attitude_spec()
COORDS = coordinates(SPEC, np)
QUATERNION, OTHERS = [0, 1, 3, 4], [2, 5]  # outputs: qx, qy, y0, qz, qw, y1
seeds = st.integers(0, 2**32 - 1)


def rows_of(seed: int, count: int = 2) -> np.ndarray:
    """Rows [3, count, C] whose quaternions have length one and turn little from row to row."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((3, count, SPEC.width))
    q = rng.standard_normal((3, 1, 4)) + 0.2 * np.cumsum(rng.standard_normal((3, count, 4)), 1)
    rows[..., 2:][..., QUATERNION] = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return rows


@given(seeds, st.sampled_from(["increment", "absolute"]))
def test_a_predicted_quaternion_has_length_one(seed: int, output: Any) -> None:
    """Whatever the targets are, NumPy and torch scale the quaternion to length one, and touch no other output."""
    spec = make_attitude_spec(output=output)
    newest, target = rows_of(seed)[:, 0], np.random.default_rng(seed).standard_normal((3, 6))
    y = coordinates(spec, np).next_outputs(newest, target)
    raw = target + newest[:, 2:] * (output == "increment")
    np.testing.assert_allclose(np.linalg.norm(y[:, QUATERNION], axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        y[:, QUATERNION] * np.linalg.norm(raw[:, QUATERNION], axis=1)[:, None], raw[:, QUATERNION]
    )
    assert np.array_equal(y[:, OTHERS], raw[:, OTHERS])
    theirs = coordinates(spec, torch).next_outputs(*map(torch.from_numpy, (newest, target)))
    np.testing.assert_allclose(y, theirs.numpy(), atol=1e-12)


def test_a_quaternion_of_zeros_divides_by_nothing() -> None:
    """Zeros stay zeros: the length is kept from being one."""
    assert np.array_equal(COORDS.next_outputs(np.zeros((1, SPEC.width)), np.zeros((1, 6))), np.zeros((1, 6)))


@given(seeds)
def test_targets_lead_to_the_next_row(seed: int) -> None:
    """The targets computed from two rows lead from the first to the second, whichever of q and -q it shows."""
    rows = rows_of(seed)
    for sign in (1, -1):
        following = rows[:, 1, 2:].copy()
        following[:, QUATERNION] *= sign
        found = COORDS.next_outputs(rows[:, 0], COORDS.targets(rows[:, 0], following))
        np.testing.assert_allclose(COORDS.error(found, following), 0.0, atol=1e-9)
        assert ((found * rows[:, 0, 2:])[:, QUATERNION].sum(1) >= 0).all()


@given(seeds)
def test_the_error_of_training_is_that_of_the_nearer_sign(seed: int) -> None:
    """q in place of -q, on either side, changes the size of no error, in NumPy and in torch; the nearer one counts."""
    truth, predicted = rows_of(seed)[:, 1, 2:], rows_of(seed)[:, 0, 2:]
    expected = np.abs(COORDS.error(predicted, truth))
    flip = np.where(np.isin(np.arange(6), QUATERNION), -1.0, 1.0)
    for a, b in ((predicted * flip, truth), (predicted, truth * flip), (predicted * flip, truth * flip)):
        np.testing.assert_allclose(np.abs(COORDS.error(a, b)), expected, atol=1e-12)
        theirs = coordinates(SPEC, torch).error(torch.from_numpy(a), torch.from_numpy(b))
        np.testing.assert_allclose(theirs.abs().numpy(), expected, atol=1e-12)
    size = np.linalg.norm(expected[:, QUATERNION], axis=1)
    assert (size <= np.linalg.norm((predicted + truth)[:, QUATERNION], axis=1) + 1e-12).all()


@given(seeds)
def test_errors_are_angles_of_any_length(seed: int) -> None:
    """The error of the group is one angle, also of a baseline whose quaternion has another length and sign."""
    truth, predicted = rows_of(seed)[:, 1, 2:], rows_of(seed)[:, 0, 2:]
    expected = group_errors(predicted[:, None], truth[:, None], SPEC.outputs)["attitude"]
    scaled = predicted.copy()
    scaled[:, QUATERNION] *= -2.5
    np.testing.assert_allclose(
        group_errors(scaled[:, None], truth[:, None], SPEC.outputs)["attitude"], expected, atol=1e-9
    )


@pytest.mark.parametrize("spec", [make_spec(), make_body_spec()], ids=["none", "body"])
def test_what_has_no_quaternion_of_its_own_is_left(spec: ModelSpec) -> None:
    """Without one, or with a rigid body, whose coordinates keep it one, nothing is scaled."""
    assert spec.quaternions == ()


def test_a_quaternion_among_the_inputs_is_a_command() -> None:
    """Four inputs of unit quat are what they are."""
    parts = [Channel(name, "quat", "input", "commanded") for name in ("qx", "qy", "qz", "qw")]
    assert ModelSpec(channels=(*parts, Channel("y")), rate_hz=10.0).quaternions == ()
