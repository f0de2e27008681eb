"""Test models with rows [u_{k+1}, y_k]: from the configuration to the bundle; the live path refuses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from support.robots import plant

from rtsysid.cli import cli
from rtsysid.config import Config
from rtsysid.errors import BundleError
from rtsysid.evaluation.horizon import evaluate
from rtsysid.evaluation.report.judge import judge
from rtsysid.evaluation.report.observed import observe
from rtsysid.model import trust
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.recordings.trace import Trace
from rtsysid.train.fit import prepare_recordings


@pytest.fixture
def shifted(bundle_folder: Path, tmp_path: Path) -> Bundle:
    """The tiny bundle, as if it had been trained with feedthrough = true."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["training"]["config"]["data"]["feedthrough"] = True
    (folder / "manifest.json").unlink()
    trust.sign(folder, write_manifest(folder, {k: manifest[k] for k in manifest if k not in ("files", "digest")}))
    return Bundle.open(folder)


def test_shifted_rows_pair_an_output_with_the_next_input() -> None:
    """Each row has the inputs of the next row and its own outputs and time; the last row is dropped."""
    trace = plant(2, 20)
    for before, after in zip(trace.episodes, trace.with_feedthrough().episodes, strict=True):
        assert np.array_equal(after.values[:, 0], before.values[1:, 0])
        assert np.array_equal(after.values[:, 1:], before.values[:-1, 1:])
        assert np.array_equal(after.t, before.t[:-1])
    assert trace.with_feedthrough(False) is trace
    assert not plant(2, 1).with_feedthrough().episodes


def test_training_sees_shifted_rows(tiny_config: Config, tiny_trace: Trace) -> None:
    """feedthrough = true trains on exactly the rows that plain training on a shifted recording sees."""
    data = msgspec.structs.replace(tiny_config.data, feedthrough=True)
    found = prepare_recordings(msgspec.structs.replace(tiny_config, data=data), tiny_trace)
    expected = prepare_recordings(tiny_config, tiny_trace.with_feedthrough())
    assert all(np.array_equal(a, b) for a, b in zip(found.train, expected.train, strict=True))
    assert found.spec == expected.spec


def test_evaluation_shifts_by_itself(shifted: Bundle, bundle_folder: Path) -> None:
    """The recording gives such a bundle the same errors as shifted rows give a plain bundle."""
    trace = plant(1, 120, seed=5)
    assert evaluate(shifted, trace, 10) == evaluate(Bundle.open(bundle_folder), trace.with_feedthrough(), 10)


def test_a_report_judges_shifted_rows(shifted: Bundle, bundle_folder: Path) -> None:
    """Residuals and forecasts of such a bundle equal those of shifted rows and a plain bundle."""
    trace, plain = plant(1, 200, seed=5), Bundle.open(bundle_folder)
    found, expected = (
        judge(bundle, every, "", evaluation, 1)
        for bundle, rows in ((shifted, trace), (plain, trace.with_feedthrough()))
        for every, evaluation in (observe(bundle, rows, 10, 1),)
    )
    assert found.fits == expected.fits


@pytest.mark.parametrize("verb", [("replay",), ("run",), ("hil", "--device", "sim")])
def test_the_live_path_refuses(shifted: Bundle, recording: Path, verb: tuple[str, ...]) -> None:
    """replay, run and hil refuse in one line: no robot knows its inputs one tick ahead."""
    done = CliRunner().invoke(cli, [*verb, str(shifted.folder), str(recording)])
    assert isinstance(done.exception, BundleError)
    assert "no robot has its inputs a tick ahead" in str(done.exception)
