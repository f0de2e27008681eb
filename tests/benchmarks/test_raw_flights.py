"""Test the raw flights: reading, live forecasts, and their truth."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from rtsysid.benchmarks.nanodrone import HORIZON, INPUTS, STATES
from rtsysid.benchmarks.raw_flights import (
    AIRBORNE_M,
    POLE_PAIRS,
    SETTLED,
    NanodroneLive,
    held_forecasts,
    linear_forecasts,
    live_forecasts,
    measured,
    raw_flights,
)
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.trace import Episode
from rtsysid.spec import ModelSpec, unit_scaling

ROWS = 240


@pytest.fixture
def raw_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write one raw flight: on the ground, in the air, on the ground, with one missing rotor speed."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    z = np.full(ROWS, 0.05)
    z[20:220] = 1.0
    columns = {"t": np.arange(ROWS) * 0.01, **{f"m{k}_erpm": np.full(ROWS, 60000.0) for k in (1, 2, 3, 4)}}
    columns["m2_erpm"][100] = np.nan
    columns |= {state.name: np.linspace(0, 1, ROWS) for state in STATES} | {"z": z, "qw": np.ones(ROWS)}
    (tmp_path / "nanodrone" / "raw").mkdir(parents=True)
    parquet.write_table(pyarrow.table(columns), tmp_path / "nanodrone" / "raw" / "melon_1.parquet")
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    return tmp_path


def test_a_raw_flight_is_what_lies_between_take_off_and_landing_in_rad_per_second(raw_folder: Path) -> None:
    """Rows on the ground are removed, electrical speeds become rotor speeds, and missing values stay missing."""
    (flight,) = raw_flights("melon_*")
    assert len(flight) == 200
    assert (flight.values[:, len(INPUTS) + 2] > AIRBORNE_M).all()
    np.testing.assert_allclose(flight.values[0, :4], 60000 / POLE_PAIRS * 2 * np.pi / 60, rtol=1e-6)
    assert np.isnan(flight.values[80, 1])
    with pytest.raises(TraceError, match=r"raw/square_\*: none"):
        raw_flights("square_*")


def test_live_forecasts_are_those_of_a_predictor_that_was_fed_every_row() -> None:
    """A forecast starts at each row after the first hundred and equals that of a predictor stepped to that row, also
    after a missing value. The truth is the measurement that followed."""
    spec = ModelSpec(channels=(*INPUTS, *STATES), rate_hz=100, taps=1, encoder=(), hidden=4, warmup=5)
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec, 1e3))
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (170, 17)).astype(np.float32)
    values[:, len(INPUTS) + [state.name for state in STATES].index("qw")] += 1  # signs of quaternions do not jump
    values[105, 2] = np.nan
    flight = Episode("f", np.arange(170) * 0.01, values)
    forecasts = live_forecasts(_predictor(spec), (flight,))
    np.testing.assert_array_equal(forecasts["t"], np.arange(SETTLED, 170 - HORIZON))
    np.testing.assert_array_equal(measured((flight,), forecasts)[3, 10], values[SETTLED + 3 + 11, 4:])
    reference = _predictor(spec)
    for t in range(SETTLED + 11):
        reference.step(values[104 if t == 105 else t])
    expected = reference.forecast(values[SETTLED + 10 : SETTLED + 10 + HORIZON, :4])
    np.testing.assert_allclose(forecasts["pred"][10], expected, rtol=1e-5, atol=1e-6)


def test_linear_forecasts_are_those_of_the_arx_in_the_channels_of_the_model() -> None:
    """The ARX of a model whose outputs have another order starts from the same rows as `held_forecasts`, takes the last
    known value for a missing one, and answers in the order of the benchmark."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(170, 17)).astype(np.float32)
    values[115, 1] = np.nan
    flight = Episode("f", np.arange(170) * 0.01, values)
    order = [*range(4), *range(16, 3, -1)]
    whole = values[:, order]
    whole[115, 1] = whole[114, 1]
    arx = LinearArx.fit([whole], 4, lags=3, ridge=1e-3)
    starts = held_forecasts((flight,))
    found = linear_forecasts(arx, (order, list(range(12, -1, -1))), (flight,), starts)
    expected = arx.forecast(whole[None, 113:116], whole[None, 115:165, :4])[0, :, ::-1]
    np.testing.assert_allclose(found[list(starts["t"]).index(115)], expected, rtol=1e-5)


def _predictor(spec: ModelSpec) -> Predictor:
    rng = np.random.default_rng(1)
    shapes = {"cell.weight_ih_l0": (16, 17), "cell.weight_hh_l0": (16, 4), "cell.bias_ih_l0": (16,)}
    shapes |= {"cell.bias_hh_l0": (16,), "head.weight": (13, 4), "head.bias": (13,)}
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return Predictor(spec, NumpyBackend(spec, weights))


def test_standing_still_on_real_raw_flights() -> None:
    """On real flights the error of hold is the movement within half a second, live and offline."""
    if data_folder() is None or not (data_folder() / "nanodrone" / "raw").is_dir():
        pytest.skip("wants the recordings nanodrone/raw: set RTSYSID_DATA")
    chosen = NanodroneLive()
    live, offline = chosen.score("hold", chosen.hold())
    assert (live.protocol, offline.protocol) == ("raw flights, live", "boundary-safe, 50 samples")
    for measure in ("position m", "velocity m/s"):
        assert live.errors[measure][2] == pytest.approx(offline.errors[measure][2], rel=0.1)
    forecasts = held_forecasts(chosen.raw)
    assert len(forecasts["t"]) == sum(len(flight) - SETTLED - HORIZON for flight in chosen.raw)


def test_no_kind_is_left_out_of_raw_test_flights() -> None:
    """Leaving out a manoeuvre raises ConfigError, because raw flights exist only for testing."""
    with pytest.raises(ConfigError, match="raw logs of test flights alone"):
        NanodroneLive().without("random")


def test_choices_see_the_raw_multisine_flight_alone(raw_folder: Path) -> None:
    """For choices the benchmark reads neither raw nor smoothed test flights: without them it scores."""
    raw = raw_folder / "nanodrone" / "raw"
    (raw / "melon_1.parquet").rename(raw / "multisine_1.parquet")
    chosen = NanodroneLive().validating()
    (live,) = chosen.score("hold", chosen.hold())
    assert live.protocol == "raw flights, live"
