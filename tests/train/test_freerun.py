"""Free run with its gradient written out."""

from __future__ import annotations

import pytest
import torch
from support.robots import (
    AGED,
    make_angle_spec,
    make_attitude_spec,
    make_body_spec,
    make_braked_spec,
    make_spec,
    set_gains,
)

from rtsysid.spec import Channel, ModelSpec
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.track import target_layers
from rtsysid.train.windows import row_windows

CHOICES = [
    {"linear_path": True, "head_sees_code": True},
    {"feedback": False, "output": "absolute"},
    {"feedback": ("y0", "y2"), "linear_path": True},
    {"feedback": ("y1",), "output": "absolute"},
    {"degree": 3, "linear_path": True},
    {"feedback": ("y1", "y2"), "degree": 2},
    {"relative": ("y2",), "linear_path": True, "encoder_taps": 1},
    {"feedback": ("y1",), "relative": ("y1",), "head_sees_code": True},
    {"relative": ("y1", "y2"), "degree": 2},
    {"integrate": (("y1", "y2"),), "linear_path": True},
    {"feedback": ("y2",), "friction": (("y2", 0.5),)},
    {"linear_path": True, "near_ticks": 3},
    {"linear_path": True, "near_ticks": 200},
    {"linear_path": True, "age_bands": (1, 4, 400), "output": "absolute", "feedback": False},
    {"age_bands": (5,), "feedback": ("y0", "y2"), "encoder_taps": 1},
    {**AGED, "degree": 3},
    {**AGED, "head_sees_code": True},
]
COMPASS = (  # angles of two periods among inputs and outputs, next to a quaternion
    Channel("u0", "deg", "input", angle=True),
    Channel("y0", "deg", angle=True),
    *(Channel(name, "quat", group="attitude") for name in ("qx", "qy", "qz", "qw")),
    Channel("y1", "rad", angle=True),
    Channel("y2", "m"),
)
ANGLES = [
    {"linear_path": True},
    {"relative": (), "head_sees_code": True},
    {"relative": ("y1", "y2"), "linear_path": True, "encoder_taps": 2},
    {"feedback": ("y1", "y2"), "relative": ()},
    {"feedback": ("y2",), "relative": (), "degree": 3, "linear_path": True},
    {"feedback": False, "relative": (), "encoder_taps": 1},
    {"friction": (("y0", 40.0), ("y2", 0.5), ("y1", 90.0)), "linear_path": True},
    {"channels": COMPASS},
    {"channels": COMPASS, "relative": ("y1",), "friction": (("y0", 9e3), ("y1", 90.0)), **AGED, "head_sees_code": True},
    {"channels": COMPASS, "feedback": ("y0", "qz"), "relative": (), "age_bands": (1, 4), "linear_path": True},
    {"output": "absolute", "channels": (Channel("u0", "deg", "input", angle=True), *map(Channel, ("y0", "y1")))},
]


def rows_of(spec: ModelSpec, sequences: int = 3) -> torch.Tensor:
    """Random rows [B, 16, C] in which angles jump by whole turns, and others by less and more than half a turn."""
    reach = torch.tensor([0.7 * channel.period or 1.0 for channel in spec.channels], dtype=torch.float64)
    return torch.randn(sequences, 16, spec.width, dtype=torch.float64) * reach


def gradients(network: Network, predicted: torch.Tensor, state: torch.Tensor) -> list[torch.Tensor | None]:
    """Of a sum in which every tick and output weighs differently, for all weights and the first state."""
    weight = torch.linspace(-1, 2, predicted.numel(), dtype=predicted.dtype).view_as(predicted)
    trained = [p for n, p in network.named_parameters() if p.requires_grad and not n.startswith("decoder")]
    wanted = [*trained, state]
    return list(torch.autograd.grad((predicted * weight).sum(), wanted, allow_unused=True))


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_it_is_the_rollout_and_its_gradient(variant: str, choice: dict[str, object]) -> None:
    """Predictions and the gradient of every weight are those of the tick-by-tick loop under autograd."""
    compare_with_the_loop(make_spec(variant, **choice))


@pytest.mark.parametrize("linear_path", [False, True])
def test_it_is_the_rollout_under_friction(variant: str, linear_path: bool) -> None:
    """The same where friction brakes a speed and a position that travels."""
    compare_with_the_loop(make_braked_spec(variant, linear_path=linear_path))


@pytest.mark.parametrize(
    "choice", [{}, {"output": "absolute"}, {**AGED, "feedback": ("y0", "qz")}, {"feedback": False}], ids=str
)
def test_it_is_the_rollout_of_quaternions(variant: str, choice: dict[str, object]) -> None:
    """The same where predicted quaternions are scaled to length one."""
    compare_with_the_loop(make_attitude_spec(variant, **choice))


@pytest.mark.parametrize("choice", ANGLES, ids=range(len(ANGLES)))
def test_it_is_the_rollout_of_angles(choice: dict[str, object]) -> None:
    """The same of angles: inputs and outputs, relative or with a direction, fed back or not, with friction."""
    compare_with_the_loop(make_angle_spec(**choice))


def test_it_is_the_rollout_of_angles_in_one_row() -> None:
    """The same where a window of one row shows angles by their directions alone."""
    compare_with_the_loop(make_angle_spec("lstm"))


def test_a_linear_map_without_a_part_is_left_out() -> None:
    """Where gains of 0 silence a map that does not train, its product is left out, and all else is the same."""
    torch.manual_seed(1)
    network = set_gains(Network(make_spec(**AGED)).double())
    network.linear_gain.data[1] = 0.0
    for frozen in (network.linear_path, network.linear_near, network.linear_gain):
        frozen.requires_grad_(False)
    assert [target_layers(network, age).linear is None for age in (0, 2, 3, 5)] == [False, True, True, False]
    compare_network_with_the_loop(network)


def compare_with_the_loop(spec: ModelSpec) -> None:
    torch.manual_seed(1)
    compare_network_with_the_loop(set_gains(Network(spec).double()))


def compare_network_with_the_loop(network: Network) -> None:
    seen = row_windows(rows_of(network.spec), network.spec.taps)
    state = torch.randn(3, network.spec.state_size, dtype=torch.float64).requires_grad_()
    found, wanted = free_run(network, seen, state), network.rollout(seen, state)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(*(gradients(network, y, state) for y in (found, wanted)), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_weights_that_do_not_train_change_no_other_gradient() -> None:
    """Without gradients of linear maps and the first encoder layer, all others are the same, to the last bit."""
    torch.manual_seed(1)
    network = Network(make_spec(**AGED))
    seen = row_windows(torch.randn(3, 16, 5), network.spec.taps)
    every = trained(network, seen)
    for frozen in (network.linear_path, network.linear_near, network.encoder["1"]):
        frozen.requires_grad_(False)
    some = trained(network, seen)
    assert every.keys() - some.keys() == {
        f"{name}.{part}" for name in ("linear_path", "linear_near", "encoder.1") for part in ("weight", "bias")
    }
    for name, gradient in some.items():
        assert torch.equal(gradient, every[name])


def trained(network: Network, seen: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of a free run for each weight that has one."""
    network.zero_grad()
    free_run(network, seen, network.initial_state(seen[:, 0])).square().mean().backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def test_noise_disturbs_what_the_network_sees() -> None:
    """In training with feature noise a run differs from the quiet one, and its gradient is that of what was drawn."""
    torch.manual_seed(1)
    network = Network(make_spec(linear_path=True, head_sees_code=True)).double()
    network.noise = 0.1
    seen = row_windows(torch.randn(3, 16, 5, dtype=torch.float64), network.spec.taps)
    state = network.initial_state(seen[:, 0])

    def drawn(weight: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(2)
        return torch.func.functional_call(_Running(network), {"network.encoder.1.weight": weight}, (seen, state))

    quiet = free_run(network.eval(), seen, state)
    assert not torch.allclose(drawn(network.train().encoder["1"].weight), quiet)
    assert torch.autograd.gradcheck(drawn, network.encoder["1"].weight)


class _Running(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, seen: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return free_run(self.network, seen, state)


@pytest.mark.parametrize(
    "spec",
    [make_body_spec("lstm-tdl", linear_path=True), make_spec(cell="gru"), make_angle_spec(degree=2)],
    ids=["body", "gru", "powers"],
)
def test_what_is_not_written_out_takes_the_general_loop(spec: ModelSpec) -> None:
    """Rigid bodies, other cells and powers of angles give the very same predictions as `Network.rollout`."""
    torch.manual_seed(1)
    network = Network(spec).eval()
    seen = row_windows(torch.randn(2, 12, spec.width), network.spec.taps)
    state = network.initial_state(seen[:, 0])
    assert torch.equal(free_run(network, seen, state), network.rollout(seen, state))
