"""Calibrate a new bundle on the validation part of its own run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_notes
from rtsysid.live.calibration import Calibration
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.train.run import Result, state_arrays

OTHERS = "calibrate on other recordings: rtsysid calibrate BUNDLE TRACE..."


def calibration_of(result: Result, weights: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Calibration, Intervals]:
    """Compute both calibrations with weights [out, in] on the NumPy backend: the same bits with C and without.

    Where the training made a judge, its weights take their place: it was not trained on the validation part.

    Logs which pieces of the validation part it leaves out. Raises TraceError where the run kept no validation part,
    where the model was trained on that part too, and where it is too short.
    """
    weights = weights if result.judge is None else state_arrays(result.judge)
    if result.about["config"]["data"].get("train_on_validation", False):
        raise TraceError("calibration", "train_on_validation: training used that part, too", OTHERS)
    if result.validation is None:
        raise TraceError("calibration", f"run {result.folder} kept no validation part", OTHERS)
    predictor = Predictor(result.spec, NumpyBackend(result.spec, weights))
    episodes = _validation_episodes(result.validation)
    seconds = sum(len(each.true) for each in episodes) / result.spec.rate_hz
    found = calibrate_predictor(predictor, episodes, f"the validation part ({seconds:.0f} s) of the training run")
    for note in calibration_notes(predictor, episodes):
        logging.getLogger(__name__).warning("calibration: %s", note.line)
    return found


def _validation_episodes(stored: dict[str, np.ndarray[Any, Any]]) -> list[HeldOut]:
    ends = np.cumsum(stored["rows"])[:-1]
    true = np.split(stored["true"], ends)
    shown = np.split(stored["shown"], ends) if "shown" in stored else true
    return [HeldOut(*each) for each in zip(shown, true, strict=True)]
