"""Test conversions: units, arithmetic, frames, quaternions, counters, and what contradicts itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.alignment.arithmetic import computed
from rtsysid.alignment.conversion import Conversion
from rtsysid.alignment.plan import alignment_plan
from rtsysid.alignment.source import ChannelSource
from rtsysid.alignment.units import factor
from rtsysid.circle import rotation_angle
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel

QUATERNION = [Channel(name, "quat", group="q") for name in ("qx", "qy", "qz", "qw")]
RATES = [Channel(name, "rad/s", group="w") for name in ("wx", "wy", "wz")]
UNIT = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(v * v for v in q) > 0.01)


@pytest.mark.parametrize(
    ("unit", "to", "poles", "wanted"),
    [
        ("deg", "rad", 2, math.pi / 180), ("deg/s", "rad/s", 2, math.pi / 180), ("mm/s", "m/s", 2, 1e-3),
        ("rpm", "rad/s", 2, 2 * math.pi / 60), ("100erpm", "rad/s", 14, 100 / 7 * 2 * math.pi / 60),
        ("eRPM", "rpm", 14, 1 / 7), ("G", "m/s^2", 2, 9.80665), ("m/s2", "m/s^2", 2, 1.0), ("mV", "V", 2, 1e-3),
        ("N m", "N mm", 2, 1e3), ("km/h", "m/s", 2, 1 / 3.6), ("", "rad", 2, 1.0), ("µs", "ms", 2, 1e-3),
        ("1/32767", "quat", 2, 1 / 32767), ("1e-07 deg", "rad", 2, math.pi / 180e7),
        ("1/2048 g", "m/s^2", 2, 9.80665 / 2048),
    ],
)  # fmt: skip
def test_units(unit, to, poles, wanted):
    """A unit becomes another of the same dimension by its factor; an empty one stays as it is."""
    assert factor(unit, to, poles) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "to"),
    [
        ("deg", "m"),
        ("furlong", "m"),
        ("m//s", "m/s"),
        ("m s kg", "m"),
        ("deg", "x"),
        ("1..2 m", "m"),
        ("1/0 m", "m"),
        ("2", "m"),
    ],
)  # fmt: skip
def test_units_that_do_not_fit(unit, to):
    """An unknown unit, or one of another dimension, is one line."""
    with pytest.raises(ConfigError, match="unit"):
        factor(unit, to)


@pytest.mark.parametrize(
    ("text", "wanted"), [("9.81/2048", 9.81 / 2048), ("-2**3+1", -7.0), ("pi/180", math.pi / 180), (3, 3.0)]
)
def test_arithmetic(text, wanted):
    """Numbers, + - * / ** and pi are computed."""
    assert computed(text) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a",
        "1,2",
        "[1]",
        "1/0",
        "9**9**9",
        "1e999",
        "(" * 200,
        "x" * 5000,
        "1+" * 60 + "1",
        "'a'",
        "",
    ],
)
def test_other_expressions_are_refused(text):
    """Anything else is one line, and nothing of it runs."""
    with pytest.raises(ConfigError, match="scale"):
        computed(text)


@pytest.mark.parametrize(("unit", "scale"), [("1/32767", 1.0), ("", "1/32767"), ("", 1.0)])
def test_a_quaternion_of_any_unit_has_length_one(unit, scale):
    """Integers of a log become a quaternion of length one, however their unit or scale is said."""
    source = ChannelSource(fields=("x", "y", "z", "w"), unit=unit, scale=scale)
    q = Conversion("q", source, QUATERNION).apply(np.zeros(1), np.array([[-183.0, 2059.0, -7478.0, 31835.0]]))
    np.testing.assert_allclose(np.linalg.norm(q), 1.0, rtol=1e-12)
    assert q[0, 3] > 0.9


@given(UNIT, UNIT)
def test_order_inverse_and_frames_of_a_quaternion(first, second):
    """Reordered, inverted, and written in other frames, a quaternion describes the same rotation of the same body."""
    q = np.array([first, second]) / np.linalg.norm([first, second], axis=1)[:, None]
    t = np.arange(2.0)
    plain = Conversion("q", ChannelSource(fields=("x", "y", "z", "w")), QUATERNION)
    assert rotation_angle(plain.apply(t, q * 3), q).max() < 1e-6
    other = Conversion("q", ChannelSource(fields=("w", "x", "y", "z"), order="wxyz", inverse=True), QUATERNION)
    flipped = q[:, [3, 0, 1, 2]] * [1, -1, -1, -1]
    assert rotation_angle(other.apply(t, flipped), q).max() < 1e-6


def rotated(q, v):
    """Rotate a vector by a quaternion x, y, z, w."""
    x, y, z, w = q
    u = np.array([x, y, z])
    return v + 2 * np.cross(u, np.cross(u, v) + w * np.array(v))


@given(UNIT, st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_frames_of_vectors_and_quaternions_agree(q, v):
    """A body vector rotated into the world is the same vector before and after the change of both frames."""
    q, t = np.array([q]) / np.linalg.norm(q), np.zeros(1)
    vectors = [Channel(name, group="v") for name in "xyz"]
    body = Conversion("v", ChannelSource(fields=("x", "y", "z"), frames="frd"), vectors).apply(t, np.array([v]))[0]
    world = Conversion("v", ChannelSource(fields=("x", "y", "z"), frames="ned"), vectors)
    turned = Conversion("q", ChannelSource(fields=("x", "y", "z", "w"), frames="ned-frd"), QUATERNION).apply(t, q)[0]
    np.testing.assert_allclose(rotated(turned, body), world.apply(t, rotated(q[0], v)[None])[0], atol=1e-9)


def test_rates_from_attitude():
    """A body that turns at a constant rate has this rate at every message but the first."""
    rate, t = np.array([0.3, -0.2, 0.5]), np.arange(20) * 0.05
    size = np.linalg.norm(rate)
    q = np.column_stack((np.sin(size * t / 2)[:, None] * rate / size, np.cos(size * t / 2)))
    q[5:9] *= -1
    found = Conversion("w", ChannelSource(fields=("x", "y", "z", "w"), derive="rate"), RATES).apply(t, q)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:], np.tile(rate, (19, 1)), atol=1e-9)


def test_heading_from_attitude():
    """A body that only turns about the vertical has the angle of its turn as heading, whatever the sign of q."""
    yaw = np.linspace(-3, 3, 13)
    q = (
        np.column_stack((0 * yaw, 0 * yaw, np.sin(yaw / 2), np.cos(yaw / 2)))
        * np.where(np.arange(13) % 2, 1, -1)[:, None]
    )
    source = ChannelSource(fields=("x", "y", "z", "w"), derive="yaw")
    found = Conversion("yaw", source, [Channel("yaw", "deg")]).apply(np.arange(13.0), q)
    np.testing.assert_allclose(found[:, 0], np.degrees(yaw), atol=1e-9)


@given(st.lists(st.integers(-900, 900), min_size=2, max_size=30), st.integers(1, 29))
def test_a_counter_is_unwrapped_at_once_or_in_parts(steps, cut):
    """A counter that starts again goes on counting, and a recording in two parts gives the same numbers."""
    true = np.cumsum(steps).astype(float)[:, None]
    source, channel = ChannelSource(field="n", period=2000.0), [Channel("n")]
    t = np.arange(float(len(true)))
    once = Conversion("n", source, channel).apply(t, true % 2000)
    np.testing.assert_allclose(np.diff(once[:, 0]), np.diff(true[:, 0]))
    parts = Conversion("n", source, channel)
    joined = np.concatenate([parts.apply(t[:cut], true[:cut] % 2000), parts.apply(t[cut:], true[cut:] % 2000)])
    assert joined.tolist() == once.tolist()


BAD = {
    "fields": ({"y": ChannelSource(fields=("a", "b"))}, "2 fields for 1 channels"),
    "pair": ({"y": ChannelSource(field="a", frames="ned")}, "frames without three channels"),
    "nobody": ({"z": ChannelSource(field="a")}, "no channel or group is named 'z'"),
    "nothing": ({}, "no source for u, y"),
    "unit": ({"u": ChannelSource(field="a"), "y": ChannelSource(field="a", unit="deg")}, "it cannot become 'm'"),
}


@pytest.mark.parametrize("case", BAD)
def test_sources_that_contradict_themselves(case):
    """A map that does not fit the channels is one line before a recording is read."""
    sources, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        alignment_plan(sources, (Channel("u", role="input"), Channel("y", "m")), 100.0, None)


def test_a_channel_with_two_sources_is_refused():
    """A group and one of its channels may not both have a source."""
    sources = {"w": ChannelSource(fields=("a", "b", "c")), "wx": ChannelSource(field="a")}
    with pytest.raises(ConfigError, match="'w' and 'wx' both give it"):
        alignment_plan(sources, RATES, 100.0, None)


@pytest.mark.parametrize(
    ("frames", "channels"), [("up-down", QUATERNION), ("ned", QUATERNION), ("ned-frd", RATES), ("x", RATES)]
)
def test_unknown_frames(frames, channels):
    """A frame or a pair that is not known is one line with those that are."""
    fields = ("x", "y", "z", "w")[: len(channels)]
    with pytest.raises(ConfigError, match="use one of"):
        Conversion("q", ChannelSource(fields=fields, frames=frames), channels)
