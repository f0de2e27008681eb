"""A golden trace proves something, or it is refused; every answer of a backend is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile import rehashed

from rtsysid.errors import BundleError
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import golden_of, require_parity
from rtsysid.model.predictor import Predictor


def nz(name: str, **arrays: Any) -> Callable[[Path, dict[str, Any]], None]:
    """Change arrays of an npz file by functions of what is there."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        with np.load(folder / name, allow_pickle=False) as stored:
            kept = dict(stored)
        np.savez(folder / name, allow_pickle=False, **{**kept, **{key: f(kept) for key, f in arrays.items()}})

    return change


@pytest.mark.parametrize(
    "change",
    [
        nz("golden.npz", forecast_at=lambda a: a["forecast_at"][:0], u_future=lambda a: a["u_future"][:0],
           y_future=lambda a: a["y_future"][:0]),
        nz("golden.npz", code_at=lambda a: a["code_at"][:0], code=lambda a: a["code"][:0],
           reconstruction=lambda a: a["reconstruction"][:0]),
        nz("golden.npz", y=lambda a: np.full_like(a["y"], np.nan)),
        nz("golden.npz", y=lambda a: np.zeros_like(a["y"])),
        nz("golden.npz", starts=lambda a: a["starts"] + 1),
        nz("golden.npz", starts=lambda a: a["starts"][::-1].copy()),
        nz("golden.npz", starts=lambda a: np.array([0, len(a["y"])])),
        nz("golden.npz", forecast_at=lambda a: a["forecast_at"] - 100_000),
        nz("golden.npz", forecast_at=lambda a: a["forecast_at"] * 0),
        nz("golden.npz", code_at=lambda a: a["code_at"] + 2**40),
        nz("golden.npz", reconstruction=lambda a: -a["reconstruction"] - 1),
    ],
    ids=range(11),
)  # fmt: skip
@pytest.mark.parametrize("signed", [False, True])
def test_a_golden_trace_that_proves_nothing_is_refused(
    bundle_folder: Path, tmp_path: Path, signed: bool, change: Callable[[Path, dict[str, Any]], None]
) -> None:
    """Without forecasts, codes or errors, with NaN for a prediction, or with ticks that are none: one line."""
    folder = rehashed(bundle_folder, tmp_path / "b", change, signed=signed)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        golden_of(Bundle.open(folder))


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("answer", ["y", "y_future", "code", "reconstruction"])
def test_every_answer_of_a_model_is_compared(bundle_folder: Path, tmp_path: Path, answer: str, backend: Any) -> None:
    """A golden trace that differs in one prediction, forecast, code or reconstruction error fails at load."""

    def shifted(arrays: dict[str, np.ndarray]) -> np.ndarray:
        changed = arrays[answer].copy()
        changed.flat[-1] += 1.0
        return changed

    folder = rehashed(bundle_folder, tmp_path / "b", nz("golden.npz", **{answer: shifted}))
    with pytest.raises(BundleError, match=f"on backend {backend}"):
        Predictor.load(folder, backend)


def test_a_backend_that_answers_nan_fails(bundle_folder: Path) -> None:
    """NaN in the place of a number is an infinite error, whatever the answer."""
    bundle = Bundle.open(bundle_folder)
    predictor = Predictor.load(bundle, "numpy", check=False)
    predictor.backend.advance = lambda window: predictor.backend.y * np.nan  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="step error inf"):
        require_parity(predictor, "numpy", bundle)
