"""The rows of a sweep: what measures a model trains none, and every worker sees the same channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.robots import DATA_ALONE, plant
from support.sweeps import SMALL

from rtsysid.config import Config, parse_config
from rtsysid.evaluation.bootstrap import geometric_mean
from rtsysid.experiments.sweep.objective import RESOLUTION, Measure, parts_of_training, train_trial
from rtsysid.experiments.sweep.space import Parameter, configured, fitting_spec
from rtsysid.experiments.sweep.study import Plan
from rtsysid.experiments.sweep.worker import Worker
from rtsysid.recordings.trace import Trace
from rtsysid.train.auto.begin import completed, parts_of
from rtsysid.train.run import Run

STAGED = DATA_ALONE + SMALL[SMALL.index("[model]") :].replace("[train]", '[train]\npreset = "auto"')


def cut(count: int, number: int, rows: int) -> Trace:
    """Recordings of 60 rows, of which one has another length."""
    trace = plant(count, 300)
    lengths = [rows if k == number else 60 for k in range(count)]
    episodes = (replace(e, t=e.t[:n], values=e.values[:n]) for e, n in zip(trace.episodes, lengths, strict=True))
    return replace(trace, episodes=tuple(episodes))


def test_a_default_training_is_measured_on_its_own_validation_recordings() -> None:
    """A last recording without room for the longest sequence validates nothing, and no other one takes its place."""
    config, trace = parse_config(STAGED.replace("warmup = 4", "warmup = 40")), cut(10, 9, 40)
    measured = {row.tobytes() for row in Measure(config, trace, 43)._rows.flatten(0, 1).numpy()}
    parts = parts_of(config, trace)
    assert measured <= {row.tobytes() for piece in parts.validation for row in piece}
    assert not measured & {row.tobytes() for piece in parts.training for row in piece}


def test_no_trial_trains_on_the_rows_that_measure_it(tmp_path: Path) -> None:
    """A trial that needs longer pieces leaves out the first recording, and still validates on the same three."""
    config, trace = parse_config(SMALL), cut(13, 0, 20)
    assert len(parts_of_training(config, trace)[1]) == 3
    longer = msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, taps=20))
    assert len(parts_of_training(longer, trace)[1]) == 2
    next(train_trial(longer, trace, tmp_path / "run", Measure(config, trace, 30)))
    assert Run(tmp_path / "run").arrays("validation.npz")["rows"].tolist() == [60, 60, 60]


@pytest.mark.parametrize("text", [SMALL, STAGED])
def test_a_trial_has_the_channels_of_the_plan(text: str, tmp_path: Path) -> None:
    """What a default training finds in the channels, as an angle, is no matter of how the recordings were read."""
    said: Config = parse_config(text.replace("y [m]", "y [rad]").replace("outputs", 'angles = ["y"]\noutputs'))
    worker = Worker(Plan(said, {}, {}), cut(3, 0, 60), tmp_path)
    assert [channel.angle for channel in worker._measure.spec.outputs] == [True, False]
    assert worker._trace.channels == said.data.channels


def test_every_combination_of_the_space_has_rows_to_settle_on(tmp_path: Path) -> None:
    """A warm-up that only one start of the state has counts, whatever start the configuration itself has."""
    config = parse_config(SMALL.replace("warmup = 4", 'warmup = 4\nstate_init = "zero"'))
    values: dict[str, tuple[Any, ...]] = {"model.state_init": ("zero", "warmup"), "model.warmup": (0, 20)}
    space = {path: Parameter(values=each) for path, each in values.items()}
    longest = configured(config, {path: each[1] for path, each in values.items()}, space)
    worker = Worker(Plan(config, space, {}), cut(3, 0, 60), tmp_path)
    assert worker._measure.settling == fitting_spec(longest).settling_samples == 23


def test_a_trial_is_stopped_by_what_it_would_keep(tmp_path: Path) -> None:
    """A network that replaces the linear model has learned nothing yet at the first rung: the linear model counts."""
    text, trace = DATA_ALONE + "[train]\neffort = 0.05\nreplace_linear = true\n", plant(4, 150)
    config = parse_config(text)
    measure = Measure(completed(config, trace), trace, 50)
    found = [each.errors for each in train_trial(config, trace, tmp_path / "run", measure)]
    first, *_, last = (float(geometric_mean(each.sum(0), RESOLUTION)) for each in found if each is not None)
    assert last < 0.01, "a linear plant"
    assert first < 2 * last
