"""Test rtsysid under the runner of identibench; skipped without it (pip install 'rtsysid[identibench]')."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robots import TINY, plant

from rtsysid.errors import ConfigError
from rtsysid.experiments.identibench import build_model, model_of
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor


@pytest.fixture
def idb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        return pytest.importorskip("identibench", reason="wants identibench: pip install 'rtsysid[identibench]'")


def specification(idb: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, init_window: int) -> Any:
    """Return a benchmark of five recordings of the pendulum, in identibench's file format."""
    import h5py

    monkeypatch.setenv("IDENTIBENCH_DATA_ROOT", str(folder))
    (folder / "plant").mkdir()
    for episode in plant(5).episodes:
        with h5py.File(folder / "plant" / f"{episode.name}.hdf5", "w") as file:
            file.attrs["fs"] = 50.0
            for name, column in zip(("u", "y", "v"), episode.values.T, strict=True):
                file[name] = column
    files = idb.Dataset("plant", None)
    return idb.BenchmarkSpec(
        "pendulum", ["u"], ["y", "v"], [(files, "run[123].hdf5")], [(files, "run4.hdf5")],
        {"test": [(files, "run5.hdf5")]}, idb.Simulation(idb.metrics.rmse, init_window),
    )  # fmt: skip


def test_a_specification_trains_and_scores_our_model(idb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner of identibench trains, simulates the unseen recording, and scores better than hold."""
    spec = specification(idb, tmp_path, monkeypatch, init_window=10)
    settings = {"config": TINY[TINY.index("[model]") :], "folder": str(tmp_path / "out")}
    result = idb.run_benchmark(spec, build_model, settings, seed=1)
    still = idb.run_benchmark(spec, lambda context: lambda u, y, attrs: np.tile(y[-1], (len(u), 1)), seed=1)
    assert result["metric_score"] < 0.5 * still["metric_score"]
    assert Bundle.open(tmp_path / "out" / "bundle").manifest.training.config.train.seed == 1


def test_a_benchmark_that_shows_no_outputs_is_refused(
    idb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark with fewer initial samples than taps raises ConfigError before training."""
    spec = specification(idb, tmp_path, monkeypatch, init_window=0)
    with pytest.raises(ConfigError, match="fewer taps"):
        idb.run_benchmark(spec, build_model, {}, seed=0)


def test_the_model_continues_from_the_measured_samples(bundle_folder: Path) -> None:
    """The first n outputs are the measured ones. The others equal the forecast after n steps."""
    predictor, values = Predictor.load(bundle_folder), plant(1, 60, seed=9).episodes[0].values
    y = model_of(predictor)(values[:, :1], values[:12, 1:], {})
    assert y.shape == (60, 2)
    assert np.array_equal(y[:12], values[:12, 1:])
    predictor.reset()
    for row in values[:12]:
        predictor.step(row)
    np.testing.assert_allclose(y[12:], predictor.forecast(values[11:-1, :1]), rtol=1e-5)
