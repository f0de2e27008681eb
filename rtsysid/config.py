"""One TOML file says what to learn: the recording's channels, the model, the schedule.

Unknown keys are refused with a suggestion, and every value is checked where it is read.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from rtsysid.errors import ConfigError
from rtsysid.schedule import Corruption, Loss, Stage, TeacherForcing, preset
from rtsysid.spec import CELLS, CellName, Channel, RigidBody, Rotors, Variant, variant_of

EMBEDDED = ("quadrotor", "nanodrone")


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to read from the recordings. Channels are written as in a CSV header: ``"vx [m/s]"``."""

    rate_hz: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time: str = "t"  # "": no column, rows stand at rate_hz
    groups: dict[str, tuple[str, ...]] = {}
    validation: tuple[str, ...] = ()  # name patterns; none: the last fifth
    train_on_validation: bool = (
        False  # train on the validation recordings as well: once all is chosen, where recordings are few
    )
    nan: Literal["error", "split"] = "error"
    resample: bool = False
    max_age: float = 0.1  # seconds that a held value may be old when resampling
    # Rows become [u_{k+1}, y_k], as in records that were band-limited and not held, where an output depends on the
    # input of its own tick. Such a model runs on no robot, which has u_{k+1} only afterwards.
    feedthrough: bool = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Inputs first, then outputs, each with its unit and group."""
        group = {name: title for title, names in self.groups.items() for name in names}
        parsed = [Channel.parse(text, "input") for text in self.inputs]
        parsed += [Channel.parse(text, "output") for text in self.outputs]
        missing = set(group) - {c.name for c in parsed}
        if missing:
            raise ConfigError("data.groups", f"no channel is named {sorted(missing)}", "name channels of this file")
        return tuple(msgspec.structs.replace(c, group=group.get(c.name, "")) for c in parsed)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The choices of `rtsysid.spec.ModelSpec` that a person makes; the rest comes from the recordings."""

    taps: int = 16
    encoder: tuple[int, ...] = (64, 16)
    variational: bool = False
    cell: CellName = "lstm"
    hidden: int = 64
    feedback: bool | tuple[str, ...] = True
    output: Literal["increment", "absolute"] = "increment"
    relative: tuple[str, ...] = ()
    degree: int = 1
    rigid_body: RigidBody | None = None
    integrate: tuple[tuple[str, str], ...] = ()
    friction: tuple[tuple[str, float], ...] = ()
    linear_path: bool = False
    state_init: Literal["warmup", "network", "zero"] = "warmup"
    warmup: int = 30

    @property
    def variant(self) -> Variant:
        """Name of such a model in the source talk."""
        return variant_of(self.taps, self.encoder)


class Symmetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flight that could as well have been: pairs of channels that exchange their values, and those that turn sign."""

    exchange: tuple[tuple[str, str], ...] = ()
    negate: tuple[str, ...] = ()


class NoiseLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What live sensors add to smooth recordings: white noise, and rows that repeat the one before.

    ``noise``: standard deviation by channel name, in its unit. ``repeat``: share of the rows that are lost on the way.
    """

    noise: dict[str, float] = {}
    repeat: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.repeat < 1 or any(not std >= 0 for std in self.noise.values()):
            raise ConfigError("train.sensor_noise", "a negative value, or all rows lost", "repeat lies in 0 .. 1")


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train. ``effort`` multiplies the epochs of every stage."""

    preset: str = "two-stage"
    effort: float = 1.0
    seed: int = 0
    batch: int = 256
    stride: int = 10  # samples between training sequences; the offset is drawn anew each epoch
    threads: int = 1  # small networks run slower on two
    clip: float = 1.0  # largest gradient norm
    symmetry: tuple[Symmetry, ...] = ()  # all their combinations are trained on
    sensor_noise: NoiseLevels = NoiseLevels()
    history: bool = True  # measurements from before the first prediction are known; else its row alone, coasting
    forget_ticks: int = 0  # ticks over which an untrained LSTM forgets, at most; 0: about two, whatever the dynamics
    episode_weighting: float = (
        0.0  # recordings count by their mean squared motion to the power of minus this; 1: all alike
    )

    def __post_init__(self) -> None:
        if self.episode_weighting < 0:
            raise ConfigError(
                "train.episode_weighting", str(self.episode_weighting), "0 counts every sample alike, 1 every recording"
            )
        if self.forget_ticks < 0:
            raise ConfigError(
                "train.forget_ticks", str(self.forget_ticks), "give the ticks of the slowest dynamics, or 0"
            )
        if self.effort <= 0 or self.batch < 1 or self.stride < 1 or self.threads < 1 or self.clip <= 0:
            raise ConfigError("train", "a value that is not positive", "effort, batch, stride, threads, clip are")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole configuration file."""

    data: Data
    model: Model = Model()
    train: Training = Training()
    stage: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if self.train.forget_ticks and not CELLS[self.model.cell].forget_gate:
            found = f"{self.train.forget_ticks}, but a {self.model.cell} has no forget gate"
            raise ConfigError("train.forget_ticks", found, 'set it to 0, or model.cell = "lstm"')

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The file's own stages, or those of its preset."""
        return self.stage or preset(self.train.preset)


def read_config(path: Path | str) -> Config:
    """Read a TOML file, or an embedded configuration by name (``quadrotor``, ``nanodrone``)."""
    name = str(path)
    if name in EMBEDDED:
        return parse_config(embedded(name), name)
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        remedy = f"give a TOML file or one of {', '.join(EMBEDDED)}"
        raise ConfigError(f"configuration {name}", reason, remedy) from None
    return parse_config(text, name)


def embedded(name: str) -> str:
    """Text of a configuration that comes with the package: one of `EMBEDDED`, or ``benchmarks/NAME``."""
    return resources.files("rtsysid.presets").joinpath(f"{name}.toml").read_text()


def parse_config(text: str, name: str = "configuration") -> Config:
    """Check the text of a configuration."""
    try:
        return from_builtins(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(name, f"not TOML: {error}", "mend the line") from None


def from_builtins(built: dict[str, Any], name: str = "configuration") -> Config:
    """Check plain values, the inverse of `to_builtins`."""
    try:
        return msgspec.convert(built, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(name, str(error), _suggestion(str(error))) from None


def to_builtins(config: Config) -> dict[str, Any]:
    """Plain values of a configuration with its stages written out, for the run folder."""
    built: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(config, stage=config.stages))
    return built


def _suggestion(message: str) -> str:
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown is None:
        return "mend the value"
    data = (Config, Data, Model, RigidBody, Rotors)
    structs = (*data, Training, Symmetry, NoiseLevels, Stage, Loss, Corruption, TeacherForcing)
    known = sorted({field.name for struct in structs for field in msgspec.structs.fields(struct)})
    close = difflib.get_close_matches(unknown[1], known, 1)
    return f"did you mean {close[0]!r}?" if close else "remove the key"
