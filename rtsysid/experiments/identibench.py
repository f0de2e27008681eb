"""Run rtsysid in the benchmarks of `identibench` (PyPI, 0.4): ``run_benchmark(spec, build_model, ...)``.

Optional ``hyperparameters``: ``config`` is the text of a configuration file; its [model], [train] and [[stage]] are
used, and [data] is derived from the specification. ``folder`` keeps run and bundle. ``rate_hz`` is the sampling rate of
files that do not state ``fs``.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import export
from rtsysid.benchmarks.forecasting import forecast
from rtsysid.config import Config, config_from_builtins
from rtsysid.errors import ConfigError
from rtsysid.experiments.compare import seeded
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.train.fit import begin

Array = NDArray[Any]
Model = Callable[[Array, Array, Mapping[str, Any]], Array]


def build_model(context: Any) -> Model:
    """Train on the sequences of an `identibench.TrainingContext`; return its ``model(u, y_init, attrs)``.

    Raises ConfigError where the benchmark has fewer initial samples than the model has taps, or no sampling rate.
    """
    initial = getattr(context.spec.task, "init_window", 0)
    subsets = {"train": list(context.get_train_sequences()), "validation": list(context.get_valid_sequences())}
    config = _identibench_config(context, subsets["train"][0].attrs)
    _require_initial_samples(config, initial)
    trace = Trace(config.data.channels, tuple(_sequence_episodes(subsets, config.data.rate_hz)))
    folder = Path(context.hyperparameters.get("folder") or tempfile.mkdtemp(prefix="rtsysid-"))
    for _ in begin(config, trace, folder / "run").epochs():
        pass
    return model_of(Predictor.load(export(folder / "run", folder / "bundle")[0]))


def model_of(predictor: Predictor) -> Model:
    """Return the function for identibench: inputs [T, nu], first outputs [n, ny] -> outputs [T, ny].

    The first n outputs are the measured ones.
    """

    def model(u: Array, y_init: Array, attrs: Mapping[str, Any]) -> Array:
        n = len(y_init)
        measured = np.concatenate((u[:n], y_init), axis=1).astype(np.float32)
        ahead = u[None, n - 1 : -1].astype(np.float32)  # y_n .. y_{T-1} follow from u_{n-1} .. u_{T-2}
        return np.concatenate((y_init, forecast(predictor, [measured], ahead)[0]))

    return model


def _identibench_config(context: Any, attrs: Mapping[str, Any]) -> Config:
    rate = context.hyperparameters.get("rate_hz") or attrs.get("fs")
    if not rate:
        raise ConfigError(f"benchmark {context.spec.name}", "no sampling rate", "give hyperparameters['rate_hz']")
    stated = tomllib.loads(context.hyperparameters.get("config", ""))
    data = {
        "rate_hz": float(rate),
        "inputs": list(context.spec.u_cols),
        "outputs": list(context.spec.y_cols),
        "validation": ["validation*"],
    }
    config = config_from_builtins({"model": {"linear_path": True}, **stated, "data": data}, context.spec.name)
    return config if context.seed is None else seeded(config, context.seed)


def _require_initial_samples(config: Config, initial: int) -> None:
    taps = config.model.fields["taps"]
    if initial < taps:
        counts = f"{taps}, but the benchmark has {initial} initial samples"
        raise ConfigError("model.taps", counts, "configure fewer taps, or another benchmark")


def _sequence_episodes(subsets: Mapping[str, list[Any]], rate_hz: float) -> list[Episode]:
    episodes = []
    for subset, sequences in subsets.items():
        for number, (u, y, _) in enumerate(sequences, 1):
            values = np.concatenate((u, y), axis=1).astype(np.float32)
            episodes.append(Episode(f"{subset}{number}", np.arange(len(values)) / rate_hz, values))
    return episodes
