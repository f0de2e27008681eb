"""One end of every source under test: independent libraries send rows of the robot of `support.streams`."""

from __future__ import annotations

import json
import os
import pty
import socket
import struct
import sys
import threading
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.live_parts import until
from support.streams import RATE_HZ, SPEC, Row

from rtsysid.alignment.source import ChannelSource
from rtsysid.sources.channel_map import ChannelMap

NAMES = ("u", "x", "v")
DBC = """VERSION ""
NS_ :
BS_:
BU_: robot
BO_ 256 STATE: 8 robot
 SG_ u : 0|16@1- (0.001,0) [-32|32] "V" robot
 SG_ x : 16|16@1- (0.001,0) [-32|32] "m" robot
 SG_ v : 32|16@1- (0.001,0) [-32|32] "m/s" robot
BO_ 257 PREDICTED: 8 robot
 SG_ x : 0|32@1- (0.001,0) [-100|100] "m" robot
 SG_ v : 32|32@1- (0.001,0) [-100|100] "m/s" robot
"""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody holds."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def as_json(sent: Row) -> dict[str, float]:
    """A row as an object of JSON lines."""
    return {"t": sent.t, **dict(zip(NAMES, sent.values, strict=True))}


def mapped(topic: str, fields: Sequence[str], stamp: str = "") -> ChannelMap:
    """The map of one topic."""
    sources = {
        name: ChannelSource(topic=topic, field=field, stamp=stamp) for name, field in zip(NAMES, fields, strict=True)
    }
    return ChannelMap(channels=SPEC.channels, rate_hz=RATE_HZ, sources=sources)


class Sender:
    """A sender; `prepare` gets all rows before the source is opened, `begin` the open source."""

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options: dict[str, Any] = {}

    def prepare(self, rows: Sequence[Row]) -> None:
        """Make ready."""

    def begin(self, source: Any) -> None:
        """Connect to the open source."""

    def send(self, sent: Row) -> None:
        """Send a row."""

    def predictions(self) -> int:
        """How many predictions came back so far."""
        return 0

    def close(self) -> None:
        """End it."""


class Udp(Sender):
    """Datagrams of JSON."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        port = free_port()
        self.url = f"udp://127.0.0.1:{port}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._came = 0

    def send(self, sent: Row) -> None:
        self._socket.send(json.dumps(as_json(sent)).encode())

    def predictions(self) -> int:
        self._socket.setblocking(False)
        try:
            while True:
                told = json.loads(self._socket.recv(65536))
                assert set(told["predicted"]) == {"x", "v"}
                self._came += 1
        except BlockingIOError:
            return self._came
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        self._socket.close()


class WebSocketServer(Sender):
    """A robot that is a WebSocket server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from websockets.sync.server import serve

        self._peers: list[Any] = []
        self._came = 0
        self._server = serve(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/robot"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def begin(self, source: Any) -> None:
        until(lambda: bool(self._peers), "a client")

    def send(self, sent: Row) -> None:
        self._peers[-1].send(json.dumps(as_json(sent)))

    def predictions(self) -> int:
        return self._came

    def close(self) -> None:
        self._server.shutdown()

    def _serve(self, peer: Any) -> None:
        self._peers.append(peer)
        for message in peer:
            self._came += "predicted" in json.loads(message)


class WebSocketClient(Sender):
    """A robot that is a WebSocket client."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port(socket.SOCK_STREAM)
        self.url = f"ws://:{self._port}"
        self._came = 0
        self._held: Any = None

    def begin(self, source: Any) -> None:
        from websockets.sync.client import connect

        self._held = connect(f"ws://127.0.0.1:{self._port}", proxy=None).__enter__()

    def send(self, sent: Row) -> None:
        self._held.send(json.dumps(as_json(sent)))

    def predictions(self) -> int:
        with suppress(TimeoutError):
            while True:
                self._came += "predicted" in json.loads(self._held.recv(timeout=0))
        return self._came

    def close(self) -> None:
        if self._held is not None:
            self._held.close()


class Mavlink(Sender):
    """Pymavlink's own sender on UDP: an autopilot that answers requests for the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from pymavlink import mavutil

        self.options = {"mapping": mapped("HIGHRES_IMU", ("xacc", "yacc", "zacc"))}
        self._connect(mavutil)
        self._came = 0
        self.seen: list[str] = []

    def _connect(self, mavutil: Any) -> None:
        port = free_port()
        self.url = f"mavlink:udp://127.0.0.1:{port}?answers=1000"
        self.held = mavutil.mavlink_connection(
            f"udpout:127.0.0.1:{port}", source_system=7, source_component=1, dialect="ardupilotmega"
        )

    def begin(self, source: Any) -> None:
        self.held.mav.heartbeat_send(2, 3, 0, 0, 4)

    def send(self, sent: Row) -> None:
        self.held.mav.highres_imu_send(round(sent.t * 1e6), *sent.values, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 63)

    def predictions(self) -> int:
        while (found := self.held.recv_msg()) is not None:
            self.seen.append(found.get_type())
            self._came += found.get_type() == "NAMED_VALUE_FLOAT"
            if found.get_type() == "TIMESYNC" and found.tc1 == 0:
                self.held.mav.timesync_send(time.monotonic_ns(), found.ts1)
        return self._came // 2  # one for each output

    def close(self) -> None:
        self.held.close()


class MavlinkSerial(Mavlink):
    """The same on a pseudo-terminal."""

    def _connect(self, mavutil: Any) -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        tty.setraw(ours)
        self._theirs, self._ours = theirs, ours
        self.url = f"mavlink:{os.ttyname(theirs)}?answers=1000"
        os.set_blocking(ours, False)
        link = self

        class Wire:
            def write(self, data: bytes) -> int:
                return os.write(link._ours, data)

        self.held = _Wired(mavutil.mavlink.MAVLink(Wire(), srcSystem=7, srcComponent=1), ours)


class _Wired:
    """What `Mavlink` needs of a connection, on a file descriptor."""

    def __init__(self, mav: Any, fd: int) -> None:
        self.mav, self._fd = mav, fd
        self._waiting: list[Any] = []

    def recv_msg(self) -> Any:
        with suppress(BlockingIOError):
            self._waiting += self.mav.parse_buffer(os.read(self._fd, 65536)) or []
        return self._waiting.pop(0) if self._waiting else None

    def close(self) -> None:
        os.close(self._fd)


class Can(Sender):
    """A virtual bus of python-can."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import can
        import cantools

        self._can = can
        (folder / "robot.dbc").write_text(DBC)
        channel = f"test{free_port()}"
        self.url = f"can:{channel}?interface=virtual&dbc={folder / 'robot.dbc'}&answer=PREDICTED"
        self.options = {"mapping": mapped("STATE", NAMES)}
        self._state = cantools.database.load_string(DBC, "dbc").get_message_by_name("STATE")
        self._bus = can.Bus(interface="virtual", channel=channel, preserve_timestamps=True)
        self._came = 0

    def send(self, sent: Row) -> None:
        data = self._state.encode(dict(zip(NAMES, sent.values, strict=True)))
        frame = self._can.Message(timestamp=sent.t, arbitration_id=256, is_extended_id=False, data=data)
        self._bus.send(frame)

    def predictions(self) -> int:
        while (found := self._bus.recv(0)) is not None:
            self._came += found.arbitration_id == 257
        return self._came

    def close(self) -> None:
        self._bus.shutdown()


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


class Function(Sender):
    """A function in a module of the user."""

    def prepare(self, rows: Sequence[Row]) -> None:
        module = f"robot_{self.folder.name.replace('-', '_')}"
        listed = [as_json(each) for each in rows]
        (self.folder / f"{module}.py").write_text(f"ROWS = {listed!r}\n\n\ndef rows():\n    yield from ROWS\n")
        sys.path.insert(0, str(self.folder))
        self.url = f"python:{module}:rows"

    def close(self) -> None:
        sys.path[:] = [each for each in sys.path if each != str(self.folder)]


SENDERS: dict[str, type[Sender]] = {
    "udp": Udp,
    "websocket server": WebSocketServer,
    "websocket client": WebSocketClient,
    "mavlink": Mavlink,
    "mavlink serial": MavlinkSerial,
    "can": Can,
    "ros2": Ros2,
    "rclpy": Rclpy,
    "python": Function,
}
