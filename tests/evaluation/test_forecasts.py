"""Forecasts from many ticks of a recording, and the number of samples until the first one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.robots import flight, make_body_spec, make_spec

from rtsysid.errors import TraceError
from rtsysid.evaluation import forecasts as module
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.live.calibration import fit_calibration
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.spec import CELLS, CellName, Floats, ModelSpec


def random_predictor(spec: ModelSpec) -> Predictor:
    """Random weights, by NumPy alone."""
    rng, gates = np.random.default_rng(0), CELLS[spec.cell].gates * spec.hidden
    shapes = {
        "cell.weight_ih_l0": (gates, spec.code_size), "cell.weight_hh_l0": (gates, spec.hidden),
        "cell.bias_ih_l0": (gates,), "cell.bias_hh_l0": (gates,),
        "head.weight": (spec.n_targets, spec.hidden), "head.bias": (spec.n_targets,),
    }  # fmt: skip
    weights = {name: 0.3 * rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return Predictor(spec, NumpyBackend(spec, weights))


def rows(count: int, width: int) -> Floats:
    return np.random.default_rng(1).standard_normal((count, width)).astype(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_each_forecast_is_that_of_a_live_run(cell: CellName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts are every 5th tick from the first settled one on; each forecast is what the predictor forecasts there."""
    monkeypatch.setattr(module, "BATCH", 3)
    predictor = random_predictor(make_spec("lstm-tdl", cell=cell))
    values = rows(60, 5)
    found = list(forecasts(predictor, values, 7, 5))
    starts = np.concatenate([batch.starts for batch in found])
    assert starts.tolist() == [t for t in range(60 - 7) if t % 5 == 0 and t + 1 >= predictor.settling_samples]
    assert len(found) > 2
    predicted, truth = (np.concatenate([getattr(b, name) for b in found]) for name in ("predicted", "truth"))
    predictor.reset()
    for tick, row in enumerate(values[: starts[-1] + 1]):
        predictor.step(row)
        if tick in starts:
            k = starts.tolist().index(tick)
            np.testing.assert_allclose(predicted[k], predictor.forecast(values[tick : tick + 7, :2]), atol=1e-5)
            assert np.array_equal(truth[k], values[tick + 1 : tick + 8, 2:])


def test_no_start_has_a_shorter_past_than_asked() -> None:
    """With `past` the first start has that many samples; plans come from `truth` where it is given."""
    predictor = random_predictor(make_spec("lstm-tdl"))
    values, true = rows(40, 5), rows(40, 5) + 1
    (batch,) = forecasts(predictor, values, 3, past=20, truth=true)
    assert batch.starts[0] == 19
    assert np.array_equal(batch.u_future[0], true[19:22, :2])
    assert np.array_equal(batch.truth[0], true[20:23, 2:])


def test_a_quaternion_is_compared_by_its_nearer_twin() -> None:
    """q and -q are one rotation: predictions get the sign of the truth."""
    spec = make_body_spec("lstm-tdl")
    quats = [c if c.name[0] != "q" else type(c)(c.name, "quat", c.role, "attitude") for c in spec.channels]
    predictor = random_predictor(msgspec.structs.replace(spec, channels=tuple(quats)))
    values = flight(30, batch=1)[0].astype(np.float32)
    values[20:, 9:13] *= -1
    (batch,) = forecasts(predictor, values, 4)
    products = np.sum(batch.predicted[..., 7:11] * batch.truth[..., 7:11], axis=-1)
    assert (products > 0).all()
    assert (batch.truth[..., 7:11] @ np.ones(4)).std() > 0


@pytest.mark.parametrize(("state_init", "needed"), [("warmup", 7), ("zero", 4), ("network", 4)])
def test_samples_until_the_state_counts(state_init: str, needed: int) -> None:
    """A full window of 4, and the warm-up of 3 where there is one: one formula, which the refusal names too."""
    spec = make_spec(state_init=state_init)
    assert spec.settling_samples == needed
    with pytest.raises(TraceError, match=f"more than {needed} rows without a gap"):
        fit_calibration(spec, [], "nothing")
