"""Test the benchmark of distributions on a pendulum: one point model, noise on top of it, rows and null models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.robots import DATA_ALONE, plant

from rtsysid.config import parse_config
from rtsysid.errors import ConfigError
from rtsysid.experiments import generative
from rtsysid.experiments.generative import Amount, DistributionRow, GroundTraces, compare_distributions, ground_traces
from rtsysid.train.generative import calibration
from rtsysid.train.run import Run

AMOUNT = Amount(point=2, noise=2, seeds=1, starts=12, futures=10)


def test_distributions_share_a_point_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each member and, once, each null model; all have the same mean. A second call says the same at once."""
    traces = GroundTraces(parse_config(DATA_ALONE), plant(4, 150), plant(3, 150, seed=7))
    monkeypatch.setattr(generative, "ground_traces", lambda name: traces)
    monkeypatch.setattr(calibration, "SEQUENCES", 40)
    monkeypatch.setattr(calibration, "BATCH", 8)
    given = (("pendulum",), ("gaussian", "vrnn"), AMOUNT, tmp_path)
    items = list(compare_distributions(*given))
    rows = [item for item in items if isinstance(item, DistributionRow)]
    assert [row.name for row in rows] == ["gaussian", "box", "residuals", "vrnn"]
    assert all(len(row.cells()) == 13 for row in rows)
    assert rows[0].macs > rows[1].macs == rows[2].macs, "the null models cost a plan"
    first, other = (Run(tmp_path / "pendulum" / f"{name}-0" / "run").weights() for name in ("gaussian", "vrnn"))
    judge = Run(tmp_path / "pendulum" / "point").part("judge").weights()
    assert all(torch.equal(first[name], weight) and torch.equal(other[name], weight) for name, weight in judge.items())
    again = list(compare_distributions(*given))
    assert again == rows
    assert all(row.seconds for row in rows if row.weights)


def test_unknown_grounds_and_members_are_refused(tmp_path: Path) -> None:
    """A ground and a distribution that there is not: one line each."""
    with pytest.raises(ConfigError, match="choose among nanodrone"):
        ground_traces("moon")
    with pytest.raises(ConfigError, match="choose among gaussian"):
        next(compare_distributions(("schunk-arm",), ("cauchy",), AMOUNT, tmp_path))
