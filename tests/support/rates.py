"""Sources at 500 Hz and 13 channels: a process sends, and this one answers."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from support.integrator import Integrator
from support.live_parts import until
from support.senders import free_port
from support.streams import Enough

from firmware_bridge.recorder import Recorder
from rtsysid.alignment.source import ChannelSource
from rtsysid.cli.sources import open_source
from rtsysid.device_clock import host_s
from rtsysid.live.loop import LiveLoop, LiveStats
from rtsysid.live.reproduce import Settings
from rtsysid.live.session import Session
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.spec import Channel, ModelSpec, unit_scaling

RATE_HZ, INPUTS, OUTPUTS = 500.0, 4, 9
WIDTH = INPUTS + OUTPUTS
NAMES = [f"c{i}" for i in range(WIDTH)]
SETTINGS = Settings(bundle="none", backend="numpy", budget_s=1.0)


def rate_spec() -> ModelSpec:
    """Thirteen channels at 500 Hz, trained on -1 to 1."""
    channels = tuple(Channel(name, "V", "input" if i < INPUTS else "output") for i, name in enumerate(NAMES))
    blank = ModelSpec(channels=channels, rate_hz=RATE_HZ, taps=3, encoder=(4, 2))
    return msgspec.structs.replace(blank, scaling=unit_scaling(blank, 4.0))


SPEC = rate_spec()


def values(k: int) -> list[float]:
    """The row k, in thousandths."""
    return [round(math.sin(k / 90 + i), 3) for i in range(WIDTH)]


def one_topic(topic: str, field: str) -> ChannelMap:
    """The map of one topic with an array."""
    sources = {name: ChannelSource(topic=topic, field=field.format(i)) for i, name in enumerate(NAMES)}
    return ChannelMap(channels=SPEC.channels, rate_hz=RATE_HZ, sources=sources)


def dbc() -> str:
    """One frame of CAN FD with all channels."""
    signals = "".join(f' SG_ {name} : {16 * i}|16@1- (0.001,0) [-32|32] "V" robot\n' for i, name in enumerate(NAMES))
    return f'VERSION ""\nNS_ :\nBS_:\nBU_: robot\nBO_ 256 STATE: 32 robot\n{signals}'


class Rate(NamedTuple):
    """A source: its address for a free port, the map, and what makes a function that sends the row k at the time t."""

    url: str
    mapping: ChannelMap | None
    sender: Callable[[str], Callable[[int, float], None]]


def _json(k: int, t: float) -> bytes:
    return json.dumps({"t": t, **dict(zip(NAMES, values(k), strict=True))}).encode()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("?")[0])


def udp_sender(url: str) -> Callable[[int, float], None]:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", _port(url)))
    return lambda k, t: _ignored(out.send(_json(k, t)))


def websocket_sender(url: str) -> Callable[[int, float], None]:
    from websockets.sync.client import connect

    held = connect(f"ws://127.0.0.1:{_port(url)}", proxy=None, compression=None).__enter__()
    threading.Thread(target=lambda: [None for _ in held], daemon=True).start()
    return lambda k, t: held.send(_json(k, t).decode())


def mavlink_sender(url: str) -> Callable[[int, float], None]:
    from pymavlink import mavutil

    target = f"udpout:127.0.0.1:{_port(url)}"
    held: Any = mavutil.mavlink_connection(target, source_system=7, source_component=1, dialect="ardupilotmega")
    held.mav.heartbeat_send(2, 3, 0, 0, 4)
    return lambda k, t: held.mav.debug_float_array_send(round(t * 1e6), b"state", 0, values(k) + [0.0] * (58 - WIDTH))


def ros2_sender(url: str) -> Callable[[int, float], None]:
    import zenoh

    from rtsysid.sources.ros2.keys import TopicKey
    from rtsysid.sources.ros2.types import Types

    config = zenoh.Config()
    config.insert_json5("connect/endpoints", json.dumps([f"tcp/127.0.0.1:{_port(url)}"]))
    config.insert_json5("scouting/multicast/enabled", "false")
    session, types = zenoh.open(config), Types()
    kind, layout = "std_msgs/msg/Float64MultiArray", "std_msgs/msg/MultiArrayLayout"
    publisher = session.declare_publisher(str(TopicKey(5, "/state", kind, types.type_hash(kind))))
    until(lambda: publisher.matching_status.matching, "a subscription")
    import numpy as np

    def send(k: int, t: float) -> None:
        payload = types.pack(kind, layout=types.make(layout, dim=[], data_offset=0), data=np.array(values(k)))
        publisher.put(payload, attachment=struct.pack("<qqB16s", k + 1, round(t * 1e9), 16, b"robot"))

    send.session = session  # type: ignore[attr-defined]
    return send


def can_sender(url: str) -> Callable[[int, float], None]:
    import can
    import cantools

    message = cantools.database.load_string(dbc(), "dbc").get_message_by_name("STATE")
    bus = can.Bus(interface="virtual", channel="rates", preserve_timestamps=True)

    def send(k: int, t: float) -> None:
        data = message.encode(dict(zip(NAMES, values(k), strict=True)))
        bus.send(can.Message(timestamp=t, arbitration_id=256, is_extended_id=False, data=data, is_fd=True))

    send.bus = bus  # type: ignore[attr-defined]
    return send


def _ignored(_: object) -> None:
    return None


RATES: dict[str, Rate] = {
    "udp": Rate("udp://127.0.0.1:{}", None, udp_sender),
    "websocket": Rate("ws://:{}", None, websocket_sender),
    "mavlink": Rate("mavlink:udp://127.0.0.1:{}", one_topic("DEBUG_FLOAT_ARRAY", "data[{}]"), mavlink_sender),
    "ros2": Rate("ros2:?domain=5&listen=tcp/127.0.0.1:{}", one_topic("/state", "data[{}]"), ros2_sender),
    "can": Rate("can:rates?interface=virtual&dbc={}", one_topic("STATE", "c{}"), can_sender),
}


class Answers:
    """A sink that keeps the time from receipt to answer of each sample that was answered."""

    def __init__(self, recorder: Recorder | None, view: Any) -> None:
        self._recorder, self._view = recorder, view
        self.ages: list[float] = []

    def sample(self, arrival: Any) -> None:
        if self._recorder is not None:
            self._recorder.sample(arrival)

    def prediction(self, answer: Any) -> None:
        if answer.sent:
            self.ages.append(host_s() - answer.arrival.received_s)
        if self._recorder is not None:
            self._recorder.prediction(answer)
        if self._view is not None:
            self._view.prediction(answer)

    def health(self, figures: Mapping[str, Any]) -> None:
        if self._view is not None:
            self._view.health(figures)


class Measured(NamedTuple):
    """What a session came to. ``ages`` in s; ``reader``, ``view``: share of a core; ``sent``: rows that were sent."""

    sent: int
    stats: LiveStats
    health: Any
    ages: list[float]
    reader: float
    view: float


def measured(
    name: str, seconds: float, folder: Path, *, predictor: Any = None, path: Path | None = None,
    viewing: Callable[[Session], Any] | None = None,
) -> Measured:  # fmt: skip
    """Answer a source for some seconds. `path`: of a recording. `viewing`: opens a viewer."""
    rate = RATES[name]
    url = _address(name, rate, folder)
    about = {"channels": SPEC.channels, "outputs": SPEC.outputs, "metadata": SETTINGS.metadata()}
    recorder = None if path is None else Recorder.open(path, **about)  # type: ignore[arg-type]
    session = Session(predictor or Integrator(SPEC), SETTINGS)
    viewer = None if viewing is None else viewing(session)
    answers = Answers(recorder, None if viewer is None else viewer.feed)
    count = round(seconds * RATE_HZ)
    try:
        with (
            open_source(url, spec=SPEC, mapping=rate.mapping, tap=recorder) as source,
            sending(name, url, count) as sent,
        ):
            loop = LiveLoop(source, session, recorder=answers)

            def enough() -> bool:
                health: Any = source.health()
                return sent() and len(answers.ages) + loop.summary().skipped >= health.samples >= count - health.gaps

            begun_s = time.monotonic()
            for _ in loop.run(Enough(enough, seconds + 60), every_s=0.5):
                pass
            passed_s = time.monotonic() - begun_s
            health: Any = source.health()
            view_s = 0.0 if viewer is None else viewer.cpu_s
    finally:
        if recorder is not None:
            recorder.close()
    return Measured(count, loop.summary(), health, answers.ages, health.reader_s / passed_s, view_s / passed_s)


@contextmanager
def sending(name: str, url: str, count: int) -> Iterator[Callable[[], bool]]:
    """Send rows from another process, or from a thread where the line is inside this process; yield whether all are."""
    if name == "can":
        thread = threading.Thread(target=send_all, args=(name, url, count), daemon=True)
        thread.start()
        yield lambda: not thread.is_alive()
        return
    command = [sys.executable, "-m", "support.rates", name, url, str(count)]
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        try:
            yield lambda: process.poll() is not None
        finally:
            process.kill()


def send_all(name: str, url: str, count: int) -> None:
    """Send rows at their times."""
    send = RATES[name].sender(url)
    begun_s = time.monotonic()
    for k in range(count):
        due_s = begun_s + k / RATE_HZ
        while (early_s := due_s - time.monotonic()) > 0:
            time.sleep(early_s)
        send(k, 10.0 + k / RATE_HZ)
    time.sleep(0.2)  # for what the library sends by a thread of its own
    if hasattr(send, "bus"):
        send.bus.shutdown()


def _address(name: str, rate: Rate, folder: Path) -> str:
    if name != "can":
        return rate.url.format(free_port(socket.SOCK_STREAM if name in ("websocket", "ros2") else socket.SOCK_DGRAM))
    (folder / "rates.dbc").write_text(dbc())
    return rate.url.format(folder / "rates.dbc")


if __name__ == "__main__":
    send_all(sys.argv[1], sys.argv[2], int(sys.argv[3]))
