"""Senders of ROS 2: over Zenoh without ROS, and by rclpy."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.live_parts import until
from support.sender import Sender, free_port, mapped
from support.streams import Row

TWIST = "RIHS01_9c45bf16fe0983d80e3cfe750d6835843d265a9a6c46bd2e609fcddde6fb8d2a"  # as ROS 2 Jazzy publishes it


class Ros2(Sender):
    """A publisher of ROS 2 over Zenoh; keys and messages are those of pamoja, written in Rust."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port(socket.SOCK_STREAM)
        self.url = f"ros2:?domain=7&listen=tcp/127.0.0.1:{self._port}"
        self.options = {"mapping": mapped("/robot/state", ("linear.x", "linear.y", "linear.z"))}
        self._came = self._number = 0
        self._session: Any = None

    def begin(self, source: Any) -> None:
        import zenoh
        from pamoja import ros2

        config = zenoh.Config()
        config.insert_json5("connect/endpoints", json.dumps([f"tcp/127.0.0.1:{self._port}"]))
        config.insert_json5("scouting/multicast/enabled", "false")
        self._session, self._ros2 = zenoh.open(config), ros2
        key = ros2.entity_key(7, "/robot/state", "geometry_msgs/msg/Twist", TWIST)
        self._publisher = self._session.declare_publisher(key)
        self._listening = self._session.declare_subscriber("7/rtsysid/prediction/**", self._take)
        until(lambda: self._publisher.matching_status.matching, "a subscription")

    def send(self, sent: Row) -> None:
        self._number += 1
        attached = struct.pack("<qqB16s", self._number, round(sent.t * 1e9), 16, b"robot")
        self._publisher.put(bytes(self._ros2.twist_to_cdr(sent.values, (0.0, 0.0, 0.0))), attachment=attached)

    def predictions(self) -> int:
        return self._came

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _take(self, sample: Any) -> None:
        self._came += 1


class Rclpy(Sender):
    """A node of ROS 2 itself, where it is installed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._rclpy = pytest.importorskip("rclpy", reason="wants rclpy")
        domain = 1 + os.getpid() % 100
        self.url = f"ros2:?via=rclpy&domain={domain}"
        self.options = {"mapping": mapped("/state", ("vector.x", "vector.y", "vector.z"), "header.stamp")}
        self._came = 0
        self._context = self._rclpy.Context()
        self._rclpy.init(context=self._context, domain_id=domain)

    def begin(self, source: Any) -> None:
        from geometry_msgs.msg import Vector3Stamped
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState

        self._kind, self._node = Vector3Stamped, self._rclpy.create_node("robot", context=self._context)
        self._publisher = self._node.create_publisher(Vector3Stamped, "/state", 100)
        self._node.create_subscription(JointState, "/rtsysid/prediction", self._take, 100)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        threading.Thread(target=self._spin, args=(executor,), daemon=True).start()
        until(lambda: self._publisher.get_subscription_count() > 0, "a subscription")

    def send(self, sent: Row) -> None:
        message = self._kind()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(sent.t * 1e9), 10**9)
        message.vector.x, message.vector.y, message.vector.z = sent.values
        self._publisher.publish(message)

    def predictions(self) -> int:
        return self._came

    def close(self) -> None:
        self._context.try_shutdown()

    def _spin(self, executor: Any) -> None:
        from rclpy.executors import ExternalShutdownException

        with suppress(ExternalShutdownException):
            executor.spin()

    def _take(self, message: Any) -> None:
        assert list(message.name) == ["x", "v"]
        self._came += 1
