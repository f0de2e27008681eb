"""Test that of all conventions of attitude and rates the one that was applied to a recording is found and told."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from support.clean_recordings import clean

from rtsysid.checking.attitude import attitude_findings, convention_text
from rtsysid.checking.findings import Finding
from rtsysid.checking.rotations import AXES, Convention
from rtsysid.checking.vectors import vectors_of
from rtsysid.config import parse_config
from rtsysid.recordings.home import home
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

CHANNELS = (
    *(Channel(f"q{k}", "quat", group="attitude") for k in "xyzw"),
    *(Channel(f"w{k}", "rad/s", group="rate") for k in "xyz"),
)
ROWS = 1500
NAMES = [channel.name for channel in CHANNELS]
DATA = """\
[data]
rate_hz = 50
inputs = ["u"]
outputs = ["qx [quat]", "qy [quat]", "qz [quat]", "qw [quat]", "wx [rad/s]", "wy [rad/s]", "wz [rad/s]"]
groups.attitude = ["qx", "qy", "qz", "qw"]
groups.rate = ["wx", "wy", "wz"]
sources.u = {{ {u} }}
sources.attitude = {{ {attitude} }}
sources.rate = {{ {rate} }}
"""
LOGS = {
    "betaflight/btfl_005.bbl": {
        "u": 'topic = "main", field = "rcCommand[3]"',
        "attitude": 'topic = "main", fields = ["imuQuaternion[0]", "imuQuaternion[1]", "imuQuaternion[2]",'
        ' "imuQuaternion[3]"], scale = "1/32767"',
        "rate": 'topic = "main", fields = ["gyroADC[0]", "gyroADC[1]", "gyroADC[2]"], unit = "deg/s"',
    },
    "auterion_quadrotor_local.ulg": {
        "u": 'topic = "actuator_motors", field = "control[0]"',
        "attitude": 'topic = "vehicle_attitude", fields = ["q[0]", "q[1]", "q[2]", "q[3]"], order = "wxyz",'
        ' frames = "ned-frd"',
        "rate": 'topic = "vehicle_angular_velocity", fields = ["xyz[0]", "xyz[1]", "xyz[2]"], frames = "frd"',
    },
}
LOGS["LOG00007.BFL"] = LOGS["betaflight/btfl_005.bbl"]


@cache
def motion(log: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and the rows of attitude and rates in which the body turns most, in the convention of the project."""
    if log == "nanodrone":
        trace = clean(log)[1]
    else:
        path = home() / "logs" / log
        if not path.exists():
            pytest.skip(f"no recording {log}")
        trace = read_recordings([path], parse_config(DATA.format(**LOGS[log])).data)
    names = [channel.name for channel in trace.channels]
    episode = max(trace.episodes, key=len)
    rows = episode.values[:, [names.index(name) for name in NAMES]]
    known = np.flatnonzero(np.isfinite(rows).all(1))
    turned = np.convolve(np.abs(rows[known, 4:]).sum(1), np.ones(ROWS), "valid")
    most = known[int(turned.argmax()) :][:ROWS]  # a body that hardly turns tells nothing
    return episode.t[most], rows[most]


def in_convention(log: str, applied: Convention) -> Trace:
    t, rows = motion(log)
    q, rates = rows[:, :4] * ([-1, -1, -1, 1] if applied.inverse else 1), rows[:, 4:] @ np.array(applied.axes).T
    q = q if applied.order == "xyzw" else q[:, [3, 0, 1, 2]]
    return Trace(CHANNELS, (Episode(log, t, np.column_stack((q, rates)).astype(np.float32)),))


def found_in(trace: Trace) -> list[Finding]:
    return list(attitude_findings(trace, vectors_of(trace.channels)))


@pytest.mark.parametrize("log", ["nanodrone", "LOG00007.BFL", "auterion_quadrotor_local.ulg"])
def test_of_all_conventions_the_applied_one_is_told(log):
    """Of 24 axis maps, both directions and both orders, each wrong one is found, and what fits is stated."""
    assert found_in(in_convention(log, Convention())) == []
    for order, inverse, axes in product(("xyzw", "wxyz"), (False, True), AXES):
        applied = Convention(order, inverse, axes)
        if not applied.proper or applied == Convention():
            continue
        found = found_in(in_convention(log, applied))
        assert found, applied
        assert all(convention_text(applied) in each.evidence for each in found), (applied, found)
        grave = [each.grave for each in found]
        assert all(grave) or (applied.order, applied.inverse, sum(grave)) == ("wxyz", True, 0), applied
