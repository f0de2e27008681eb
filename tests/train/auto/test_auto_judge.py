"""Test the judgement of a network: what is surely better, and how much of a head is used."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from support.linear_robots import plain_spec

from rtsysid.evaluation.metrics import log_ratio, octaves
from rtsysid.train.auto.judge import JudgedRows, errors_on, fit_gains, ground_of, least_regret, surely_better
from rtsysid.train.linear_path import silence
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences

GROUPS = ("y", "v", "w")
HORIZON = 6
ONES = torch.ones(3, 3)  # gains of the linear model
DRIFT = np.array([0.1, -0.1, 0.04])  # change of each output at every tick


def spread(seed: int = 0, count: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4))


def test_a_known_difference_is_surely_better() -> None:
    """Errors that are lower by a fifth of their spread are better, in 200 forecasts, and not the other way around."""
    reference = 5.0 + spread()
    lower = reference - 0.2 + 0.1 * spread(1)
    assert surely_better(lower, reference)
    assert not surely_better(reference, lower)


def test_what_lies_inside_the_spread_is_not_better() -> None:
    """A difference that changes its sign from block to block is not called better, whatever its mean."""
    swing = np.repeat(np.where(np.arange(20) % 2, 1.0, -1.05), 10)[:, None]
    assert not surely_better(5.0 + swing, np.full((200, 1), 5.0))


@pytest.mark.parametrize("count", [1, 2, 19])
def test_a_few_forecasts_prove_nothing(count: int) -> None:
    """Forecasts from neighbouring rows are nearly one: of fewer than twenty no difference is sure, nor is it a NaN."""
    with np.errstate(all="raise"):
        assert not surely_better(np.zeros((count, 3)), np.ones((count, 3)))


def network_of(bias: list[float]) -> Network:
    """A network whose linear path holds, and whose head adds the same increment in every state."""
    spec = plain_spec(age_bands=(2, 4))
    torch.manual_seed(0)
    network = Network(spec).eval()
    for layer in (network.head, network.linear_path):
        silence(layer)
    network.head.bias.data.copy_(torch.tensor(bias))
    return network


def drifting(rows: int) -> JudgedRows:
    """The ground of one recording whose outputs change by `DRIFT` at every tick, and by a little noise."""
    rng = np.random.default_rng(2)
    values = np.zeros((rows, 4), np.float32)
    values[:, 1:] = np.arange(rows)[:, None] * DRIFT + 1e-3 * rng.standard_normal((rows, 3))
    spec = plain_spec()
    return ground_of(Sequences([values]), spec.settling_samples, HORIZON)


def test_a_right_head_is_used_a_wrong_one_is_not_and_a_strong_one_in_part() -> None:
    """A head that knows the drift keeps its gain of 1, one of the other sign gets 0, and one of twice the drift 1/2."""
    network = network_of([0.1, 0.1, 0.08])
    gains = fit_gains(network, ONES, drifting(120), GROUPS)
    assert network.head_gain.tolist() == [[1.0, 0.0, 0.5]] * 3
    assert (gains.errors[:, [0, 2]].mean(0) < 0.2 * gains.linear[:, [0, 2]].mean(0)).all()
    assert np.allclose(gains.errors[:, 1], gains.linear[:, 1])


def test_a_head_of_noise_is_not_used() -> None:
    """Increments of both signs around outputs that stay get a gain of 0: the linear model holds already."""
    network = network_of([0.05, -0.02, 0.01])
    ground = drifting(120)
    still = ground._replace(parts=tuple(rows[:, :1].expand_as(rows) for rows in ground.parts))
    fit_gains(network, ONES, still, GROUPS)
    assert not network.head_gain.any()


def test_gains_come_from_bands_that_forecasts_reach() -> None:
    """Rows older than any forecast get the gain of the last band that was judged."""
    network = network_of([0.1, 0.1, 0.1])
    ground = drifting(120)
    shorter = tuple(rows[:, : rows.shape[1] - 3] for rows in ground.parts)
    fit_gains(network, ONES, ground._replace(parts=shorter, horizon=3), GROUPS)
    assert network.head_gain[1].tolist() == network.head_gain[2].tolist()


def test_too_few_forecasts_leave_the_linear_model() -> None:
    """Where nothing is sure, even a right head is not used, and the errors stated are those of the linear model."""
    network = network_of([0.1, -0.1, 0.04])
    gains = fit_gains(network, ONES, drifting(plain_spec().settling_samples + HORIZON + 5), GROUPS)
    assert not network.head_gain.any()
    assert np.array_equal(gains.linear, gains.errors)


def test_a_network_that_predicts_alone_takes_over_where_it_is_better() -> None:
    """The linear map knows y and v, and the network v and w: each group takes the better one, with its gains."""
    network = network_of([0.0, -0.1, 0.04])
    network.linear_path.bias.data.copy_(torch.tensor([0.1, 0.3, 0.0]))
    network.linear_gain.data.zero_()
    gains = fit_gains(network, ONES, drifting(120), GROUPS)
    assert network.head_gain.tolist() == [[0.0, 1.0, 1.0]] * 3
    assert network.linear_gain.tolist() == [[1.0, 0.0, 0.0]] * 3
    assert (gains.errors.mean(0) < 0.3 * np.abs(DRIFT)[:, None] * np.arange(1, HORIZON + 1)).all()


def test_the_linear_model_keeps_the_first_ticks_where_it_is_better_there() -> None:
    """A linear map that is right at first and then held leads up to the age from which the network is better."""
    network = network_of([0.08, -0.08, 0.03])
    network.linear_path.bias.data.copy_(torch.from_numpy(DRIFT).float())
    network.linear_gain.data.zero_()
    linear_gain = torch.tensor([[1.0], [0.0], [0.0]]).expand(3, 3)  # as a linear model that loses its way after 2 ticks
    fit_gains(network, linear_gain, drifting(120), GROUPS)
    assert network.linear_gain.tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3]
    assert network.head_gain.tolist() == [[0.0] * 3, [1.0] * 3, [1.0] * 3]


def test_errors_are_by_group_and_tick_and_the_score_weighs_octaves_alike() -> None:
    """Hold's error grows by the drift at every tick; the score is the mean logarithm of the ratio over octaves."""
    network, ground = network_of([0.0, 0.0, 0.0]), drifting(120)
    errors = errors_on(network, ground)
    assert np.allclose(errors.mean(0), np.abs(DRIFT)[:, None] * np.arange(1, HORIZON + 1), atol=0.01)
    ratio = np.where(np.arange(HORIZON) < 1, 2.0, 1.0)
    assert np.isclose(log_ratio((errors * ratio).mean(0), errors.mean(0)), np.log(2.0) * octaves(HORIZON)[0])


def test_of_two_networks_the_one_that_is_nowhere_far_off_is_taken() -> None:
    """A network that is a little worse at most ticks, and far better at the last ones, is the one to take."""
    near = np.array([[0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 3.0]])
    far = np.ones((1, 8))
    assert least_regret({"near": near, "far": far}) == "far"
    assert least_regret({"near": near, "far": 4 * far}) == "near"


@pytest.mark.parametrize("rows", [30, 4000])
def test_the_ground_is_spread_over_the_recordings(rows: int) -> None:
    """About as many sequences as were asked for, each of settling and horizon rows."""
    values = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    ground = ground_of(Sequences([values]), 10, 5, count=40)
    assert ground.parts[0].shape[1:] == (15, 4)
    assert min(16, 40) <= sum(map(len, ground.parts)) <= 80


def test_half_of_the_ground_has_a_longer_history_where_most_recordings_have_one() -> None:
    """A network whose state drifts after the trained history is judged on what it does there, too."""
    long, short = np.zeros((400, 4), np.float32), np.zeros((30, 4), np.float32)
    lengths = [[rows.shape[1] for rows in ground_of(Sequences(each), 10, 5).parts] for each in ([long], [short, long])]
    assert lengths == [[15, 75], [15, 75]]
    assert len(ground_of(Sequences([short, short, long]), 10, 5).parts) == 1


def test_a_block_of_forecasts_covers_the_horizon_and_is_in_time_order() -> None:
    """Of 500 forecasts from 590 rows, those of 50 neighbouring rows count as one; of sparse ones ten."""
    values = np.arange(700, dtype=np.float32)[:, None]
    ground = ground_of(Sequences([values]), 10, 50)
    newest = torch.cat([rows[:, -1, 0] for rows in ground.parts])[ground.order]
    assert (newest.diff() >= 0).all()
    assert all(part[ground.block] - part[0] >= 45 for part in newest.unfold(0, ground.block + 1, 1))
    assert ground_of(Sequences([np.zeros((9000, 1), np.float32)]), 10, 50).block == 10


def test_the_unit_of_the_network_of_these_tests_is_1() -> None:
    """What the head adds is in engineering units here."""
    assert set(msgspec.structs.astuple(plain_spec().scaling)[-3]) == {1.0}
