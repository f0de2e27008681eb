"""Link 2 of the parity chain: a sequence at once equals tick by tick."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.robots import (
    flight,
    make_body_spec,
    make_driven_spec,
    make_moving_spec,
    make_spec,
    make_turret_spec,
)
from torch import Tensor

from rtsysid.schedule import Loss, Stage, rows_needed
from rtsysid.train.losses import Objective
from rtsysid.train.network import Network
from rtsysid.train.windows import row_windows

CHOICES = [
    {},
    {"cell": "gru"},
    {"cell": "gru", "state_init": "network", "linear_path": True, "encoder_taps": 1, "head_sees_code": True},
    {"feedback": False, "output": "absolute"},
    {"feedback": ("y0", "y2"), "linear_path": True},
    {"state_init": "network", "output": "absolute", "head_sees_code": True},
    {"degree": 3, "linear_path": True},
    {"relative": ("y0",)},
    {"friction": (("y0", 0.5),), "linear_path": True},
    {"integrate": (("y1", "y2"),), "output": "absolute"},
    {"state_init": "zero", "linear_path": True, "output": "absolute"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@torch.no_grad()
def test_sequence_equals_steps(variant: str, choice: dict[str, object]) -> None:
    """Teacher-forced predictions do not depend on whether the ticks are computed together or one by one."""
    torch.manual_seed(1)
    network = Network(make_spec(variant, **choice)).eval()
    seen = row_windows(torch.randn(3, 30, 5), network.spec.taps)
    compare_sequence_with_steps(network, seen)


def compare_sequence_with_steps(network: Network, seen: Tensor) -> None:
    """Compare all predictions over windows [B, T, L, C], and the last state, with those of single steps."""
    state = network.initial_state(seen[:, 0])
    together, last = network.sequence(seen, state)
    singly = []
    for tick in range(seen.shape[1]):
        y, state = network.step(seen[:, tick], state)
        singly.append(y)
    torch.testing.assert_close(together, torch.stack(singly, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last, state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [make_body_spec, make_moving_spec, make_driven_spec, make_turret_spec])
@torch.no_grad()
def test_sequence_equals_steps_from_the_body(variant: str, make: Any) -> None:
    """The same in the coordinates of a rigid body, where every window has a frame of its own."""
    torch.manual_seed(1)
    network = Network(make(variant, linear_path=True)).eval()
    rows = torch.from_numpy(flight(30, seed=1).astype("float32"))
    seen = row_windows(rows, network.spec.taps)
    compare_sequence_with_steps(network, seen)


@torch.no_grad()
def test_a_forced_rollout_is_teacher_forcing(variant: str) -> None:
    """A rollout whose every tick is forced loses what the teacher-forced predictions of its ticks lose."""
    torch.manual_seed(2)
    stage = Stage("forced", ("cell", "head"), (Loss("rollout", horizon=12), Loss("one_step")))
    objective = Objective(Network(make_spec(variant)).eval(), stage, torch.ones(12, 3))
    rows = torch.randn(2, rows_needed(stage, objective.spec), 5)
    rollout, one_step = objective.terms(rows, ratio=1.0)
    torch.testing.assert_close(rollout, one_step, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(objective.terms(rows, ratio=0.8)[0], one_step, rtol=1e-3)


@torch.no_grad()
def test_a_free_rollout_never_looks_at_later_measurements(variant: str) -> None:
    """Outputs measured after the first window change nothing in free run; inputs do."""
    torch.manual_seed(3)
    network = Network(make_spec(variant)).eval()
    taps = network.spec.taps
    rows = torch.randn(2, taps + 10, 5)
    other = rows.clone()
    other[:, taps:, 2:] += 1.0
    state = network.initial_state(row_windows(rows, taps)[:, 0])
    free = network.rollout(row_windows(rows, taps), state)
    assert torch.equal(free, network.rollout(row_windows(other, taps), state))
    other[:, taps:, :2] += 1.0
    assert not torch.equal(free, network.rollout(row_windows(other, taps), state))


def test_further_warm_up_is_a_longer_warm_up() -> None:
    """Rows before a sequence that are said to be further warm-up give the loss of a model with as much more warm-up."""
    stage = Stage("s", ("head",), (Loss("rollout", horizon=4), Loss("one_step")))
    rows = torch.randn(2, 30, make_spec().width)
    losses = []
    for warmup, longer in ((3, 7), (10, 0)):
        torch.manual_seed(1)
        network = Network(make_spec(warmup=warmup)).eval()
        terms = Objective(network, stage, torch.ones(40, 3), longer).terms(rows)
        losses.append([term.item() for term in terms])
    assert losses[0] == losses[1]
