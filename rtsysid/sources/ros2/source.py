"""The source ``ros2:``: subscriptions by the channel map; predictions, forecasts and health as messages of stock types.

======================= ===================================== ==================================================
topic                   type                                  content
======================= ===================================== ==================================================
``/rtsysid/prediction`` ``sensor_msgs/msg/JointState``        outputs by name, as ``position``
``/rtsysid/forecast``   ``trajectory_msgs/msg/JointTrajectory`` outputs by name, a point for each tick
``/diagnostics``        ``diagnostic_msgs/msg/DiagnosticArray`` counts of session and source, once a second
======================= ===================================== ==================================================

Options: ``domain`` (ROS_DOMAIN_ID by default), ``connect`` and ``listen`` (endpoints of Zenoh, the router of rmw_zenoh
by default), ``via=zenoh`` or ``via=rclpy``, ``msg`` (a folder of packages with .msg files), ``distro``, ``name``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from rtsysid.errors import LinkError
from rtsysid.sources.format import StreamFormat, Transport
from rtsysid.sources.ros2 import rclpy_node
from rtsysid.sources.ros2.decoding import Ros2Format
from rtsysid.sources.ros2.types import Types
from rtsysid.sources.ros2.zenoh_session import ZenohSession
from rtsysid.sources.stream import StreamSource
from rtsysid.spec import Floats

PREDICTION, FORECAST, HEALTH = "/rtsysid/prediction", "/rtsysid/forecast", "/diagnostics"
_LATEST = 1 << 31  # seconds of a time stamp


class Ros2Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    domain: int = -1
    connect: str = ""
    listen: str = ""
    via: Literal["", "zenoh", "rclpy"] = ""
    msg: str = ""
    distro: str = "jazzy"
    name: str = "rtsysid"


class Ros2Source(StreamSource):
    """The source for ROS 2: see the module."""

    def make_format(self) -> StreamFormat:
        """Make the format, and read the message types. Raises LinkError where they cannot be read."""
        self._options = self.url.choose(Ros2Options)
        self._types = Types(self._options.msg, self._options.distro)
        return Ros2Format()

    def connect(self) -> Transport:
        """Open a node of rclpy where there is one, or a session of Zenoh. Raises LinkError for a wrong address."""
        chosen = self._options
        if self.url.rest:
            raise LinkError(f"source {self.url.text}", f"{self.url.rest!r} after ros2:", "write ros2:?option=value")
        domain = chosen.domain if chosen.domain >= 0 else _domain_of_system()
        zenoh = chosen.via == "zenoh" or chosen.connect or chosen.listen
        if chosen.via == "rclpy" or not (zenoh or not rclpy_node.rclpy_available()):
            return rclpy_node.RclpyNode(domain, self.mapping.topics, self._types, chosen.name)
        where = {"connect/endpoints": chosen.connect or ("" if chosen.listen else "tcp/localhost:7447")}
        where |= {"listen/endpoints": chosen.listen}
        return ZenohSession(
            domain, self.mapping.topics, self._types, {k: v for k, v in where.items() if v}, chosen.name
        )

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        """Publish a prediction `y` [ny]; its status is the frame of the header."""
        names = [each.name for each in self._outputs]
        stamp = self._stamp(self._times[seq % len(self._times)] + horizon_s)
        empty = _as_doubles(())
        header = self._types.make("std_msgs/msg/Header", stamp=stamp, frame_id=status)
        self._publish(
            PREDICTION, "sensor_msgs/msg/JointState",
            header=header, name=names, position=_as_doubles(y.tolist()), velocity=empty, effort=empty,
        )  # fmt: skip

    def forecast(self, t: float, tick_s: float, outputs: Sequence[Sequence[float]]) -> None:
        """Publish a forecast [horizon, ny] made from the sample at `t` in s."""
        types, empty = self._types, _as_doubles(())
        points = [
            types.make(
                "trajectory_msgs/msg/JointTrajectoryPoint", positions=_as_doubles(row), velocities=empty,
                accelerations=empty, effort=empty, time_from_start=self._duration((k + 1) * tick_s),
            )
            for k, row in enumerate(outputs)
        ]  # fmt: skip
        header = types.make("std_msgs/msg/Header", stamp=self._stamp(t), frame_id="")
        names = [each.name for each in self._outputs]
        self._publish(
            FORECAST, "trajectory_msgs/msg/JointTrajectory", header=header, joint_names=names, points=points
        )  # fmt: skip

    def publish_health(self, figures: Mapping[str, Any]) -> None:
        """Publish counts as diagnostics: level 0 where the source is clean, else 1."""
        types, link = self._types, figures.get("link", {})
        pairs = {**{k: v for k, v in figures.items() if not isinstance(v, dict)}, **link}
        values = [
            types.make("diagnostic_msgs/msg/KeyValue", key=str(key), value=str(value)) for key, value in pairs.items()
        ]
        level = 0 if link.get("clean") else 1
        status = types.make(
            "diagnostic_msgs/msg/DiagnosticStatus", level=level, name=self._options.name,
            message=str(link.get("state", "")), hardware_id=self.url.text, values=values,
        )  # fmt: skip
        header = types.make("std_msgs/msg/Header", stamp=self._stamp(self.first.latest_t), frame_id="")
        self._publish(HEALTH, "diagnostic_msgs/msg/DiagnosticArray", header=header, status=[status])

    def _publish(self, topic: str, type_name: str, **fields: Any) -> None:
        transport: Any = self._transport
        taken = transport is not None
        if taken:
            transport.publish(topic, type_name, self._types.pack(type_name, **fields))
        self._predictions += taken and topic == PREDICTION
        self._unsent += not taken and topic == PREDICTION

    def _stamp(self, t: float) -> Any:
        return self._types.make("builtin_interfaces/msg/Time", **_sec_nanosec(t))

    def _duration(self, seconds: float) -> Any:
        return self._types.make("builtin_interfaces/msg/Duration", **_sec_nanosec(seconds))


def _sec_nanosec(t: float) -> dict[str, int]:
    """Return seconds and nanoseconds of a time; 0 where it is not possible."""
    ns = round(t * 1e9) if 0 <= t < _LATEST else 0
    return {"sec": ns // 1_000_000_000, "nanosec": ns % 1_000_000_000}


def _as_doubles(values: Sequence[float]) -> Any:
    import numpy as np

    return np.array(values, np.float64)


def _domain_of_system() -> int:
    """Return the domain that the environment names."""
    text = os.environ.get("ROS_DOMAIN_ID", "0")
    return int(text) if text.isdecimal() else 0
