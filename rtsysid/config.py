"""Read the configuration of a training: channels of the recordings, model, schedule, as one TOML file.

Unknown keys are refused with a suggestion. Every value is checked when it is read.
"""

from __future__ import annotations

import difflib
import errno
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rtsysid.alignment.source import ChannelSource
from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.guards.keys import config_remedy
from rtsysid.guards.limits import checked_size, limit
from rtsysid.schedule import AUTO, Stage, noise_stages, preset
from rtsysid.spec import CELLS, PERIODS, CellName, Channel, ModelSpec, RigidBody, Variant, variant_of
from rtsysid.storage.kinds import kind_of, mistaken
from rtsysid.structure import DistributionName

EMBEDDED = ("quadrotor", "nanodrone")
_DOTS = 1000  # in one line: the parser takes a time that grows with the square of the parts of a dotted key


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure what to read from the recordings. Channels are written as in a CSV header: ``"vx [m/s]"``."""

    rate_hz: ranges.RateHz
    inputs: tuple[str, ...]
    outputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    time: str = "t"  # "": no time column, the rows have the rate rate_hz
    groups: dict[str, tuple[str, ...]] = {}
    angles: tuple[str, ...] = ()  # channels that come back after a turn, in rad or deg
    # Name patterns of recordings. None: the last fifth of the recordings, or of the rows; see `pieces.judging`.
    validation: tuple[str, ...] = ()
    # Also train on the validation recordings: for few recordings, when all choices are made.
    train_on_validation: bool = False
    nan: Literal["error", "split"] = "error"
    resample: bool = False  # align the rows of a table, too; those of topics always are
    max_age: ranges.Seconds | None = None  # maximum age in s of a value that is held; None: 2.5 mean periods
    sources: dict[str, ChannelSource] = {}  # by channel or group: where its values come from; rows are aligned
    # By file pattern of the sources: s to add to the times of these files, or "estimate" for each run.
    clock_offsets: dict[str, ranges.Offset | Literal["estimate"]] = {}
    lateness: ranges.Seconds | None = None  # s after its time that a tick waits for messages; None: one tick
    # Rows become [u_{k+1}, y_k], for band-limited records, in which an output depends on the input of its own tick.
    # Such a model cannot run on a robot, which does not have u_{k+1} yet.
    feedthrough: bool = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        """List inputs first, then outputs, each with its unit and group, and whether it is an angle.

        Raises ConfigError where a group or an angle is an unknown channel, and where the unit of an angle is unknown,
        SpecError where a channel cannot be parsed.
        """
        group = {name: title for title, names in self.groups.items() for name in names}
        parsed = [Channel.parse(text, "input") for text in self.inputs]
        parsed += [Channel.parse(text, "output") for text in self.outputs]
        missing = set(group) - {c.name for c in parsed}
        if missing:
            raise ConfigError("data.groups", f"no channel is named {sorted(missing)}", "use channel names of this file")
        _require_angles(self.angles, {c.name: c.unit for c in parsed})
        return tuple(
            msgspec.structs.replace(c, group=group.get(c.name, ""), angle=c.name in self.angles) for c in parsed
        )


def _require_angles(angles: tuple[str, ...], units: dict[str, str]) -> None:
    for name in angles:
        if name not in units:
            raise ConfigError("data.angles", f"no channel is named {name!r}", "use channel names of this file")
        if units[name] not in PERIODS:
            remedy = f"state it: '{name} [rad]' or '{name} [deg]'"
            raise ConfigError("data.angles", f"the unit of {name!r} is {units[name]!r}", remedy)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure the model: the fields of `rtsysid.spec.ModelSpec` that do not come from the recordings.

    None: chosen from the recordings with the preset auto, otherwise the default of the specification.
    """

    taps: ranges.Width | None = None
    encoder: tuple[ranges.Width, ...] | None = None
    encoder_taps: ranges.CountOrNone | None = None
    variational: bool = False
    cell: CellName = "lstm"
    hidden: ranges.Width | None = None
    feedback: bool | tuple[str, ...] = True
    output: Literal["increment", "absolute"] = "increment"
    relative: tuple[str, ...] | None = None
    degree: ranges.Degree = 1
    rigid_body: RigidBody | None = None
    integrate: tuple[tuple[str, str], ...] = ()
    friction: tuple[tuple[str, ranges.Positive], ...] = ()
    linear_path: bool | None = None
    state_init: Literal["warmup", "network", "zero"] = "warmup"
    warmup: ranges.CountOrNone | None = None
    near_ticks: ranges.CountOrNone | None = None
    age_bands: tuple[ranges.Count, ...] | None = None
    distribution: DistributionName = ""
    head_sees_code: bool | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the specification, by name; those that nobody chose have its defaults."""
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        defaults = {each.name: each.default for each in msgspec.structs.fields(ModelSpec)}
        return {name: said.get(name, defaults[name]) for name in self.__struct_fields__}

    @property
    def variant(self) -> Variant:
        """Name of the model type in the source talk (M. Mozifian, 2017)."""
        fields = self.fields
        return variant_of(fields["taps"], fields["encoder"])


class Symmetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure one symmetry of the robot: pairs of channels that exchange their values, channels that change sign."""

    exchange: tuple[tuple[str, str], ...] = ()
    negate: tuple[str, ...] = ()


class NoiseLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure the noise that live sensors have and smoothed recordings do not: white noise, and repeated rows.

    ``noise``: standard deviation by channel name, in the unit of the channel. ``repeat``: share of rows that are lost
    and replaced by the row before, 0 .. 1.
    """

    noise: dict[str, ranges.Amount] = {}
    repeat: ranges.ShareBelowOne = 0.0


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure the training. ``effort`` multiplies the epochs of every stage."""

    preset: str = ""  # "": auto, unless there are [[stage]] tables
    effort: ranges.Effort = 1.0
    seed: ranges.Seed = 0
    batch: ranges.Count | None = None  # None: chosen with the preset auto, otherwise 256
    # Samples between training sequences; each epoch draws a new offset. None: chosen with auto, otherwise 10.
    stride: ranges.Count | None = None
    threads: ranges.Few = 1  # small networks are slower on two threads
    clip: ranges.Weight = 1.0  # maximum gradient norm
    symmetry: tuple[Symmetry, ...] = ()  # training uses all combinations
    sensor_noise: NoiseLevels = NoiseLevels()
    history: bool = True  # samples before the first prediction are measured; False: extrapolated from its row
    forget_ticks: ranges.CountOrNone = 0  # maximum ticks over which an untrained LSTM forgets; 0: about two
    # Sequences are weighted by the mean squared motion of their recording to the power of minus this.
    episode_weighting: ranges.Exponent = 0.0
    # With the preset auto: the network replaces the linear model where it is better (True), or corrects it (False).
    replace_linear: bool | None = None  # None: chosen by short runs

    @property
    def batch_size(self) -> int:
        """Return the sequences of a batch."""
        return self.batch or 256

    @property
    def sequence_stride(self) -> int:
        """Return the samples between training sequences."""
        return self.stride or 10


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a whole configuration file."""

    data: Data
    model: Model = Model()
    train: Training = Training()
    stage: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if self.train.forget_ticks and not CELLS[self.model.cell].forget_gate:
            found = f"{self.train.forget_ticks}, but a {self.model.cell} has no forget gate"
            raise ConfigError("train.forget_ticks", found, 'set it to 0, or model.cell = "lstm"')

    @property
    def auto(self) -> bool:
        """Tell whether everything that the file does not say is chosen from the recordings."""
        return (self.train.preset or self._own_preset) == AUTO and (bool(self.train.preset) or not self.stage)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of the file, or else of its preset. Raises ScheduleError where the preset is unknown."""
        if self.stage:
            return self.stage
        return (*preset(self.train.preset or self._own_preset), *noise_stages(self.model.distribution))

    @property
    def _own_preset(self) -> str:
        """Return the preset of a file without one: a variational code comes with its own schedule."""
        return "variational" if self.model.distribution == "variational" else AUTO


def read_config(path: Path | str) -> Config:
    """Read a TOML file, or an embedded configuration by name (``quadrotor``, ``nanodrone``).

    Raises ConfigError where the file cannot be read or a value is invalid, ScheduleError where a stage is invalid.
    """
    return parse_config(config_text(path), str(path))


def config_text(path: Path | str) -> str:
    """Return the text of a TOML file, or of an embedded configuration. Raises ConfigError where it cannot be read."""
    name = str(path)
    if name in EMBEDDED:
        return embedded(name)
    try:
        return _plain_text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {name}", *_unreadable(name, error)) from None


def _unreadable(name: str, error: Exception) -> tuple[str, str]:
    """Say why a configuration cannot be read, and what to do."""
    if close := difflib.get_close_matches(name, EMBEDDED, 1):
        return "no such file", f"did you mean {close[0]!r}?"
    found, remedy = mistaken(Path(name), "configuration")
    if kind_of(Path(name)) in ("file", "configuration"):
        reason = getattr(error, "strerror", None) or "not a text file"
        return reason, f"{remedy}; embedded are {', '.join(EMBEDDED)}"
    return found, remedy


def _plain_text(path: Path) -> str:
    """Read a plain file: a pipe might never end, and a device does not."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a plain file")
    size = path.stat().st_size
    if kind_of(path) == "file" and size > limit("config_bytes"):
        raise OSError(errno.EFBIG, "a file, not a configuration")
    checked_size(f"configuration {path}: bytes", size, "config_bytes", ConfigError)
    with open(path, "rb") as stream:
        return stream.read(limit("config_bytes")).decode()


def embedded(name: str) -> str:
    """Return the text of a configuration in the package: one of `EMBEDDED`, or ``benchmarks/NAME``."""
    return resources.files("rtsysid.presets").joinpath(f"{name}.toml").read_text("utf-8")


def parse_config(text: str, name: str = "configuration") -> Config:
    """Parse the text of a configuration. Raises ConfigError where it is not TOML or a value is invalid."""
    if any(line.count(".") > _DOTS for line in text.split("\n")):
        raise ConfigError(name, f"a line of more than {_DOTS} dots", "write it in several lines")
    try:
        return config_from_builtins(tomllib.loads(text), name)
    except RecursionError:
        raise ConfigError(name, "nested too deeply", "remove the brackets") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits
        other = kind_of(Path(name)) == "file"  # such as a recording
        remedy = mistaken(Path(name), "configuration")[1] if other else "correct the line"
        raise ConfigError(name, f"not TOML: {error}", remedy) from None


def with_settings(text: str, settings: Sequence[str], name: str = "configuration") -> Config:
    """Parse the text of a configuration with other values, as ``train.stride=20``: a key, and a value as in TOML.

    Raises the errors of `parse_config`, and ConfigError where a setting has no key or no value.
    """
    parse_config(text, name)  # its errors are those of the file
    built = tomllib.loads(text)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"setting {setting!r}", "not KEY=VALUE", "write a key with its table, as train.stride=20")
        _set_key(built, key.strip(), _setting_value(value.strip()))
    return config_from_builtins(built, name)


def with_keys(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return a configuration with other values: ``{"train.stride": 20}``. Raises ConfigError where one is refused."""
    built = msgspec.to_builtins(config)
    for key, value in settings.items():
        _set_key(built, key, msgspec.to_builtins(value))
    return config_from_builtins(built) if settings else config


def _set_key(built: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its key with its table, ``train.stride``."""
    *tables, last = key.split(".")
    if not tables or not all((*tables, last)):
        raise ConfigError(f"setting {key!r}", "no key of a table", "write a key with its table, as train.stride")
    table = built
    for each in tables:
        table = table.setdefault(each, {})
        if not isinstance(table, dict):
            raise ConfigError(f"setting {key!r}", f"{each} is not a table", "change the file")
    table[last] = value


def _setting_value(text: str) -> Any:
    """Read a value as in TOML; a word without quotes is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def config_from_builtins(built: dict[str, Any], name: str = "configuration") -> Config:
    """Convert plain values to a configuration. Raises ConfigError where a key is unknown or a value is invalid."""
    try:
        return msgspec.convert(built, Config)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for half a character
        raise ConfigError(name, _with_value(str(error), built), config_remedy(str(error), Config)) from None


def _with_value(message: str, built: Any) -> str:
    """Name key and value where msgspec names the key alone: ``data.rate_hz = 0: Expected `float` >= 1e-06``."""
    matched = re.fullmatch(r"(.+) - at `\$\.([\w.\[\]]+)`", message)
    if matched is None:
        return message
    value = built
    try:
        for step in re.findall(r"\w+", matched[2]):
            value = value[int(step) if isinstance(value, list) else step]
    except (KeyError, IndexError, TypeError, ValueError):
        return message
    return f"{matched[2]} = {str(value)[:40]}: {matched[1]}" if not isinstance(value, dict | list) else message
