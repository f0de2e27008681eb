"""The contract: channels, samples, scaling, and the model specification that every part may import.

Nothing here knows of files, of torch or of onnxruntime. Values are float32 in engineering units everywhere outside
the model graph; scaling is the first and last operation *inside* the graph.

Time convention: at tick ``k`` a sample is ``s_k = [u_k, y_k]``: the outputs measured at ``k`` and the inputs applied
from ``k`` to ``k + 1``. A step takes ``s_k`` and predicts ``y_{k+1}``.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtsysid.channels import PERIODS, Channel, Role, rotation_columns, split_unit
from rtsysid.consistency import check, sees_otherwise
from rtsysid.errors import SpecError
from rtsysid.structure import (
    CELLS,
    INITIALISER_WIDTH,
    STANDARD_GRAVITY,
    VARIANTS,
    CellName,
    CellShape,
    RigidBody,
    Rotors,
    Scaling,
    Structure,
    Variant,
    variant_of,
)

__all__ = [
    "CELLS",
    "INITIALISER_WIDTH",
    "PERIODS",
    "STANDARD_GRAVITY",
    "VARIANTS",
    "Arrival",
    "CellName",
    "CellShape",
    "Channel",
    "Doubles",
    "Floats",
    "ModelSpec",
    "RigidBody",
    "Role",
    "Rotors",
    "Sample",
    "Scaling",
    "Variant",
    "digest",
    "from_builtins",
    "require_channels",
    "rotation_columns",
    "sees_otherwise",
    "split_unit",
    "to_builtins",
    "unit_scaling",
    "variant_of",
]

# Fields of a specification that are left out at their default: a fingerprint that was made before them stays the same.
_LATER_FIELDS = ("near_ticks", "age_bands", "encoder_taps", "distribution", "head_sees_code")
Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]


class Sample(NamedTuple):
    """One tick of one robot: ``t`` in seconds on a monotonic clock, ``values`` of shape [C] in channel order."""

    t: float
    values: Floats


class Arrival(NamedTuple):
    """One sample as a source delivered it. ``sample.t``: seconds of the device's clock since its boot.

    ``device_t_us``: the same instant in microseconds, 64 bits. ``captured_s``: the same instant in seconds of the
    host's clock (`rtsysid.device_clock.host_s`); NaN while it is not known: such a sample is not answered.
    ``received_s``: host time at which the sample was read. ``seq``: number that the source gave the sample, 0..65535; a
    prediction carries it back. ``boot``: a number that changes when the device restarts, and with it its clock.
    """

    sample: Sample
    device_t_us: int
    captured_s: float
    received_s: float
    seq: int
    boot: int


class ModelSpec(Structure, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything but the weights. Models with the same fingerprint compute the same function of their weights.

    The fields are those of `rtsysid.structure.Structure`. Raises SpecError where they contradict each other.
    """

    def __post_init__(self) -> None:
        check(self)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON; stable over releases, platforms and key order."""
        return digest(to_builtins(self))[:16]

    def sample(self, values: Mapping[str, float], t: float | None = None) -> Sample:
        """Make a sample from values by channel name. ``t`` in s; None: it is among the values, as ``t``.

        Raises SpecError, with the names, where a channel is missing, a name is unknown, or there is no time.
        """
        names = [channel.name for channel in self.channels]
        given = dict(values)
        t = given.pop("t", None) if t is None and "t" not in names else t
        missing, unknown = [n for n in names if n not in given], [n for n in given if n not in names]
        if t is None or missing or unknown:
            found = f"missing {', '.join(missing[:5]) or 'none'}; unknown {', '.join(map(str, unknown[:5])) or 'none'}"
            raise SpecError("sample", found if t is not None else "no time", f"give t and {', '.join(names)}")
        return Sample(float(t), np.array([given[name] for name in names], np.float32))

    @cached_property
    def schema_hash(self) -> str:
        """8 hex digits that two sides must share to exchange samples: names, units, roles, order and rate."""
        return digest({"channels": [[c.name, c.unit, c.role] for c in self.channels], "rate_hz": self.rate_hz})[:8]


def to_builtins(spec: ModelSpec) -> dict[str, Any]:
    """Return the specification as plain lists, dicts, numbers and strings, ready for JSON."""
    built: dict[str, Any] = msgspec.to_builtins(spec)
    return {name: value for name, value in built.items() if value or name not in _LATER_FIELDS}


def from_builtins(built: Any) -> ModelSpec:
    """Restore a specification from plain values. Raises SpecError for unknown keys and wrong types."""
    try:
        return msgspec.convert(built, ModelSpec)
    except msgspec.ValidationError as error:
        raise SpecError("model specification", str(error), "use one written by this release of rtsysid") from None


def unit_scaling(spec: ModelSpec, reach: float = 1.0) -> Scaling:
    """Make a scaling with mean 0, standard deviation 1 and ranges -`reach`..`reach`, where no recording gives one."""
    channels, features, targets = spec.width, spec.n_features, spec.n_targets
    seen = channels if sees_otherwise(spec) else 0
    return Scaling(
        std=(1.0,) * channels,
        low=(-reach,) * channels,
        high=(reach,) * channels,
        feature_mean=(0.0,) * features,
        feature_std=(1.0,) * features,
        target_mean=(0.0,) * targets,
        target_std=(1.0,) * targets,
        seen_low=(-reach,) * seen,
        seen_high=(reach,) * seen,
    )


def digest(built: Any) -> str:
    """Compute the SHA-256 of the canonical JSON (sorted keys, no spaces) of plain values."""
    return hashlib.sha256(msgspec.json.encode(built, order="sorted")).hexdigest()


def require_channels(wanted: Sequence[Channel], found: Sequence[Channel], where: str) -> list[int]:
    """Find the column of each wanted channel. Raises SpecError for a missing name and for another unit.

    A unit is compared only where both sides state one.
    """
    columns = {channel.name: i for i, channel in enumerate(found)}
    for channel in wanted:
        if channel.name not in columns:
            more = f" and {len(columns) - 40} more" if len(columns) > 40 else ""
            listed = (", ".join(list(columns)[:40]) or "none") + more
            raise SpecError(f"{where}: missing column {channel.name!r}", f"columns are {listed}",
                            _remedy_for_missing(channel.name, wanted, list(columns)))  # fmt: skip
        unit = found[columns[channel.name]].unit
        if unit and channel.unit and unit != channel.unit:
            remedy = f"convert the recording, or name it '{channel.name} [{unit}]' in the configuration"
            raise SpecError(f"{where}: unit of {channel.name!r}", f"{unit!r} instead of {channel.unit!r}", remedy)
    return [columns[channel.name] for channel in wanted]


def _remedy_for_missing(name: str, wanted: Sequence[Channel], columns: Sequence[str]) -> str:
    """Guess what was meant by a name that no column has: another spelling, or a recording of another robot."""
    if close := difflib.get_close_matches(name.lower(), [each.lower() for each in columns], 1, 0.7):
        meant = next(each for each in columns if each.lower() == close[0])
        return f"did you mean {meant!r}? Change the name in the configuration, or in the recording"
    missing = [channel.name for channel in wanted if channel.name not in columns]
    if len(missing) > max(1, len(wanted) // 2):
        robot = f"{len(missing)} of {len(wanted)} channels are missing, as in a recording of another robot"
        return f"{robot}: give recordings of the same robot, or write a configuration for these with rtsysid init"
    return "correct the name in the configuration, or record the column"
