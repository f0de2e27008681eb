"""Test the distributions: each member trains by its preset, exports, verifies and samples alike on every backend."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.robots import TINY, plant

from export.bundle import export
from rtsysid.config import Config, parse_config
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import GENERATIVE
from rtsysid.train.fit import begin

MODEL = TINY.split("[[stage]]")[0]


def config_of(member: str, preset: str = "two-stage") -> Config:
    """The tiny model with a distribution, every stage one epoch long, futures of ten ticks."""
    base = "" if member == "variational" else f'preset = "{preset}"\n'
    config = parse_config(MODEL.replace("[model]", f'[model]\ndistribution = "{member}"') + base)
    return msgspec.structs.replace(config, stage=tuple(map(_shortened, config.stages)))


def _shortened(stage: object) -> object:
    losses = tuple(msgspec.structs.replace(each, horizon=min(each.horizon, 10)) for each in stage.loss)  # type: ignore[attr-defined]
    return msgspec.structs.replace(stage, epochs=1, loss=losses)  # type: ignore[type-var]


@pytest.mark.parametrize("member", GENERATIVE)
def test_a_member_trains_exports_verifies_and_samples(member: str, tmp_path: Path, tiny_trace: Trace) -> None:
    """One epoch of each stage by its preset, a bundle that every backend reproduces, and the same futures on each."""
    for _ in begin(config_of(member), tiny_trace, tmp_path / "run").epochs():
        pass
    bundle, rows = export(tmp_path / "run", tmp_path / "bundle")
    assert all(row.passed for row in rows)
    assert {row.backend for row in rows} == set(backends_of(bundle))
    unseen, found = plant(1, 60, seed=5).episodes[0].values, {}
    for name in backends_of(bundle):
        predictor = Predictor.load(bundle, name)  # type: ignore[arg-type]
        for row in unseen[:30]:
            predictor.step(row)
        before, plan = predictor.snapshot(), unseen[30:50, :1]
        found[name] = predictor.sample_futures(plan, 33, seed=7)
        np.testing.assert_array_equal(predictor.sample_futures(plan, 5, seed=7), found[name][:5])
        assert all(np.array_equal(a, b) for a, b in zip(before, predictor.snapshot(), strict=True))
        assert found[name].std(0).min() > 0
        assert (predictor.sample_futures(plan, 5, seed=8) != found[name][:5]).any()
    for each in found.values():
        np.testing.assert_allclose(each, found["numpy"], atol=1e-4)
