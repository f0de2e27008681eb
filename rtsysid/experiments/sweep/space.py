"""Describe the space of a sweep as data: paths into a configuration, each with values or a range.

A path is written with dots, as in ``model.taps``. Of stages and losses a part of the path is a name, an index, or
``*`` for all: ``stage.*.weight_decay``, ``stage.pretrain.epochs``, ``stage.*.loss.*.norm``. Every key of a
configuration can be in a space, except those of ``[data]``: all trials are judged on the same rows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rtsysid.config import Config, config_from_builtins, config_text
from rtsysid.errors import ConfigError, RtsysidError
from rtsysid.recordings.held_out import unscaled_spec
from rtsysid.schedule import resolve, rows_needed
from rtsysid.spec import ModelSpec
from rtsysid.train.auto.completed import CORRECTION, REPLACED, with_kind

Number = Annotated[int, Meta(ge=-(10**15), le=10**15)] | Annotated[float, Meta(ge=-1e15, le=1e15)]
PRESET = "train.preset"  # applied first, since it makes the stages that other paths lead to
EFFORT = "train.effort"
KIND = "train.replace_linear"  # applied first where both kinds are open, since each has stages of its own


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describe what one path may become: one of ``values``, or a number from ``low`` to ``high``.

    ``log``: sample the logarithm evenly. ``step``: distance of the numbers from ``low`` on. ``times``: the number
    multiplies what the configuration says. A range between two whole numbers has whole numbers only.
    """

    values: tuple[Any, ...] = ()
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None
    times: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return all values, or both ends of the range."""
        return self.values or (self.low, self.high)

    def spelled(self, value: Any) -> Any:
        """Return a value as the space has it: 1 for 1.0, where it says 1; None where the value is not in the space."""
        if self.values:
            kind = isinstance(value, bool)
            return next((own for own in self.values if own == value and isinstance(own, bool) == kind), None)
        if not _is_countable(value) or self.low is None or self.high is None or not self.low <= value <= self.high:
            return None
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        step = self.step or (1 if whole else None)
        steps = 0.0 if step is None else (value - self.low) / step
        return None if abs(steps - round(steps)) >= 1e-9 else int(value) if whole and value == int(value) else value


Space = dict[str, Parameter]


def read_space(path: Path | str) -> Space:
    """Read a space from a TOML file. Raises ConfigError where it cannot be read or a range is empty."""
    name = f"space {path}"
    try:
        table = tomllib.loads(config_text(path))
    except RecursionError:
        raise ConfigError(name, "nested too deeply", "remove the brackets") from None
    except ValueError as error:
        raise ConfigError(name, f"not TOML: {error}", "correct the line") from None
    space = {path: _parameter(path, each) for path, each in _parameters(table)}
    if not space:
        raise ConfigError(name, "no parameter", 'name one: "model.taps" = { values = [5, 10, 20] }')
    return space


def _parameters(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """List the parameters by path: a table in a table is written with or without dots."""
    for key, value in table.items():
        path = before + key
        if not isinstance(value, dict):
            remedy = f'write "{path}" = {{ values = [..] }}, or low and high'
            raise ConfigError(f"space: {path}", str(value)[:40], remedy)
        if value.keys() & {"values", "low", "high"}:
            yield path, value
        else:
            yield from _parameters(value, f"{path}.")


def _parameter(path: str, table: Mapping[str, Any]) -> Parameter:
    name = f"space: {path}"
    if path.partition(".")[0] == "data":
        raise ConfigError(name, "a key of [data]", "all trials read the same rows: set it in the configuration")
    try:
        made = msgspec.convert(table, Parameter)
    except msgspec.ValidationError as error:
        raise ConfigError(name, str(error), "give values, or low, high, log, step, times") from None
    if "values" in table:
        _check_values(name, table, made)
    else:
        _check_range(name, made)
    return made


def _check_values(name: str, table: Mapping[str, Any], made: Parameter) -> None:
    if table.keys() - {"values", "times"}:
        raise ConfigError(name, f"values and {', '.join(sorted(table.keys() - {'values'}))}", "give values or a range")
    if not made.values:
        raise ConfigError(name, "values = []: nothing to choose from", "give one or more values")
    if made.times and not all(map(_is_countable, made.values)):
        raise ConfigError(name, "times, but a value is no number", "give numbers")


def _check_range(name: str, made: Parameter) -> None:
    low, high, step = made.low, made.high, made.step
    if low is None or high is None:
        raise ConfigError(name, f"low = {low}, high = {high}", "give both")
    if low > high:
        raise ConfigError(name, f"an empty range: low = {low} is above high = {high}", "exchange them")
    if made.log and (low <= 0 or step is not None):
        found = "log and step" if step is not None else f"log with low = {low}"
        raise ConfigError(name, found, "leave one out" if step is not None else "give a low above 0")
    if step is not None and step <= 0:
        raise ConfigError(name, f"step = {step}", "give a step above 0")


def _is_countable(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def configured(config: Config, values: Mapping[str, Any], space: Mapping[str, Parameter]) -> Config:
    """Return the configuration with `values` by path. Raises ConfigError where a path or a value is not possible."""
    if isinstance(values.get(KIND), bool) and config.auto:
        config = with_kind(config, REPLACED if values[KIND] else CORRECTION)
    built = msgspec.to_builtins(config)
    if PRESET in values:
        if config.stage:
            found = "the configuration has its own [[stage]] tables"
            raise ConfigError(f"space: {PRESET}", found, "remove one of them")
        built["train"]["preset"] = values[PRESET]
    built["stage"] = msgspec.to_builtins(config_from_builtins(built, f"space: {PRESET}").stages)
    for path, value in values.items():
        if path != PRESET:
            _set(built, path, value, space[path].times)
    made = config_from_builtins(built, "space")
    if made.auto and not config.auto:
        found = "auto, which chooses its own model in every trial"
        raise ConfigError(f"space: {PRESET}", found, "leave it out, or sweep a configuration of [data] alone")
    return made


def _set(built: Any, path: str, value: Any, times: bool) -> None:
    *before, last = path.split(".")
    for table in _reached(built, before, path):
        if not isinstance(table, dict):
            raise ConfigError(f"space: {path}", f"{'.'.join(before)} is no table", "name a key of a configuration")
        old = table.get(last)
        if times and not _is_countable(old):
            raise ConfigError(f"space: {path}", f"times, but the configuration says {old}", "leave times out")
        product = old * value if times else value
        table[last] = round(product) if times and isinstance(old, int) else product


def _reached(built: Any, steps: list[str], path: str) -> list[Any]:
    """List the tables that the steps of a path lead to; ``*`` leads to every element of a list."""
    here = [built]
    for step in steps:
        here = [found for each in here for found in _next_tables(each, step)]
    if not here:
        raise ConfigError(f"space: {path}", "no table of the configuration is there", "correct the path")
    return here


def _next_tables(table: Any, step: str) -> list[Any]:
    if isinstance(table, dict):
        return [table[step]] if step in table else []
    if isinstance(table, list | tuple):
        names = [{"*", str(at), isinstance(each, dict) and each.get("name")} for at, each in enumerate(table)]
        return [each for each, known in zip(table, names, strict=True) if step in known]
    return []


def own_trials(config: Config, space: Space) -> list[dict[str, Any]]:
    """List the trials that are the configuration itself: one, or one for each kind of network that it leaves open.

    Raises ConfigError where a path leads nowhere.
    """
    own = own_values(config, space)
    kinds = space[KIND].values if KIND in space and KIND not in own else ()
    return [{**own, KIND: each} for each in kinds] or [own]


def longest_trials(config: Config, space: Space) -> list[dict[str, Any]]:
    """List the own trials of a default training, with the longest training of the space: the default is a short one.

    Raises ConfigError where a path leads nowhere.
    """
    longest = space[EFFORT].high if EFFORT in space else None
    if longest is None or not config.auto:
        return []
    return [{**own, EFFORT: longest} for own in own_trials(config, space)]


def own_values(config: Config, space: Space) -> dict[str, Any]:
    """Return what the configuration itself says, by path, where that is one value and lies in the space.

    Raises ConfigError where a path leads nowhere.
    """
    built = msgspec.to_builtins(msgspec.structs.replace(config, stage=config.stages))
    own = {}
    for path, parameter in space.items():
        *before, last = path.split(".")
        tables = _reached(built, before, path)
        said = [1] if parameter.times else [_as_choice(each.get(last)) for each in tables if isinstance(each, dict)]
        known = parameter.spelled(said[0]) if said and all(each == said[0] for each in said) else None
        if known is not None:
            own[path] = known
    return own


def _as_choice(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def fitting_spec(config: Config) -> ModelSpec:
    """Return the specification of a configuration whose schedule fits it.

    Raises SpecError, ScheduleError or ConfigError where the configuration contradicts itself.
    """
    spec = unscaled_spec(config, config.data.channels)
    resolve(config.stages, spec, config.train.effort)
    return spec


def check_space(config: Config, space: Space) -> list[ModelSpec]:
    """Try each value, and both ends of each range, alone; return the specifications.

    Raises ConfigError that names the path and the value with which the configuration contradicts itself.
    """
    specs = [fitting_spec(config)]
    for path, parameter in space.items():
        for value in parameter.ends:
            try:
                specs.append(fitting_spec(configured(config, {path: value}, space)))
            except RtsysidError as error:
                found = error.found if error.what.startswith("space") else f"{error.what}: {error.found}"
                raise ConfigError(f"space: {path} = {value}", found, error.remedy) from None
    return specs


def default_space(config: Config, rows: float = float("inf")) -> Space:
    """Derive a space from a configuration: around what it says, so that the configuration itself lies in it.

    `rows`: of the longest piece that training and validation part both have; taps beyond it are left out.
    """
    stages, fields = config.stages, config.model.fields
    taps, encoder, hidden = fields["taps"], fields["encoder"], fields["hidden"]
    longest = 3.0 if config.auto else 2.0  # the default training has to end in minutes
    half, twice = tuple(max(1, width // 2) for width in encoder), tuple(2 * width for width in encoder)
    wanted: dict[str, Parameter] = {
        "model.taps": _choice(
            max(2, taps // 2), taps, *([2 * taps] if _longest_sequence(config) + taps <= rows else [])
        ),
        "model.encoder": _choice(*map(list, (half, encoder, twice, encoder[-1:], ()))),
        "model.hidden": Parameter(low=max(4, hidden // 4), high=2 * hidden, log=True),
        "model.linear_path": _choice(False, True),
        "model.output": _choice("increment", "absolute"),
        EFFORT: Parameter(low=config.train.effort / 2, high=longest * config.train.effort, log=True),
        "stage.*.learning_rate": Parameter(low=0.3, high=3.0, log=True, times=True),
        "stage.*.weight_decay": _scaled(*(stage.weight_decay for stage in stages)),
        "stage.*.input_noise": _scaled(*(stage.input_noise for stage in stages)),
    }
    if config.model.head_sees_code is not None:
        wanted["model.head_sees_code"] = _choice(False, True)
    if config.auto:  # its linear model stays, and so does what the network adds to
        wanted = {path: each for path, each in wanted.items() if path not in ("model.linear_path", "model.output")}
        if config.train.replace_linear is None:
            wanted[KIND] = _choice(False, True)
    if len({loss.norm for stage in stages for loss in stage.loss}) == 1:
        wanted["stage.*.loss.*.norm"] = _choice("square", "absolute")
    fitted = {path: _possible(config, path, parameter) for path, parameter in wanted.items()}
    return {path: parameter for path, parameter in fitted.items() if len(set(map(str, parameter.ends))) > 1}


def _longest_sequence(config: Config) -> int:
    """Count the rows that every stage needs for a sequence, from the first window to the last target."""
    spec = fitting_spec(config)
    return max(rows_needed(stage, spec) for stage in resolve(config.stages, spec))


def _choice(*values: Any) -> Parameter:
    return Parameter(values=tuple(each for at, each in enumerate(values) if each not in values[:at]))


def _scaled(*said: float) -> Parameter:
    """Multiply what the stages say; where none says anything, choose among some values."""
    if any(said):
        return Parameter(low=0.1, high=10.0, log=True, times=True)
    return Parameter(values=(0.0, 0.01, 0.1, 1.0))


def _possible(config: Config, path: str, parameter: Parameter) -> Parameter:
    """Leave out the values with which the configuration contradicts itself."""
    kept = []
    for value in parameter.ends:
        try:
            check_space(config, {path: Parameter(values=(value,), times=parameter.times)})
            kept.append(value)
        except RtsysidError:
            continue
    return parameter if len(kept) == len(parameter.ends) else Parameter(values=tuple(kept), times=parameter.times)
