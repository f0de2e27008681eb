"""Split recordings into a training and a validation part, and read those to judge or calibrate a model on."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from rtsysid.config import Config
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import resolve, rows_needed
from rtsysid.spec import Channel, ModelSpec

LONGER = "record longer, or shorten taps, warmup or the rollout horizon"


def unscaled_spec(config: Config, channels: Sequence[Channel]) -> ModelSpec:
    """Return the specification of a configuration, before the recordings give its scaling.

    Raises SpecError where the configuration contradicts itself.
    """
    return ModelSpec(channels=tuple(channels), rate_hz=config.data.rate_hz, **config.model.fields)


def shortest_piece(config: Config, spec: ModelSpec) -> int:
    """Return the rows that a piece needs in order to be of use in one stage of a training.

    Raises ScheduleError where a stage does not fit the model.
    """
    return max(2, min(rows_needed(stage, spec) for stage in resolve(config.stages, spec)))


def split_long_enough(trace: Trace, validation: Sequence[str], needed: int) -> tuple[Trace, Trace]:
    """Split into training and validation part, of pieces with `needed` rows or more; see `Trace.split`.

    Without patterns a piece that is too short takes no part in the choice: an aborted last recording does not become
    the validation part. Raises TraceError where a part has no piece that is long enough.
    """
    trace = trace if validation else trace.long_enough(needed, "training", LONGER)
    training, held_out = trace.split(validation)
    return training.long_enough(needed, "training", LONGER), held_out.long_enough(needed, "validation", LONGER)


def training_parts(trace: Trace, config: Config) -> tuple[Trace, Trace]:
    """Return the recordings that a training with this configuration trains and validates on, cut at every gap.

    Raises TraceError where a part has none that is long enough.
    """
    cut = trace.segments(config.data.rate_hz, nan="split")
    # with feedthrough a piece loses its last row before training cuts it
    needed = shortest_piece(config, unscaled_spec(config, trace.channels)) + config.data.feedthrough
    return split_long_enough(cut, config.data.validation, needed)


def validation_part(trace: Trace, config: Config) -> Trace:
    """Return the recordings that a training with this configuration validates on; see `training_parts`."""
    return training_parts(trace, config)[1]


def read_held_out(
    paths: Sequence[Path], channels: Sequence[Channel], config: Config, trained: Set[str]
) -> tuple[Trace, str]:
    """Read recordings with the settings of a model's configuration, cut at every gap; leave out what trained the model.

    `trained`: SHA-256 of each recording of the training run. Given exactly those recordings, it returns their
    validation part. The second result describes the recordings in words. Raises TraceError where the recordings cannot
    be used, and where their rate is not the rate of the model.
    """
    data = config.data
    trace = read_recordings(paths, data, channels)
    return held_out_of(trace.segments(data.rate_hz, nan="split"), trained, config)


def held_out_of(trace: Trace, trained: Set[str], config: Config) -> tuple[Trace, str]:
    """Do as `read_held_out` with recordings that were read and cut. Raises its errors."""
    given = [digest for _, digest in trace.sources]
    known = sum(digest in trained for digest in given)
    if known == len(given) and set(given) == trained:
        validation = validation_part(trace, config)
        text = f"the validation part ({_duration_text(validation)}) of the recordings of the training run"
        note = (
            "; training used it too, so the errors are too small"
            if config.data.train_on_validation or config.auto
            else ""
        )
        return validation, text + note
    text = f"{len(given)} recordings ({_duration_text(trace)})"
    if known:
        return trace, f"{text}; training used {known} of them, so the errors are too small"
    return trace, f"{text} that were not used in training"


def _duration_text(trace: Trace) -> str:
    return f"{trace.duration:.0f} s"
