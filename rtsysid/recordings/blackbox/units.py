"""State the units of Blackbox fields, where the header settles them.

A unit is a factor and a unit: a value of 5 in "1/2048 g" is 5/2048 g, a value of 5 in "100 eRPM" is 500 eRPM.
"""

from __future__ import annotations

import re
import struct

from rtsysid.recordings.blackbox.header import Header

QUATERNION = "imuQuaternion"  # fields [0], [1], [2] are x, y, z; w is not negative and is not logged
ONE = 32_767  # what 1 is in a quaternion


def unit_of(header: Header, name: str) -> str:
    """Return the unit of a field, "" where it has none or the header leaves it open."""
    stem = re.sub(r"(\[\d+\])+$", "", name)
    scale = _gyro_scale(header)
    if stem in ("gyroADC", "gyroUnfilt") and scale:
        return _times(scale, "deg/s")
    if stem == "accSmooth" and header.integer("acc_1G", 0) > 0:
        return f"1/{header.integer('acc_1G', 0)} g"
    return _BETAFLIGHT.get(stem, "") if header.betaflight >= 4 else ""


# Of Betaflight since 4.0. Volts and amperes were counts of the converter before.
_BETAFLIGHT = {
    "eRPM": "100 eRPM", "vbatLatest": "0.01 V", "amperageLatest": "0.01 A", "baroAlt": "cm", QUATERNION: f"1/{ONE}",
    "GPS_coord": "1e-07 deg", "GPS_speed": "cm/s", "GPS_ground_course": "0.1 deg", "GPS_velned": "cm/s",
}  # fmt: skip


def _gyro_scale(header: Header) -> float:
    """Return the degrees per second of one count, 0 where they are not known: Baseflight writes another scale."""
    text = header.values.get("gyro_scale", header.values.get("gyro.scale", ""))
    if not header.betaflight or not re.fullmatch(r"0x[0-9a-fA-F]{8}", text):
        return 0.0
    (scale,) = struct.unpack(">f", bytes.fromhex(text[2:]))
    fine = 10 if header.integer("blackbox_high_resolution", 0) else 1
    return float(scale) / fine if 0 < scale < 1e6 else 0.0


def _times(factor: float, unit: str) -> str:
    return unit if factor == 1 else f"{factor:.9g} {unit}"
