"""Calibrate a new bundle on the validation part of its own run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor
from rtsysid.live.calibration import Calibration
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.train.run import Run


def calibration_of(run: Run, weights: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Calibration, Intervals] | None:
    """Compute both calibrations with weights [out, in] on the NumPy backend: the same bits with C and without.

    None where the run kept no validation part, where the model was trained on that part too, and where it is too short.
    """
    refitted = run.about["config"]["data"].get("train_on_validation", False)
    if refitted or not (run.folder / "validation.npz").exists():
        return None
    predictor = Predictor(run.spec, NumpyBackend(run.spec, weights))
    episodes = _validation_episodes(run.arrays("validation.npz"))
    seconds = sum(len(each.true) for each in episodes) / run.spec.rate_hz
    try:
        return calibrate_predictor(predictor, episodes, f"the validation part ({seconds:.0f} s) of the training run")
    except TraceError:
        return None


def _validation_episodes(stored: dict[str, np.ndarray[Any, Any]]) -> list[HeldOut]:
    ends = np.cumsum(stored["rows"])[:-1]
    true = np.split(stored["true"], ends)
    shown = np.split(stored["shown"], ends) if "shown" in stored else true
    return [HeldOut(*each) for each in zip(shown, true, strict=True)]
