"""Calls that a controller needs, on every backend of one bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.robots import plant

from rtsysid.errors import SpecError
from rtsysid.model.backends.protocol import stacked
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.model.tolerance import GRADIENT
from rtsysid.spec import Floats

ROWS = plant(1, 40, seed=3).episodes[0].values
BACKENDS = ("c", "onnx", "numpy")
PLANS, TICKS = 37, 6


@pytest.fixture(scope="module")
def predictors(bundle_folder: Path) -> dict[str, Predictor]:
    bundle = Bundle.open(bundle_folder)
    return {name: Predictor.load(bundle, name, check=False) for name in BACKENDS}  # type: ignore[arg-type]


@pytest.fixture(params=BACKENDS)
def predictor(request: pytest.FixtureRequest, predictors: dict[str, Predictor]) -> Predictor:
    """A predictor after twenty samples."""
    return stepped(predictors[request.param], ROWS[:20])


def stepped(predictor: Predictor, rows: Floats) -> Predictor:
    predictor.reset()
    for row in rows:
        predictor.step(row)
    return predictor


def drawn(*shape: int) -> Floats:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 4, 5, 6, 20])
def test_decided_inputs_take_the_place_of_the_guess(predictor: Predictor, samples: int) -> None:
    """Whatever a step was told, `decide` leaves the predictor as if it had been told the decided inputs.

    Before the delay line is full, when it fills, and after; deciding twice, too. Later predictions have the same bits.
    """
    told = ROWS[:samples].copy()
    told[-1, 0] = 0.7
    wanted = [stepped(predictor, told).y.copy(), predictor.step(ROWS[samples]).copy(), predictor.forecast(drawn(3, 1))
              if samples >= 5 else 0]  # fmt: skip
    stepped(predictor, ROWS[:samples]).decide([-3.0])
    found = [predictor.decide([0.7]).copy(), predictor.step(ROWS[samples]).copy(), predictor.forecast(drawn(3, 1))
             if samples >= 5 else 0]  # fmt: skip
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("samples", [0, 3, 5, 20])
def test_a_restored_predictor_goes_on_to_the_same_bits(predictor: Predictor, samples: int) -> None:
    """A snapshot is all that a predictor remembers: what follows it is the same after other samples and a reset."""
    kept = stepped(predictor, ROWS[:samples]).snapshot()
    wanted = [predictor.step(row).copy() for row in ROWS[samples : samples + 8]]
    ready = predictor.ready
    stepped(predictor, ROWS[30:]).restore(kept)
    assert predictor.backend.count == samples
    assert np.array_equal([predictor.step(row).copy() for row in ROWS[samples : samples + 8]], wanted, equal_nan=True)
    assert predictor.ready == ready


@pytest.mark.parametrize("threads", [0, 2, 5])
def test_threads_share_the_plans(predictor: Predictor, threads: int) -> None:
    """Any number of threads gives the forecasts of one, whatever the number of plans."""
    for plans in (drawn(PLANS, TICKS, 1), drawn(1, TICKS, 1), drawn(TICKS, 1)):
        np.testing.assert_allclose(predictor.forecast(plans, threads=threads), predictor.forecast(plans), atol=1e-6)


def test_backends_agree_on_gradients(predictor: Predictor, predictors: dict[str, Predictor]) -> None:
    """One plan, a batch and the Jacobian are those of NumPy in float64, and the state does not change."""
    plans, costs = drawn(PLANS, TICKS, 1), drawn(PLANS, TICKS, 2)
    wanted = stepped(predictors["numpy"], ROWS[:20]).forecast_gradient(plans, costs, double=True)
    before, y = predictor.snapshot(), predictor.y.copy()
    largest = np.abs(wanted).max()
    assert np.abs(predictor.forecast_gradient(plans, costs) - wanted).max() < GRADIENT * largest
    assert np.abs(predictor.forecast_gradient(plans[4], costs[4]) - wanted[4]).max() < GRADIENT * largest
    jacobian = predictor.forecast_jacobian(plans[4])
    assert np.abs(np.tensordot(costs[4], jacobian, 2) - wanted[4]).max() < GRADIENT * largest
    assert not any(jacobian[n, :, n + 1 :].any() for n in range(TICKS))
    assert all(np.array_equal(a, b) for a, b in zip(predictor.snapshot(), before, strict=True))
    assert np.array_equal(predictor.y, y)


def test_a_warm_start_is_ready(predictor: Predictor) -> None:
    """One sample, or all that are known: the predictor is ready, and goes on as one that stepped through them."""
    predictor.warm_start(ROWS[7])
    assert predictor.ready
    assert np.isfinite(predictor.y).all()
    told = predictor.warm_start(ROWS[:15]).copy()
    assert np.array_equal(stepped(predictor, ROWS[:15]).y, told)


def test_a_plan_says_how_far_it_leaves_the_trained_range(predictor: Predictor) -> None:
    """Within the range it is 0; a width beyond the end it is 1."""
    low, high = (part[0] for part in (predictor.spec.scaling.low, predictor.spec.scaling.high))
    assert predictor.beyond_range([[low], [high]]) == 0
    assert predictor.beyond_range([[[low], [2 * high - low]]]) == pytest.approx(1)


BAD: dict[str, Callable[[Predictor], object]] = {
    r"u_future: the value at \[0, 2, 0\] is nan; give numbers": lambda p: p.forecast([[0], [0], [np.nan]]),
    r"dy: shape \(3, 1\); give \[3, 2\]": lambda p: p.forecast_gradient(drawn(3, 1), drawn(3, 1)),
    r"dy: the value at \[0, 0\] is inf": lambda p: p.forecast_gradient(drawn(1, 1), [[np.inf, 0]]),
    r"u_future: 10001 ticks, and a gradient has 10000 at most": (
        lambda p: p.forecast_gradient(np.zeros((10001, 1)), np.zeros((10001, 2)))
    ),
    r"u_future: 9999 ticks, and a gradient has \d+ at most": lambda p: p.forecast_jacobian(np.zeros((9999, 1))),
    r"give one plan \[N, 1\]": lambda p: p.forecast_jacobian(drawn(2, 3, 1)),
    r"decide: shape \(2,\); give \[1\]": lambda p: p.decide([1, 2]),
    r"decide: the value at \[0\] is nan": lambda p: p.decide([np.nan]),
    r"warm_start: shape \(4, 2\); give \[4, 3\]": lambda p: p.warm_start(drawn(4, 2)),
    r"rollout: shapes .*give stacked snapshots, and a plan \[N, 1\] of each": (
        lambda p: p.rollout(stacked([p.snapshot()] * 2), drawn(3, 4, 1))
    ),
    r"rollout: shapes \[\(1, 5, 3\), .*, \(4, 1\)\]": lambda p: p.rollout(stacked([p.snapshot()]), drawn(4, 1)),
    r"u_future: the value at \[0, 0, 0\] is nan": lambda p: p.forecast_gradient([[np.nan]], [[1, 1]]),
    r"snapshot: .*give one of this model": lambda p: p.restore(p.snapshot()._replace(state=drawn(3))),
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(predictor: Predictor, line: str) -> None:
    """The line names the fault, the value and the remedy; the predictor goes on."""
    before = predictor.snapshot()
    with pytest.raises(SpecError, match=line):
        BAD[line](predictor)
    assert all(np.array_equal(a, b) for a, b in zip(predictor.snapshot(), before, strict=True))


def test_a_decision_needs_a_sample(predictor: Predictor) -> None:
    """`decide` before the first step is refused; so is a gradient before the delay line is full."""
    predictor.reset()
    with pytest.raises(SpecError, match="decide: no sample was stepped; step the sample of this tick first"):
        predictor.decide([0.0])
    predictor.step(ROWS[0])
    with pytest.raises(SpecError, match="forecast: 1 of 5 samples; step more samples first"):
        predictor.forecast_gradient(drawn(2, 1), drawn(2, 2))
