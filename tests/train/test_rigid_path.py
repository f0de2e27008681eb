"""Test all steps for a rigid body with symmetries, on a few seconds of simulated flight."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from export.bundle import export
from rtsysid.config import Config, read_config
from rtsysid.evaluation.horizon import evaluate
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Trace
from rtsysid.train.fit import begin
from rtsysid.train.run import Run


@pytest.fixture(autouse=True)
def _few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are chosen from a few, and by two hundred free runs in place of thousands, which is most of the time."""
    monkeypatch.setattr("rtsysid.train.fit.ARX_LAGS", (5,))
    monkeypatch.setattr("rtsysid.train.fit.ARX_RIDGES", (1e-8, 1e-6))
    monkeypatch.setattr("rtsysid.evaluation.baselines._FORECASTS", 200)
    monkeypatch.setattr("rtsysid.train.fit.YARDSTICK_STARTS", 200)
    monkeypatch.setattr("rtsysid.train.linear_path.STARTS", 200)
    monkeypatch.setattr("rtsysid.train.loop.VALIDATION_SEQUENCES", 200)


def quick() -> Config:
    """The quadrotor's configuration, small and short."""
    config = read_config("quadrotor")
    model = msgspec.structs.replace(config.model, taps=8, encoder=(16, 6), hidden=12, warmup=10)
    train = msgspec.structs.replace(config.train, effort=0.1, stride=40)
    return msgspec.structs.replace(config, model=model, train=train)


def flights(config: Config, seed: int, count: int, folder: Path) -> Trace:
    fly(count, 8.0, seed).write(folder / f"flights_{seed}.csv")
    return Trace.read(folder / f"flights_{seed}.csv", config.data.channels)


def test_a_rigid_body_from_flights_to_a_verified_bundle(tmp_path: Path) -> None:
    """Trained on six short flights, the bundle verifies and beats linear ARX and hold half a second ahead."""
    config = quick()
    for epoch in begin(config, flights(config, 0, 6, tmp_path), tmp_path / "run").epochs():
        assert np.isfinite(epoch.validation)
    bundle, rows = export(tmp_path / "run", tmp_path / "bundle")
    assert all(row.passed for row in rows)
    errors = evaluate(bundle, flights(config, 1, 2, tmp_path), horizon=50, stride=20).errors
    for group, ours in errors["model"].items():
        assert ours[-1] < errors["linear ARX"][group][-1] < errors["hold"][group][-1]


def test_the_unit_of_the_targets_is_what_the_linear_path_leaves(tmp_path: Path) -> None:
    """Scaling of a model with a linear path is the map's error per tick, far below the increments themselves."""
    config = quick()
    trace = flights(config, 0, 4, tmp_path)
    begin(config, trace, tmp_path / "with")
    without = msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, linear_path=False))
    begin(without, trace, tmp_path / "without")
    left, whole = (np.array(Run(tmp_path / name).spec.scaling.target_std) for name in ("with", "without"))
    assert (left < 0.5 * whole).all()


def test_an_untouched_run_opens_again(tmp_path: Path) -> None:
    """A run that was killed before its first epoch starts from the same bits."""
    config = quick()
    trace = flights(config, 0, 4, tmp_path)
    first, second = (begin(config, trace, tmp_path / "run").network.state_dict() for _ in range(2))
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_the_map_of_a_one_row_window_has_no_weight_on_rounding_errors(tmp_path: Path) -> None:
    """The newest row relative to itself is rounding error; the map has no weight on it."""
    config = quick()
    model = msgspec.structs.replace(config.model, taps=1, encoder=())
    trainer = begin(msgspec.structs.replace(config, model=model), flights(config, 0, 4, tmp_path), tmp_path / "run")
    assert float(trainer.network.linear_path.weight.detach().abs().max()) < 1e4
