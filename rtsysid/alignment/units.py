"""Convert units: products of powers of known units, as ``deg/s``, ``m/s^2`` or ``N m``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from rtsysid.errors import ConfigError

Dimension = tuple[tuple[str, int], ...]  # powers of base units, sorted by name

_BASE: Mapping[str, tuple[str, float]] = {  # unit: base unit, factor
    "m": ("m", 1.0), "cm": ("m", 1e-2), "mm": ("m", 1e-3), "um": ("m", 1e-6), "km": ("m", 1e3), "ft": ("m", 0.3048),
    "s": ("s", 1.0), "ms": ("s", 1e-3), "us": ("s", 1e-6), "ns": ("s", 1e-9), "min": ("s", 60.0), "h": ("s", 3600.0),
    "kg": ("kg", 1.0), "g": ("kg", 1e-3), "lb": ("kg", 0.45359237),
    "rad": ("rad", 1.0), "mrad": ("rad", 1e-3), "deg": ("rad", math.pi / 180), "°": ("rad", math.pi / 180),
    "cdeg": ("rad", math.pi / 18_000), "ddeg": ("rad", math.pi / 1800), "rev": ("rad", 2 * math.pi),
    "A": ("A", 1.0), "mA": ("A", 1e-3), "cA": ("A", 1e-2), "K": ("K", 1.0),
    "quat": ("", 1.0), "%": ("", 1e-2), "1": ("", 1.0),
}  # fmt: skip
_DERIVED = {  # unit: the same in base units, factor
    "N": ("kg m/s^2", 1.0), "mN": ("kg m/s^2", 1e-3), "kN": ("kg m/s^2", 1e3), "J": ("kg m^2/s^2", 1.0),
    "W": ("kg m^2/s^3", 1.0), "V": ("kg m^2/s^3/A", 1.0), "mV": ("kg m^2/s^3/A", 1e-3), "cV": ("kg m^2/s^3/A", 1e-2),
    "Hz": ("1/s", 1.0), "rpm": ("rad/s", 2 * math.pi / 60), "dps": ("rad/s", math.pi / 180), "G": ("m/s^2", 9.80665),
    "gn": ("m/s^2", 9.80665), "Pa": ("kg/m/s^2", 1.0), "mPa": ("kg/m/s^2", 1e-3), "hPa": ("kg/m/s^2", 1e2),
    "kPa": ("kg/m/s^2", 1e3), "bar": ("kg/m/s^2", 1e5), "mbar": ("kg/m/s^2", 1e2), "knot": ("m/s", 1852 / 3600),
}  # fmt: skip
_ELECTRIC = {"erpm": 1.0, "100erpm": 100.0}  # electrical revolutions per minute: as many pole pairs to one of the shaft
_PART = re.compile(r"( *[/*]? *)([A-Za-zµ°%]+|1)(?:\^?(-?\d))?")
_LONGEST = 60  # characters
_NUMBER = r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?)"
_COUNTED = re.compile(rf"{_NUMBER}(?:/{_NUMBER})?(?: +(.+))?")  # 0.01 V, 1/2048 g, 1/32767, 1e-07 deg


def factor(unit: str, to: str, poles: int = 2) -> float:
    """Return the number that turns a value in `unit` into one in the unit `to`; 1 where one of them is empty.

    `poles`: of a motor, for ``erpm``. Raises ConfigError where a unit is not known, or the dimensions differ.
    """
    if unit == to or not unit or not to:
        return 1.0
    if unit.lower() in _ELECTRIC:
        return _ELECTRIC[unit.lower()] * 2 / poles * factor("rpm", to)
    if unit != "1" and (counted := _COUNTED.fullmatch(unit.strip())):
        number, by, rest = counted.groups()
        if not float(by or 1):
            raise _unknown(unit)
        return float(number) / float(by or 1) * factor(rest or "1", to, poles)
    (own, scale), (wanted, wanted_scale) = _base_units(unit), _base_units(to)
    if own != wanted and unit == "g":  # of an accelerometer
        own, scale = _base_units("gn")
    if own != wanted:
        raise ConfigError(
            f"unit {unit!r}", f"it cannot become {to!r}", "correct the unit, or give a scale in place of it"
        )
    return scale / wanted_scale


def _base_units(unit: str) -> tuple[Dimension, float]:
    """Return the dimension of a unit, and its factor to base units."""
    powers: dict[str, int] = {}
    scale, end = 1.0, 0
    for part in _PART.finditer(unit.strip()[:_LONGEST]):
        if part.start() != end:
            break
        end = part.end()
        power = int(part[3] or 1) * (-1 if "/" in part[1] else 1)
        dimension, own = _known_units(part[2].replace("µ", "u"), unit)
        scale *= own**power
        for base, count in dimension:
            powers[base] = powers.get(base, 0) + count * power
    if end != len(unit.strip()):
        raise _unknown(unit)
    return tuple(sorted((base, count) for base, count in powers.items() if count and base)), scale


def _known_units(name: str, unit: str) -> tuple[Dimension, float]:
    if name in _BASE:
        base, scale = _BASE[name]
        return ((base, 1),), scale
    if name in _DERIVED:
        text, scale = _DERIVED[name]
        dimension, own = _base_units(text)
        return dimension, own * scale
    raise _unknown(unit)


def _unknown(unit: str) -> ConfigError:
    known = ", ".join((*_BASE, *_DERIVED, *_ELECTRIC))
    return ConfigError(f"unit {unit!r}", "it is not known", f"use products of {known}, or a scale in place of it")
