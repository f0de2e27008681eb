"""Calls that a controller needs, on every backend of one bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.robots import plant

from rtsysid.errors import SpecError
from rtsysid.model.backends.protocol import Snapshot, stacked
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


def test_a_forecast_and_its_way_back_are_the_two_calls(predictor: Predictor) -> None:
    """`forecast_vjp` gives the bits of `forecast` and `forecast_gradient`, for any number of costs of one plan.

    It stays valid after other samples, other plans and other gradients, and each of two keeps its own forecast.
    """
    plans, costs = drawn(2, TICKS, 1), drawn(3, TICKS, 2)
    wanted = [[predictor.forecast_gradient(plan, cost) for cost in costs] for plan in plans]
    y = [predictor.forecast(plan) for plan in plans]
    both = [predictor.forecast_vjp(plan) for plan in plans]
    predictor.step(ROWS[20])
    predictor.forecast_jacobian(plans[0])
    predictor.forecast_gradient(drawn(40, 1), drawn(40, 2))
    plans[:] = 0
    for (found, back), du, forecast in zip(both, wanted, y, strict=True):
        np.testing.assert_allclose(found, forecast, atol=1e-6)
        assert np.array_equal([back(cost) for cost in costs], du)
        with pytest.raises(SpecError, match=r"dy: shape \(6, 1\); give \[6, 2\]"):
            back(plans[0])
    double, back = predictor.forecast_vjp(drawn(TICKS, 1), double=True)
    assert double.dtype == back(costs[0]).dtype == np.float64


def test_a_warm_start_is_ready(predictor: Predictor) -> None:
    """One sample, or all that are known: the predictor is ready, and goes on as one that stepped through them."""
    predictor.warm_start(ROWS[7])
    assert predictor.ready
    assert np.isfinite(predictor.y).all()
    told = predictor.warm_start(ROWS[:15]).copy()
    assert np.array_equal(stepped(predictor, ROWS[:15]).y, told)


def ends(predictor: Predictor) -> tuple[float, float]:
    """Ends of the trained range of the input."""
    return predictor.spec.scaling.low[0], predictor.spec.scaling.high[0]


def test_a_plan_says_how_far_it_leaves_the_trained_range(predictor: Predictor) -> None:
    """Within the range it is 0; a width beyond either end it is 1."""
    low, high = ends(predictor)
    assert predictor.beyond_range([[low], [high]]) == 0
    assert predictor.beyond_range([[[low], [2 * high - low]]]) == pytest.approx(1)
    assert predictor.beyond_range([[2 * low - high], [high]]) == pytest.approx(1)


EXTRAPOLATE: tuple[Callable[[Predictor, Floats], object], ...] = (
    lambda p, plan: p.forecast(plan),
    lambda p, plan: p.forecast(np.stack([plan] * PLANS), threads=2),
    lambda p, plan: p.forecast_gradient(plan, drawn(2, 2)),
    lambda p, plan: p.forecast_vjp(plan),
    lambda p, plan: p.forecast_jacobian(plan),
)


@pytest.mark.parametrize("call", EXTRAPOLATE)
def test_a_forecast_says_how_far_it_extrapolates(
    predictor: Predictor, call: Callable[[Predictor, Floats], object]
) -> None:
    """Each kind of forecast leaves behind how far its plans left the trained range, of the values that it was given."""
    low, high = ends(predictor)
    plan = np.array([[low], [high + 0.5 * (high - low)]], np.float32)
    call(predictor, plan)
    plan[:] = high
    assert predictor.extrapolation == pytest.approx(0.5, abs=1e-5)
    predictor.step(ROWS[0])
    assert predictor.extrapolation == pytest.approx(0.5, abs=1e-5)
    call(predictor, plan)
    assert predictor.extrapolation == 0


def test_a_refused_plan_is_not_a_forecast(predictors: dict[str, Predictor]) -> None:
    """Before the first forecast nothing is extrapolated; a plan that is refused leaves what was."""
    fresh = Predictor(predictors["numpy"].spec, predictors["numpy"].backend)
    assert fresh.extrapolation.tolist() == [0]
    stepped(fresh, ROWS[:20]).forecast([[9e9]])
    with pytest.raises(SpecError):
        fresh.forecast([[np.nan]])
    assert fresh.extrapolation > 1


def single(predictor: Predictor, **changes: object) -> Snapshot:
    """One stacked snapshot with other parts."""
    return stacked([predictor.snapshot()])._replace(**changes)


BAD: tuple[tuple[str, Callable[[Predictor], object]], ...] = (
    (r"u_future: the value at \[0, 2, 0\] is nan; give numbers", lambda p: p.forecast([[0], [0], [np.nan]])),
    (r"u_future: the value at \[0, 0, 0\] is inf", lambda p: p.forecast([[1e300]])),
    (r"u_future: the value at \[0, 0, 0\] is inf", lambda p: p.forecast(np.full((2, 1), -np.inf) * -1)),
    (r"u_future: values of type <U1; give real numbers", lambda p: p.forecast([["a"]])),
    (r"u_future: values of type object", lambda p: p.forecast(None)),
    (r"u_future: values of type complex128", lambda p: p.forecast([[1j]])),
    (r"u_future: values of type datetime64\[s\]", lambda p: p.forecast(np.zeros((3, 1), "M8[s]"))),
    (r"u_future: rows of unequal length", lambda p: p.forecast([[1], [1, 2]])),
    (r"u_future: shape \(3, 2\); give \[N, 1\] or \[B, N, 1\]", lambda p: p.forecast(drawn(3, 2))),
    (r"u_future: shape \(0, 5, 1\)", lambda p: p.forecast(drawn(0, 5, 1))),
    (r"u_future: shape \(0, 1\)", lambda p: p.forecast(drawn(0, 1))),
    (r"u_future: shape \(1,\)", lambda p: p.beyond_range([1.0])),
    (r"u_future: the value at \[0, 0, 0\] is nan", lambda p: p.beyond_range([[np.nan]])),
    (r"threads: -1; .*>= 0", lambda p: p.forecast(drawn(PLANS, 3, 1), threads=-1)),
    (r"threads: 1\.5; .*got `float`", lambda p: p.forecast(drawn(3, 1), threads=1.5)),  # type: ignore[call-overload]
    (r"threads: two; .*got `str`", lambda p: p.forecast(drawn(3, 1), threads="two")),  # type: ignore[call-overload]
    (r"threads: 1000000; .*<= 1000", lambda p: p.forecast(drawn(PLANS, 3, 1), threads=10**6)),
    (r"dy: shape \(3, 1\); give \[3, 2\]", lambda p: p.forecast_gradient(drawn(3, 1), drawn(3, 1))),
    (r"dy: the value at \[0, 0\] is inf", lambda p: p.forecast_gradient(drawn(1, 1), [[np.inf, 0]])),
    (r"u_future: 10001 ticks, and a gradient has 10000 at most",
     lambda p: p.forecast_gradient(np.zeros((10001, 1)), np.zeros((10001, 2)))),
    (r"u_future: 10001 ticks, and a gradient", lambda p: p.forecast_vjp(np.zeros((10001, 1)))),
    (r"u_future: 9999 ticks, and a gradient has \d+ at most", lambda p: p.forecast_jacobian(np.zeros((9999, 1)))),
    (r"u_future: 2 plans; give one plan \[N, 1\]", lambda p: p.forecast_jacobian(drawn(2, 3, 1))),
    (r"u_future: 2 plans; give one plan \[N, 1\]", lambda p: p.forecast_vjp(drawn(2, 3, 1))),
    (r"u_future: the value at \[0, 0, 0\] is nan", lambda p: p.forecast_gradient([[np.nan]], [[1, 1]])),
    (r"decide: shape \(2,\); give \[1\]", lambda p: p.decide([1, 2])),
    (r"decide: the value at \[0\] is nan", lambda p: p.decide([np.nan])),
    (r"decide: values of type <U1", lambda p: p.decide("x")),
    (r"step: shape \(2,\); give the 3 channels of one sample", lambda p: p.step(drawn(2))),
    (r"step: shape \(1,\)", lambda p: p.step(drawn(1))),
    (r"step: shape \(\)", lambda p: p.step(0.5)),  # type: ignore[arg-type]
    (r"step: values of type <U3", lambda p: p.step("abc")),  # type: ignore[arg-type]
    (r"age: 1\.5; .*got `float`", lambda p: p.step(drawn(3), 1.5)),  # type: ignore[arg-type]
    (r"warm_start: shape \(4, 2\); give \[4, 3\]", lambda p: p.warm_start(drawn(4, 2))),
    (r"warm_start: values of type object", lambda p: p.warm_start(None)),
    (r"rollout: one plan; give one of each snapshot", lambda p: p.rollout(single(p), drawn(4, 1))),
    (r"snapshot: shapes \[\(2, 5, 3\), .*\], not \[\(3, 5, 3\), .*; give one of this model",
     lambda p: p.rollout(stacked([p.snapshot()] * 2), drawn(3, 4, 1))),
    (r"u_future: the value at \[0, 0, 0\] is nan", lambda p: p.rollout(single(p), np.full((1, 4, 1), np.nan))),
    (r"age of the snapshot: -3 to -3; give 0 to", lambda p: p.rollout(single(p, age=np.array([-3])), drawn(1, 4, 1))),
    (r"snapshot: a str; give what Predictor\.snapshot returned",
     lambda p: p.rollout("x", drawn(1, 4, 1))),  # type: ignore[arg-type]
    (r"stacked: no snapshots; give one or more", lambda p: stacked([])),
    (r"snapshot: .*give one of this model", lambda p: p.restore(p.snapshot()._replace(state=drawn(3)))),
    (r"snapshot: a NoneType", lambda p: p.restore(None)),  # type: ignore[arg-type]
    (r"count of the snapshot: -5 to -5", lambda p: p.restore(p.snapshot()._replace(count=-5))),
    (r"count of the snapshot: shape \(\) of type <U1", lambda p: p.restore(p.snapshot()._replace(count="7"))),
    (r"sample: shape \(2,\) of type float32; give a contiguous float32 array \[3\]",
     lambda p: p.innovation_energy(drawn(2), drawn(2))),
    (r"weight: .*float64", lambda p: p.innovation_energy(drawn(3), np.ones(2))),  # type: ignore[arg-type]
)  # fmt: skip


@pytest.mark.parametrize(("line", "call"), BAD)
def test_bad_input_is_one_line(predictor: Predictor, line: str, call: Callable[[Predictor], object]) -> None:
    """The line names the fault, the value and the remedy; the predictor goes on."""
    before = predictor.snapshot()
    with pytest.raises(SpecError, match=line):
        call(predictor)
    assert all(np.array_equal(a, b) for a, b in zip(predictor.snapshot(), before, strict=True))


def test_a_decision_needs_a_sample(predictor: Predictor) -> None:
    """`decide` before the first step is refused; so is a gradient before the delay line is full."""
    predictor.reset()
    with pytest.raises(SpecError, match="decide: no sample was stepped; step the sample of this tick first"):
        predictor.decide([0.0])
    predictor.step(ROWS[0])
    with pytest.raises(SpecError, match="forecast: 1 of 5 samples; step more samples first"):
        predictor.forecast_gradient(drawn(2, 1), drawn(2, 2))
