"""One end of every source under test: independent libraries send rows of the robot of `support.streams`."""

from __future__ import annotations

import json
import os
import pty
import socket
import sys
import threading
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.live_parts import until
from support.sender import NAMES, Sender, as_json, free_port, mapped
from support.senders_ros import Rclpy, Ros2
from support.streams import Row

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

        self._held = connect(f"ws://127.0.0.1:{self._port}", proxy=None, close_timeout=1.0).__enter__()

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
