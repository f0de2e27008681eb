"""The space of a sweep: what may be varied, what is refused, and how a configuration is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import DATA_ALONE, TINY, plant

from rtsysid.config import EMBEDDED, Config, config_from_builtins, parse_config, read_config
from rtsysid.errors import ConfigError
from rtsysid.experiments.sweep.space import (
    Parameter,
    check_space,
    configured,
    default_space,
    own_trials,
    own_values,
    read_space,
)
from rtsysid.experiments.sweep.study import OWN, Plan, open_study, suggested
from rtsysid.train.auto.begin import completed
from rtsysid.train.auto.completed import CORRECTION, REPLACED, with_kind
from rtsysid.train.auto.trainer import Updates
from rtsysid.train.config_text import toml_text

WRONG = {
    "": "no parameter",
    '"model.taps" = { values = [] }': "nothing to choose from",
    '"model.taps" = { low = 9, high = 3 }': "an empty range",
    '"model.taps" = { low = 3 }': "give both",
    '"model.taps" = { low = nan, high = 3.0 }': "Expected",
    '"model.taps" = { low = 1, high = 1e300 }': "Expected",
    '"model.taps" = { low = "a", high = "b" }': "Expected",
    '"model.taps" = { low = 1, high = 9, step = 0 }': "step",
    '"model.taps" = { low = 0, high = 9, log = true }': "log",
    '"model.taps" = { low = 1, high = 9, log = true, step = 2 }': "log and step",
    '"model.taps" = { values = [1, 2], low = 1 }': "values or a range",
    '"model.taps" = { low = 1, high = 2, often = true }': "often",
    '"model.taps" = { values = ["a"], times = true }': "no number",
    '"model.taps" = 5': "write",
    '"data.rate_hz" = { values = [50, 100] }': "all trials read the same rows",
    "model = [": "not TOML",
}
IMPOSSIBLE = {
    '"model.tapes" = { values = [5] }': "did you mean 'taps'",
    '"modell.taps" = { values = [5] }': "no table",
    '"stage.second.epochs" = { values = [5] }': "no table",
    '"model.taps.low" = { values = [5] }': "no table|is no table",
    '"model.taps" = { values = [5, 0] }': "model.taps = 0",
    '"model.encoder" = { values = [[8, 3], []] }': "has no encoder",
    '"model.cell" = { values = ["lstm", "transformer"] }': "transformer",
    '"train.preset" = { values = ["two-stage"] }': "its own",
    '"model.cell" = { values = [2], times = true }': "times",
}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "space.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("text", WRONG)
def test_a_space_that_is_none_is_refused(text: str, written: Any) -> None:
    """An empty range, an unknown key or a wrong type is one line that says what was found."""
    with pytest.raises(ConfigError, match=WRONG[text]):
        read_space(written(text))


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_a_value_that_makes_no_configuration_is_refused(text: str, written: Any) -> None:
    """Each value and each end of a range is tried before the sweep begins, and the path is named."""
    with pytest.raises(ConfigError, match=IMPOSSIBLE[text]) as caught:
        check_space(parse_config(TINY), read_space(written(text)))
    assert caught.value.what.startswith("space: ")


def test_paths_lead_to_tables_stages_and_losses(written: Any) -> None:
    """A path names a key, a stage by name, index or star, and a loss of each; `times` multiplies."""
    text = """
model.hidden = { low = 4, high = 9 }
"stage.*.learning_rate" = { low = 0.1, high = 2.0, times = true }
"stage.joint.epochs" = { values = [0.5], times = true }
"stage.1.epochs" = { values = [7] }
"stage.*.loss.*.norm" = { values = ["absolute"] }
"train.symmetry" = { values = [[{ negate = ["y"] }]] }
"""
    config, space = parse_config(TINY), read_space(written(text))
    values = {path: parameter.ends[0] for path, parameter in space.items()}
    made = configured(config, values, space)
    assert made.model.hidden == 4
    assert [stage.epochs for stage in made.stage] == [2, 7]
    assert [stage.learning_rate for stage in made.stage] == [pytest.approx(1e-4)] * 2
    assert {loss.norm for stage in made.stage for loss in stage.loss} == {"absolute"}
    assert made.train.symmetry[0].negate == ("y",)


def test_a_preset_is_chosen_before_its_stages_are_changed() -> None:
    """With `train.preset` in the space, other paths lead to the stages of the chosen preset."""
    config = parse_config(TINY[: TINY.index("[[stage]]")])
    space = {"stage.*.epochs": Parameter(values=(3,)), "train.preset": Parameter(values=("greedy", "two-stage"))}
    made = configured(config, {"stage.*.epochs": 3, "train.preset": "greedy"}, space)
    assert [stage.name for stage in made.stage] != [stage.name for stage in config.stages]
    assert {stage.epochs for stage in made.stage} == {3}


@pytest.mark.parametrize("name", [*EMBEDDED, "tiny"])
def test_the_default_space_holds_the_configuration(name: str) -> None:
    """Every value of a derived space makes a valid configuration, and the configuration lies in its own space."""
    config = parse_config(TINY) if name == "tiny" else read_config(name)
    space = default_space(config)
    check_space(config, space)
    own = own_values(config, space)
    assert own.keys() == space.keys()
    whole = msgspec.structs.replace(config, stage=config.stages)
    assert configured(config, own, space) == whole


def test_a_default_training_has_a_trial_of_its_own_for_each_kind_of_network() -> None:
    """Both kinds that a configuration of `[data]` alone trains are trials, with the stages that training gives them.

    Both follow with the longest training of the space.
    """
    config = completed(parse_config(DATA_ALONE), plant(3, 200), updates=Updates(1, 20))
    space = default_space(config)
    trials = own_trials(config, space)
    assert [configured(config, own, space) for own in trials] == [with_kind(config, k) for k in (CORRECTION, REPLACED)]
    assert trials[0].keys() == space.keys()
    study = open_study(Plan(config, space, {}), optuna.storages.InMemoryStorage())
    efforts = [suggested(study.ask(), space)["train.effort"] for _ in range(4)]
    assert efforts == [1.0, 1.0, 3.0, 3.0]  # then the longest training of each
    said = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, replace_linear=True))
    assert "train.replace_linear" not in default_space(said)


def test_every_key_of_a_configuration_can_be_in_a_space() -> None:
    """Every path that leads to a value of [model], [train] or a stage sets it, without code for the key."""
    config = parse_config(TINY)
    built = msgspec.to_builtins(config)
    tables = {"model": built["model"], "train": built["train"], "stage.*": built["stage"][0]}
    paths = {f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()}
    del paths["train.preset"], paths["stage.*.train"]
    assert len(paths) > 30
    for path, value in paths.items():
        configured(config, {path: value}, {path: Parameter(values=(value,))})


def test_every_number_of_a_space_has_two_ends() -> None:
    """A range from a file is finite: NaN, infinity and a slip of the keyboard are refused."""
    for number in (float("nan"), float("inf"), 2**64, 10**400, -1e300):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"low": number}, Parameter)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


@given(texts, texts, st.floats(1e-6, 1e7), st.booleans())
def test_a_written_configuration_reads_back_to_the_same(name: str, group: str, rate: float, flag: bool) -> None:
    """Any text, number and table that a configuration can hold survives the way through a TOML file."""
    built = msgspec.to_builtins(parse_config(TINY))
    built["data"] |= {"rate_hz": rate, "groups": {group: [name]}, "validation": [name], "resample": flag}
    built["train"]["sensor_noise"] = {"noise": {name: rate}, "repeat": 0.0}
    config: Config = config_from_builtins(built)
    assert parse_config(toml_text(config)) == config


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_configurations_read_back_to_the_same(name: str) -> None:
    """Rigid bodies, presets and stages are written in full."""
    config = read_config(name)
    assert parse_config(toml_text(config)) == msgspec.structs.replace(config, stage=config.stages)


SPELLINGS: dict[str, tuple[Parameter, Any]] = {
    "train.effort": (Parameter(values=(1, 2)), 1),
    "stage.*.epochs": (Parameter(values=(0.5, 1.0, 2.0), times=True), 1.0),
    "stage.*.learning_rate": (Parameter(low=1, high=3, times=True), 1),
    "stage.*.final_rate": (Parameter(low=0.05, high=1.0), 0.05),
}


@pytest.mark.parametrize("path", SPELLINGS)
def test_the_configuration_is_a_trial_however_its_numbers_are_written(path: str) -> None:
    """1 in a space is 1.0 of the configuration, and Optuna takes it as one of its choices."""
    parameter, own = SPELLINGS[path]
    plan = Plan(parse_config(TINY), {path: parameter}, {})
    assert own_trials(plan.config, plan.space) == [{path: own}]
    trial = open_study(plan, optuna.storages.InMemoryStorage()).ask()
    assert suggested(trial, plan.space) == {path: own}
    assert OWN in trial.user_attrs


@pytest.mark.parametrize("values", [(7, 8), (True, False)])
def test_a_trial_is_not_called_the_configuration_where_that_lies_outside_the_space(values: tuple[Any, ...]) -> None:
    """Five taps are not among the choices: the error of another model is not said to be that of the configuration."""
    plan = Plan(parse_config(TINY), {"model.taps": Parameter(values=values)}, {})
    assert OWN not in open_study(plan, optuna.storages.InMemoryStorage()).ask().user_attrs


def test_a_study_whose_process_was_killed_at_once_still_begins_with_the_configuration() -> None:
    """A process that opens a study without trials adds those of the configuration, once."""
    plan, storage = (
        Plan(parse_config(TINY), {"model.taps": Parameter(values=(2, 5))}, {}),
        optuna.storages.InMemoryStorage(),
    )
    optuna.create_study(study_name=plan.study, storage=storage)
    open_study(plan, storage)
    assert [OWN in each.user_attrs for each in open_study(plan, storage).get_trials()] == [True]


def test_the_default_training_is_no_choice_among_presets() -> None:
    """It would choose another model in every trial, so that neither cost nor rows of a trial were known."""
    config = parse_config(TINY[: TINY.index("[[stage]]")].replace("stride = 7", 'stride = 7\npreset = "two-stage"'))
    with pytest.raises(ConfigError, match="chooses its own model in every trial"):
        check_space(config, {"train.preset": Parameter(values=("greedy", "auto"))})


def test_the_default_space_has_no_taps_that_the_recordings_do_not_allow() -> None:
    """Fifteen rows are one forecast of six ticks after five taps and four of warm-up: ten taps leave none."""
    config = parse_config(TINY)
    assert default_space(config, rows=19)["model.taps"].values == (2, 5)
    assert default_space(config, rows=20)["model.taps"].values == (2, 5, 10)
