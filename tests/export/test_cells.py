"""Another recurrent cell than the LSTM, from its configuration to its bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.robots import TINY

from export.bundle import export
from rtsysid.config import parse_config
from rtsysid.errors import ConfigError, SpecError
from rtsysid.model.backends.protocol import stacked
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import from_builtins, to_builtins
from rtsysid.train.fit import begin

GRU = TINY.replace("hidden = 6", 'cell = "gru"\nhidden = 6')


def test_a_gru_is_trained_exported_and_verified(tmp_path: Path, tiny_trace: Trace) -> None:
    """The tiny configuration with a GRU trains, exports and reproduces its golden trace on every backend."""
    config = parse_config(GRU)
    epochs = list(begin(config, tiny_trace, tmp_path / "run", GRU).epochs())
    assert epochs[-1].validation < epochs[0].validation
    bundle, rows = export(tmp_path / "run", tmp_path / "bundle")
    assert all(row.passed for row in rows)
    assert bundle.spec.state_size == 6
    weights = bundle.arrays("weights.npz")
    assert weights["cell.weight_ih_l0"].shape == (18, 3)
    predictor = Predictor.load(bundle)
    for values in tiny_trace.episodes[0].values[:20]:
        predictor.step(values)
    starts = stacked([predictor.snapshot()])
    plan = np.ones((1, 7, 1), np.float32)
    np.testing.assert_allclose(predictor.rollout(starts, plan), predictor.forecast(plan), atol=1e-5)


def test_forget_ticks_are_for_the_lstm() -> None:
    """A GRU has no forget gate: the configuration is refused in one line."""
    with pytest.raises(ConfigError, match=r"train\.forget_ticks: 30, but a gru has no forget gate"):
        parse_config(GRU.replace("batch = 64", "batch = 64\nforget_ticks = 30"))


def test_an_unknown_cell_is_refused() -> None:
    """Neither a configuration nor a specification names a cell that does not exist."""
    with pytest.raises(ConfigError, match="cell"):
        parse_config(GRU.replace("gru", "rnn"))
    with pytest.raises(SpecError, match="cell"):
        from_builtins({"channels": [{"name": "y"}], "rate_hz": 1.0, "cell": "rnn"})
    assert to_builtins(from_builtins({"channels": [{"name": "y"}], "rate_hz": 1.0}))["cell"] == "lstm"
