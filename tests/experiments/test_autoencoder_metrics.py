"""Test the metrics of codes: known values, PCA, and the whole comparison on a small plant."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.robots import make_spec, plant

from rtsysid.cli import cli
from rtsysid.config import Config
from rtsysid.experiments.autoencoder_metrics import CORRUPTIONS, NetworkCode, PcaCode, code_metrics, error, sparsity
from rtsysid.experiments.autoencoders import Ground, Scope, _Bench, forecast_errors_by_group
from rtsysid.experiments.autoencoders_page import render_autoencoders_page, tables
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import FAMILY, preset
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences

SMALL = Scope((2,), (), 0.02, 20, 0.1, 20)


def test_principal_components_leave_the_smallest_variances() -> None:
    """The error of k principal components is the sum of the other eigenvalues; with all components it is 0."""
    torch.manual_seed(0)
    x = torch.randn(500, 6) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1]) + 5.0
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    for size in range(1, 7):
        assert error(PcaCode(x, size), x, x) == pytest.approx(float(values[: 6 - size].sum()) / 6, abs=1e-5)
    jacobian = torch.autograd.functional.jacobian(PcaCode(x, 3).encode, x[0])
    assert float(jacobian.norm()) == pytest.approx(float(PcaCode(x, 3).jacobian(x)[0]), rel=1e-5)


def test_sparsity_is_that_of_hoyer() -> None:
    """One active unit has sparsity 1, equal units have 0, and the scale of a code does not matter."""
    alone, alike = torch.eye(4), torch.full((3, 4), -0.5)
    assert sparsity(alone) == pytest.approx(1.0)
    assert sparsity(alike) == pytest.approx(0.0, abs=1e-6)
    code = torch.randn(100, 8)
    assert sparsity(code) == pytest.approx(sparsity(1e-3 * code), rel=1e-4)


def test_sensitivity_does_not_fall_for_a_code_scaled_down() -> None:
    """An encoder scaled to a hundredth has a smaller Jacobian and the same sensitivity."""
    torch.manual_seed(0)
    spec = make_spec("lstm-tdl-aeu")
    network, x = Network(spec), torch.randn(200, spec.window_size)
    with torch.no_grad():
        network.encoder["1"].weight.mul_(0.1)
    large = code_metrics(NetworkCode(network), spec, x, x)
    with torch.no_grad():
        network.encoder["1"].weight.mul_(0.01)
    small = code_metrics(NetworkCode(network), spec, x, x)
    assert small.jacobian < 0.02 * large.jacobian
    assert small.sensitivity == pytest.approx(large.sensitivity, rel=0.1)


def test_a_perfect_code_is_hurt_by_the_corruption_alone() -> None:
    """With as many components as values, the error is that of the corruption, and 0 without corruption."""
    torch.manual_seed(0)
    spec = make_spec()
    x = torch.randn(2000, spec.window_size)
    metrics = code_metrics(PcaCode(x, spec.window_size), spec, x, x)
    assert metrics.known == pytest.approx(0.0, abs=1e-8)
    assert metrics.corrupted["noise"] == pytest.approx(CORRUPTIONS["noise"].noise ** 2, rel=0.02)
    assert metrics.corrupted["mask"] == pytest.approx(CORRUPTIONS["mask"].mask, rel=0.05)


def test_standing_still_is_wrong_by_what_moves() -> None:
    """The error of hold is the distance to the outputs 50 ticks later, known for a ramp."""
    ramp = np.arange(300, dtype=np.float32)[:, None] * np.array([0, 0, 1, 2, 0], np.float32)
    network = Network(make_spec()).eval()
    errors = forecast_errors_by_group(network, Sequences([ramp]), hold=True)
    assert errors == pytest.approx({"y0": 50.0, "y1": 100.0, "y2": 0.0})


def test_the_whole_comparison(tmp_path: Path, tiny_config: Config, tiny_trace: Trace) -> None:
    """On a small plant every member, PCA and every reference model are measured and printed."""
    config = msgspec.structs.replace(tiny_config, stage=preset("two-stage"))
    longer = Trace(tiny_trace.channels, plant(3, 600).episodes)
    ground = Ground("plant", config, longer, Trace(tiny_trace.channels, plant(1, 200, seed=9).episodes), (2,))
    results = list(_Bench(ground, SMALL, tmp_path).results())
    measured = {(f.member, f.size) for f in results if f.code_metrics}
    assert measured == {(member, size) for member in ("PCA", *FAMILY) for size in (2, 3)}
    anchors = {"hold", "linear map alone", "no encoder", "random encoder", "trained by prediction"}
    assert {f.member for f in results if f.errors} == {*FAMILY, *anchors}
    sizes, codes, forecasts = tables(results)
    assert [len(sizes.rows), len(codes.rows), len(forecasts.rows)] == [8, 8, 12]
    assert next(row[-1] for row in forecasts.rows if row[0] == "linear map alone") == "1.000"
    text = render_autoencoders_page(results, "command")
    assert all(name in text for name in (*FAMILY, "PCA", "<svg"))


def test_absent_recordings_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without recordings the command raises one line with the set's name, and trains nothing."""
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    result = CliRunner().invoke(cli, ["benchmark", "autoencoders", "--quick", "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "nanodrone" in str(result.exception or result.output)
    assert not (tmp_path / "out").exists()


def test_options_without_a_meaning_are_refused() -> None:
    """Options of the scored benchmarks raise an error for the study of the autoencoders."""
    result = CliRunner().invoke(cli, ["benchmark", "autoencoders", "--seeds", "2"])
    assert "it takes --quick" in str(result.exception or result.output)
