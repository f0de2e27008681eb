"""Read the recordings to judge or calibrate a model on: those that it was not trained on, where that is known."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from rtsysid.config import Data
from rtsysid.recordings.resample import resample
from rtsysid.recordings.trace import Trace, clock
from rtsysid.spec import Channel


def read_held_out(
    paths: Sequence[Path], channels: Sequence[Channel], data: Data, trained: Set[str]
) -> tuple[Trace, str]:
    """Read recordings with the settings of a model's configuration, cut at every gap; leave out what trained the model.

    `trained`: SHA-256 of each recording of the training run. Given exactly those recordings, it returns their
    validation part. The second result describes the recordings in words. Raises TraceError where the recordings cannot
    be used, and where their rate is not the rate of the model.
    """
    trace = Trace.read_all(paths, channels, **clock(data.time, data.rate_hz))
    if data.resample:
        trace = resample(trace, data.rate_hz, max_age=data.max_age)
    return _not_trained_on(trace.segments(data.rate_hz, nan="split"), trained, data)


def _not_trained_on(trace: Trace, trained: Set[str], data: Data) -> tuple[Trace, str]:
    given = [digest for _, digest in trace.sources]
    known = sum(digest in trained for digest in given)
    if known == len(given) and set(given) == trained:
        validation = trace.split(data.validation)[1]
        text = f"the validation part ({_duration_text(validation)}) of the recordings of the training run"
        note = "; training used it too, so the errors are too small" if data.train_on_validation else ""
        return validation, text + note
    text = f"{len(given)} recordings ({_duration_text(trace)})"
    if known:
        return trace, f"{text}; training used {known} of them, so the errors are too small"
    return trace, f"{text} that were not used in training"


def _duration_text(trace: Trace) -> str:
    return f"{trace.duration:.0f} s"
