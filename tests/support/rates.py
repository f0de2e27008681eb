"""Sources at 500 Hz and 13 channels: a process sends, a board samples, or a log is played, and this process answers."""

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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from support.integrator import Integrator
from support.live_parts import until
from support.sender import free_port
from support.streams import Enough

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.recorder import Recorder
from firmware_bridge.schema import Schema
from rtsysid.alignment.source import ChannelSource
from rtsysid.cli.sources import open_source
from rtsysid.device_clock import host_s
from rtsysid.live.loop import LiveLoop, LiveStats
from rtsysid.live.reproduce import Settings
from rtsysid.live.session import Session
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.spec import Arrival, Channel, ModelSpec, Sample, unit_scaling

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


Place = Callable[[Path, int], AbstractContextManager[str]]
Sender = Callable[[str], Callable[[int, float], None]]


class Rate(NamedTuple):
    """A source. ``place``: makes what is needed for so many rows in a folder, and gives the address.

    ``mapping``: its map. ``sender``: makes a function that sends the row k at the time t; None: it plays by itself.
    """

    place: Place
    mapping: ChannelMap | None = None
    sender: Sender | None = None


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


def on_port(url: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Place:
    """An address on a free port."""
    return lambda folder, count: nullcontext(url.format(free_port(kind)))


def on_bus(folder: Path, count: int) -> AbstractContextManager[str]:
    """A virtual bus, with its messages in a file."""
    (folder / "rates.dbc").write_text(dbc())
    return nullcontext(f"can:rates?interface=virtual&dbc={folder / 'rates.dbc'}")


@contextmanager
def on_board(folder: Path, count: int) -> Iterator[str]:
    """The real firmware as a process, which samples the rows once."""
    rows = np.array([values(k) for k in range(count)], np.float32)
    with SimulatedDevice(Schema.of(SPEC.channels, RATE_HZ), rows) as device:
        yield device.port


def in_table(folder: Path, count: int) -> AbstractContextManager[str]:
    """A CSV file that is played."""
    with (folder / "rates.csv").open("w") as file:
        file.write(",".join(["t", *NAMES]) + "\n")
        file.writelines(",".join(map(str, (k / RATE_HZ, *values(k)))) + "\n" for k in range(count))
    return nullcontext(f"log:{folder / 'rates.csv'}")


def in_bag(folder: Path, count: int) -> AbstractContextManager[str]:
    """A recording that is played."""
    with Recorder.open(folder / "rates.mcap", channels=SPEC.channels, limit=count, overwrite=True) as recorder:
        for k in range(count):
            sample = Sample(k / RATE_HZ, np.array(values(k), np.float32))
            recorder.sample(Arrival(sample, round(sample.t * 1e6), sample.t, sample.t, k % 65536, 1))
    return nullcontext(f"mcap:{folder / 'rates.mcap'}")


@contextmanager
def in_function(folder: Path, count: int) -> Iterator[str]:
    """A function that waits for the time of each row."""
    module = f"rates_{folder.name.replace('-', '_')}"
    code = f"from support.rates import messages\n\n\ndef rows():\n    return messages({count})\n"
    (folder / f"{module}.py").write_text(code)
    sys.path.insert(0, str(folder))
    try:
        yield f"python:{module}:rows"
    finally:
        sys.path.remove(str(folder))


def messages(count: int) -> Iterator[dict[str, float]]:
    """Yield rows as tables, each at its time."""
    for k in due_rows(count):
        yield {"t": k / RATE_HZ, **dict(zip(NAMES, values(k), strict=True))}


def due_rows(count: int) -> Iterator[int]:
    """Yield the numbers of the rows, each at its time."""
    begun_s = time.monotonic()
    for k in range(count):
        while (early_s := begun_s + k / RATE_HZ - time.monotonic()) > 0:
            time.sleep(early_s)
        yield k


RATES: dict[str, Rate] = {
    "serial": Rate(on_board),
    "udp": Rate(on_port("udp://127.0.0.1:{}"), None, udp_sender),
    "websocket": Rate(on_port("ws://:{}", socket.SOCK_STREAM), None, websocket_sender),
    "mavlink": Rate(on_port("mavlink:udp://127.0.0.1:{}"), one_topic("DEBUG_FLOAT_ARRAY", "data[{}]"), mavlink_sender),
    "ros2": Rate(
        on_port("ros2:?domain=5&listen=tcp/127.0.0.1:{}", socket.SOCK_STREAM),
        one_topic("/state", "data[{}]"),
        ros2_sender,
    ),
    "can": Rate(on_bus, one_topic("STATE", "c{}"), can_sender),
    "log": Rate(in_table),
    "mcap": Rate(in_bag),
    "python": Rate(in_function),
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
    rate, count = RATES[name], round(seconds * RATE_HZ)
    about = {"channels": SPEC.channels, "outputs": SPEC.outputs, "metadata": SETTINGS.metadata()}
    recorder = None if path is None else Recorder.open(path, **about)  # type: ignore[arg-type]
    session = Session(predictor or Integrator(SPEC), SETTINGS)
    viewer = None if viewing is None else viewing(session)
    answers = Answers(recorder, None if viewer is None else viewer.feed)
    try:
        with (
            rate.place(folder, count) as url,
            open_source(url, spec=SPEC, mapping=rate.mapping, tap=recorder) as source,
            sending(name, url, count) as sent,
        ):
            loop = LiveLoop(source, session, recorder=answers)

            def enough() -> bool:
                health: Any = source.health()
                stats = loop.summary()
                came = len(answers.ages) + stats.skipped + stats.undated
                lost = max(health.gaps, getattr(health, "overflowed", 0))
                return sent() and came >= health.samples >= count - lost

            begun_s = time.monotonic()
            for _ in loop.run(Enough(enough, 2 * seconds + 200), every_s=0.5):
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
    """Send rows from another process, or from a thread where the line is inside this process; yield whether all are.

    What plays by itself is sent nothing.
    """
    if RATES[name].sender is None:
        yield lambda: True
        return
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
    sender = RATES[name].sender
    assert sender is not None
    send = sender(url)
    for k in due_rows(count):
        send(k, 10.0 + k / RATE_HZ)
    time.sleep(0.2)  # for what the library sends by a thread of its own
    if hasattr(send, "bus"):
        send.bus.shutdown()


if __name__ == "__main__":
    send_all(sys.argv[1], sys.argv[2], int(sys.argv[3]))
