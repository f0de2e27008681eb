"""Test the GRU peer: it learns, it sees what it should, and its time is an argument."""

from __future__ import annotations

from itertools import islice

import msgspec
import numpy as np
import pytest
import torch
from support.robots import plant

from rtsysid.benchmarks.robots import HORIZON, PAST
from rtsysid.errors import TraceError
from rtsysid.evaluation.baselines import Hold
from rtsysid.evaluation.metrics import forecast_windows, horizon_errors
from rtsysid.experiments import gru_peer
from rtsysid.experiments.gru_peer import GruPeer, fit_gru, processor_shares
from rtsysid.spec import Channel, ModelSpec

SPEC = ModelSpec(channels=plant(1, 10).channels, rate_hz=50.0, warmup=0)
ROWS = [episode.values for episode in plant(4, 250).episodes]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and validation in the middle and at the end: a fraction of the time."""
    monkeypatch.setattr(gru_peer, "BATCH", 16)
    monkeypatch.setattr(gru_peer, "JUDGED", 2)


def few(batches: int) -> list[float]:
    return [k / batches for k in range(batches)]


def windows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = np.arange(PAST - 1, len(values) - HORIZON)
    history = values[starts[:, None] + np.arange(1 - PAST, 1)]
    return history, *forecast_windows(values, 1, starts, HORIZON)


def carts(count: int) -> list[np.ndarray]:
    """A position and a leaky speed under white noise: an input says nothing about the one after it."""
    made, random = [], np.random.default_rng(0)
    for _ in range(count):
        rows = np.zeros((200, 3), np.float32)
        rows[:, 0] = random.normal(0, 1, 200)
        for k in range(199):
            rows[k + 1, 1:] = rows[k, 1:] * (1.0, 0.8) + rows[k, 0]
        made.append(rows)
    return made


def test_a_few_batches_beat_standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 40 batches at a high rate, forecasts of an unseen recording are better than those of hold, one tick ahead,
    where only the input of the newest row says what comes, and 50 ticks ahead."""
    monkeypatch.setattr(gru_peer, "RATE", 3e-2)
    *train, validation, test = carts(5)
    history, u_future, truth = windows(test)
    hold = horizon_errors(Hold(1).forecast(history, u_future), truth, SPEC.outputs)
    found = horizon_errors(
        fit_gru(train, [validation], SPEC, 0, few(40)).forecast(history, u_future), truth, SPEC.outputs
    )
    assert all(found[name][0] < 0.45 * hold[name][0] for name in hold)
    assert all(found[name][-1] < 0.5 * hold[name][-1] for name in hold)


def test_a_rollout_is_the_explicit_loop() -> None:
    """Free run equals one call of nn.GRU for each row, a linear map and a hidden layer, tick by tick."""
    channels = (Channel("u", "rad", "input", angle=True), Channel("y", "m"), Channel("v", "rad", angle=True))
    spec = msgspec.structs.replace(SPEC, channels=channels, relative=("y",))
    peer = GruPeer(spec, ROWS)
    torch.nn.init.normal_(peer.last)
    rows = torch.as_tensor(ROWS[0][None, : PAST + 5])
    state, y, expected = None, rows[:, PAST - 1, 1:], []
    for k in range(PAST + 4):
        y = rows[:, k, 1:] if k < PAST else y
        seen = torch.cat([peer.see_inputs(rows[:, k, :1]), peer.see_outputs(y)], 1)
        h, state = peer.gru(seen[:, None], state)
        if k >= PAST - 1:
            corrected = torch.tanh(peer.hidden_row(seen) + peer.hidden_state(h[:, 0])) @ peer.last
            y = y + (peer.linear(seen) + corrected) * peer.step
            expected.append(y)
    found = peer.rollout(rows[:, :PAST], rows[:, PAST - 1 : PAST + 4, :1])
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=1e-4, atol=1e-5)


def test_the_seed_chooses_the_model() -> None:
    """Two trainings with one seed agree, and another seed gives another model."""
    history, u_future, _ = windows(ROWS[3])
    first, again, other = (
        fit_gru(ROWS[:3], ROWS[3:], SPEC, seed, few(3)).forecast(history, u_future) for seed in (0, 0, 1)
    )
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert np.abs(other - first).max() > 1e-3


def test_the_newest_inputs_are_the_planned_ones() -> None:
    """The inputs of the newest row of a history are replaced by the plan, as for every predictor."""
    peer = fit_gru(ROWS[:3], ROWS[3:], SPEC, 0, few(2))
    history, u_future, _ = windows(ROWS[3])
    changed = history.copy()
    changed[:, -1, 0] = 99.0
    np.testing.assert_array_equal(peer.forecast(changed, u_future), peer.forecast(history, u_future))


def test_a_drifting_output_is_not_seen() -> None:
    """Where an output is relative, adding a constant to it adds that constant to the forecast; others are seen."""
    relative = msgspec.structs.replace(SPEC, relative=("y",))
    history, u_future, _ = windows(ROWS[3])
    moved = history + np.array([0, 1, 0], np.float32)
    for spec, unmoved in ((relative, True), (SPEC, False)):
        peer = fit_gru(ROWS[:3], ROWS[3:], spec, 0, few(3))
        difference = peer.forecast(moved, u_future) - peer.forecast(history, u_future)
        assert np.allclose(difference, [1, 0], atol=1e-4) == unmoved


def test_an_angle_comes_back_after_a_turn() -> None:
    """A whole turn more changes nothing but the turn of the forecast."""
    channels = (SPEC.channels[0], Channel("y", "rad", angle=True), SPEC.channels[2])
    peer = fit_gru(ROWS[:3], ROWS[3:], msgspec.structs.replace(SPEC, channels=channels), 0, few(3))
    history, u_future, _ = windows(ROWS[3])
    turned = history + np.array([0, 2 * np.pi, 0], np.float32)
    difference = peer.forecast(turned, u_future) - peer.forecast(history, u_future)
    np.testing.assert_allclose(difference, np.broadcast_to([2 * np.pi, 0], difference.shape), atol=1e-3)


def test_a_quaternion_keeps_its_length() -> None:
    """Forecasts of a group of four quat channels have length one, from the first tick to the last."""
    random = np.random.default_rng(0)
    q = np.cumsum(random.normal(0, 0.05, (300, 4)), 0) + random.normal(0, 1, 4)
    rows = np.c_[random.normal(0, 1, 300), q / np.linalg.norm(q, axis=1, keepdims=True)].astype(np.float32)
    states = tuple(Channel(f"q{axis}", "quat", group="attitude") for axis in "xyzw")
    spec = ModelSpec(channels=(Channel("u", "", "input"), *states), rate_hz=50.0)
    peer = fit_gru([rows[:180]], [rows[180:]], spec, 0, few(3))
    y = peer.forecast(rows[None, :PAST], np.ones((1, HORIZON, 1), np.float32))
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1.0, atol=1e-5)


def test_time_is_an_argument() -> None:
    """The shares follow the clock that is given, and end when the time is over."""
    ticks = iter([100.0, 100.0, 101.0, 104.0, 110.0])
    assert list(processor_shares(10.0, lambda: next(ticks))) == pytest.approx([0.0, 0.1, 0.4])
    assert len(list(islice(processor_shares(1e6), 3))) == 3


def test_a_constant_output_and_one_thread_do_no_harm() -> None:
    """Constant channels divide nothing by zero, and the threads of torch are as before."""
    rows = [np.c_[each[:, :1], np.full(len(each), 3.0), each[:, 2:]].astype(np.float32) for each in ROWS]
    before = torch.get_num_threads()
    peer = fit_gru(rows[:3], rows[3:], SPEC, 0, few(3))
    history, u_future, _ = windows(rows[3])
    assert np.isfinite(peer.forecast(history, u_future)).all()
    assert torch.get_num_threads() == before


def test_recordings_that_are_too_short_are_refused() -> None:
    """Episodes of less than 100 rows raise TraceError."""
    with pytest.raises(TraceError, match="no episode of 100 rows"):
        fit_gru([ROWS[0][:99]], ROWS[1:], SPEC, 0, few(1))
    assert isinstance(GruPeer(SPEC, ROWS), torch.nn.Module)
