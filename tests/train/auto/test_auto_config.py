"""Which configurations have the default training, and what becomes of what they say."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.robots import DATA_ALONE, TINY, make_angle_spec, make_body_spec, plant

from rtsysid.config import EMBEDDED, Config, parse_config, read_config
from rtsysid.errors import ConfigError
from rtsysid.recordings.trace import Trace
from rtsysid.spec import ModelSpec
from rtsysid.train.auto import plan
from rtsysid.train.auto.begin import begin_auto, completed
from rtsysid.train.auto.completed import CORRECTION, REPLACED, with_kind
from rtsysid.train.auto.trainer import Updates
from rtsysid.train.auto.words import of_plan
from rtsysid.train.run import Run

PRESET = '[train]\npreset = "two-stage"\n'
SAID = """{data}[model]
taps = 6
encoder = [5, 4]
hidden = 3
relative = ["v"]
[train]
batch = 32
effort = {effort}
"""


@pytest.fixture
def trace(tiny_trace: Trace) -> Trace:
    return Trace(tiny_trace.channels, plant(4, 150).episodes)


def said(effort: float) -> str:
    return SAID.format(data=DATA_ALONE, effort=effort)


def test_a_file_without_preset_and_stages_has_the_default_training() -> None:
    """A preset or stages of its own keep a file from it, as those that come with the package; they may ask for it."""
    assert parse_config(DATA_ALONE).auto
    assert parse_config(said(1)).auto
    assert parse_config(TINY.replace("batch = 64", 'batch = 64\npreset = "auto"')).auto
    others = [parse_config(TINY), parse_config(DATA_ALONE + PRESET), *map(read_config, EMBEDDED)]
    assert not any(config.auto for config in others)


def test_what_nobody_chose_has_the_default_of_the_specification() -> None:
    """With another preset an unsaid size is that of the specification, and what the file says is kept."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(ModelSpec)}
    fields = parse_config(DATA_ALONE + "[model]\ntaps = 7\n" + PRESET).model.fields
    assert fields == {name: defaults[name] for name in fields} | {"taps": 7}


def test_what_a_file_says_is_kept_and_nothing_stays_open(trace: Trace) -> None:
    """The completed configuration has every key of the model, and those of the file as it says them."""
    config = parse_config(said(3))
    found = completed(config, trace)
    kept = {name: value for name, value in msgspec.structs.asdict(config.model).items() if value is not None}
    assert {name: getattr(found.model, name) for name in kept} == kept
    open_keys = {name for name, value in msgspec.structs.asdict(found.model).items() if value is None}
    assert open_keys <= {"rigid_body"}
    assert (found.train.batch, found.train.effort) == (32, 1.0)  # the effort is in the epochs
    assert found.stage


@pytest.mark.parametrize(("effort", "minutes", "factor"), [(1, None, 1), (3, None, 3), (3, 5.0, 1)])
def test_effort_multiplies_the_epochs_once(
    trace: Trace, tmp_path: Path, effort: int, minutes: float | None, factor: int
) -> None:
    """Three times the effort is three times the epochs; minutes replace it."""
    updates, totals = Updates(1, 200), []
    for each, limit in ((1, None), (effort, minutes)):
        config = parse_config(said(each))
        trainer = begin_auto(config, trace, tmp_path / f"{len(totals)}", minutes=limit, updates=updates)
        totals.append(trainer.total)
    assert totals[1] == pytest.approx(factor * totals[0], abs=4)


def test_the_completed_file_is_the_configuration_of_the_run(auto_run_folder: Path) -> None:
    """What training wrote as a file is read back to what it trained: of two kinds of network the better one."""
    run = Run(auto_run_folder)
    config = read_config(str(auto_run_folder / "completed.toml"))
    trained = msgspec.convert(run.about["config"], Config)
    assert trained.train.replace_linear is None
    assert config in [with_kind(trained, kind) for kind in (CORRECTION, REPLACED)]
    chosen = msgspec.structs.asdict(run.spec)
    assert {name: chosen[name] for name in config.model.fields} == config.model.fields


def test_trainings_on_the_same_recordings_share_their_linear_model(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of a sweep that differ in the network alone choose the linear model once; other taps choose again."""
    searched, known = [], dict[str, plan.LinearSearch]()
    search = plan._linear_search
    monkeypatch.setattr(plan, "_linear_search", lambda *given: searched.append(1) or search(*given))
    plans = []
    for number, text in enumerate(("hidden = 4", "hidden = 8", "hidden = 8\ntaps = 12")):
        config = parse_config(DATA_ALONE + f"[model]\n{text}\n")
        plans.append(begin_auto(config, trace, tmp_path / f"{number}", updates=Updates(1, 1), known=known).plan)
    assert len(searched) == len(known) == 2
    alone = begin_auto(parse_config(DATA_ALONE + "[model]\nhidden = 8\n"), trace, tmp_path / "alone").plan
    assert plans[1] is not None
    assert alone is not None
    assert plans[1].spec == alone.spec
    np.testing.assert_array_equal(plans[1].unit, alone.unit)


def test_what_was_found_is_said(trace: Trace, tmp_path: Path) -> None:
    """Sizes, angles and quaternions are in the lines before the training, not in a file alone."""
    found = begin_auto(parse_config(DATA_ALONE + "[model]\nhidden = 4\n"), trace, tmp_path / "run").plan
    assert found is not None
    said = [line for spec in (make_angle_spec(), make_body_spec()) for line in of_plan(found._replace(spec=spec))]
    assert "angles, compared the short way around: u1, y0, y1" in said
    assert any(line.startswith("one rotation, as a quaternion: ") for line in said)
    assert f"network of 4 units; the first forecast is ready after {found.spec.settling_samples} rows" in of_plan(found)


def test_minutes_are_kept_or_refused(trace: Trace, tmp_path: Path) -> None:
    """A kind that the file says is timed as well; minutes and stages of the file contradict each other."""
    text, updates, epochs = said(1) + "replace_linear = true\n", Updates(1, 2000), []
    for number, minutes in enumerate((None, 1e-6)):
        trainer = begin_auto(parse_config(text), trace, tmp_path / f"{number}", minutes=minutes, updates=updates)
        epochs.append(sum(stage.epochs for stage in trainer.completed().stage))
    assert epochs[0] > 10 * epochs[1]
    staged = parse_config(TINY.replace("batch = 64", 'batch = 64\npreset = "auto"'))
    with pytest.raises(ConfigError, match=r"--minutes: .*stage"):
        begin_auto(staged, trace, tmp_path / "staged", minutes=1.0)
