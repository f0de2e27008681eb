"""Predictions come back to every device, in its own protocol; and what each protocol has of its own."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.live_parts import until
from support.sender import Sender, free_port, mapped
from support.senders import SENDERS, Mavlink, Udp
from support.streams import RATE_HZ, SPEC, row

from rtsysid.alignment.source import ChannelSource
from rtsysid.cli.sources import open_source
from rtsysid.errors import LinkError
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.format import Outgoing
from rtsysid.sources.mavlink import MavlinkFormat
from rtsysid.spec import Channel
from rtsysid.statuses import BY_NAME

Y = np.array([0.25, -0.5], np.float32)


@pytest.fixture(params=[name for name in SENDERS if name != "python"])
def sender(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sender]:
    made = SENDERS[request.param](tmp_path)
    yield made
    made.close()


def test_predictions_come_back(sender: Sender) -> None:
    """A prediction for a sample reaches the device that sent it, whatever the protocol."""
    with open_source(sender.url, spec=SPEC, **sender.options) as source:
        sender.begin(source)
        sent = 0

        def answered() -> bool:
            nonlocal sent
            sender.send(row(sent))
            sent += 1
            until(lambda: source.health().samples > sent - 3, "the samples")  # those before may still be on their way
            source.predict(max(source.health().samples, 1), "ok", 1e-3, 1 / RATE_HZ, Y)
            return sender.predictions() > 2

        until(answered, "three predictions")
        assert source.health().predictions > 2


def test_an_answer_as_json_says_what_it_is_worth(tmp_path: Path) -> None:
    """A prediction as JSON has the time and number of its sample, status, age, horizon, and the outputs by name."""
    sender = Udp(tmp_path)
    with open_source(sender.url, spec=SPEC) as source:
        sender.send(row(3))
        (arrival,) = next(batch for batch in source.batches(0.1) if batch)
        source.predict(arrival.seq, "held", 0.5, 0.01, np.array([np.nan, 2.0], np.float32))
        told = json.loads(sender._socket.recv(65536))
    sender.close()
    assert told == {
        "t": row(3).t, "seq": arrival.seq, "status": "held", "age": 0.5, "horizon": 0.01,
        "predicted": {"x": None, "v": 2.0},
    }  # fmt: skip


def test_an_autopilot_is_asked_for_its_time_and_its_messages(tmp_path: Path) -> None:
    """Heartbeats, requests for the time and for the messages of the map go out; the answers put its clock on ours; the
    status comes back with the predictions."""
    sender = Mavlink(tmp_path)
    seen: dict[str, Any] = {}
    with open_source(sender.url, spec=SPEC, **sender.options) as source:
        sender.begin(source)
        asked, k = 0, 0

        def settled() -> bool:
            nonlocal asked, k
            k += 1
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            sender.send(row(0)._replace(t=now))
            while (found := sender.held.recv_msg()) is not None:
                seen[found.get_type()] = found
                if found.get_type() == "TIMESYNC" and found.tc1 == 0:
                    asked += 1
                    sender.held.mav.timesync_send(time.clock_gettime_ns(time.CLOCK_BOOTTIME), found.ts1)
            for batch in source.batches(0.01):
                for arrival in batch:
                    source.predict(arrival.seq, "stale", 0.0, 0.01, Y)
                break
            return source.intake.clock.converged and "NAMED_VALUE_INT" in seen

        until(settled, "the clock")
        health = source.health()
    sender.close()
    assert asked >= 8
    assert {"HEARTBEAT", "COMMAND_LONG", "NAMED_VALUE_FLOAT"} <= seen.keys()
    command = seen["COMMAND_LONG"]
    assert (command.command, command.param1, command.param2, command.target_system) == (511, 105, 1e6 / RATE_HZ, 7)
    assert (seen["NAMED_VALUE_INT"].name, seen["NAMED_VALUE_INT"].value) == ("rtsysid", BY_NAME["stale"].code)
    assert (health.lost, health.corrupt, health.jumps) == (0, 0, 0)


def test_long_names_stay_apart_on_mavlink() -> None:
    """Of names with more than the ten characters of MAVLink, those that are alike get the number of the output."""
    format_ = MavlinkFormat("common")
    outputs = (Channel("z"), Channel("velocity_body_x"), Channel("velocity_body_y"))
    y = np.array([1, 2, 3], np.float32)
    pieces = format_.encode(Outgoing(1, 2.0, "ok", 0.0, 0.01, y, outputs))
    found = format_._mav.MAVLink(None).parse_buffer(b"".join(pieces))
    values = {each.name: each.value for each in found if each.get_type() == "NAMED_VALUE_FLOAT"}
    assert values == {"z": 1.0, "velocity_1": 2.0, "velocity_2": 3.0}


def test_messages_lost_and_damaged_on_a_mavlink_line_are_counted(tmp_path: Path) -> None:
    """Of messages with missing numbers and with changed bytes, each loss and each bad piece is counted."""
    sender = Mavlink(tmp_path)
    mav = sender.held.mav
    with open_source(sender.url, spec=SPEC, **sender.options) as source:
        sender.begin(source)
        for k in range(5):
            sender.send(row(k))
        mav.seq = (mav.seq + 3) % 256
        sender.send(row(8))
        sender.held.port.sendto(b"\xfd" + b"noise" * 20, sender.held.destination_addr)
        sender.send(row(9))
        until(lambda: source.health().samples == 7, "seven samples")
        health = source.health()
    sender.close()
    assert (health.lost, health.gaps) == (3, 3)
    assert health.corrupt > 0


def test_what_ros_publishes_is_read_by_stock_types(tmp_path: Path) -> None:
    """Prediction, forecast and health are messages of ROS itself with its type hashes, and their publishers are seen in
    the graph."""
    zenoh = pytest.importorskip("zenoh")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    port, came = free_port(socket.SOCK_STREAM), dict[str, Any]()
    mapping = mapped("/state", ("linear.x", "linear.y", "linear.z"))
    config = zenoh.Config()
    config.insert_json5("connect/endpoints", json.dumps([f"tcp/127.0.0.1:{port}"]))
    config.insert_json5("scouting/multicast/enabled", "false")

    def take(sample: Any) -> None:
        topic = "/".join(str(sample.key_expr).split("/")[1:-2])
        came[topic] = (topic, sample.payload.to_bytes(), sample.attachment.to_bytes())

    with (
        open_source(f"ros2:?domain=3&listen=tcp/127.0.0.1:{port}", spec=SPEC, mapping=mapping) as source,
        zenoh.open(config) as session,
    ):
        session.declare_subscriber("3/**", take)

        def published() -> bool:
            source.predict(1, "ok", 1e-3, 1 / RATE_HZ, Y)
            source.forecast(12.5, 1 / RATE_HZ, [[1.0, 2.0], [3.0, 4.0]])
            source.publish_health({"samples": 4, "link": {"state": "streaming", "clean": True}})
            return len(came) == 3

        until(published, "three topics")
        tokens = [str(each.ok.key_expr) for each in session.liveliness().get("@ros2_lv/3/**") if each.ok]
    prediction = store.deserialize_cdr(came["rtsysid/prediction"][1], "sensor_msgs/msg/JointState")
    assert dict(zip(prediction.name, prediction.position, strict=True)) == dict(zip("xv", Y, strict=True))
    assert prediction.header.frame_id == "ok"
    forecast = store.deserialize_cdr(came["rtsysid/forecast"][1], "trajectory_msgs/msg/JointTrajectory")
    assert [point.positions.tolist() for point in forecast.points] == [[1.0, 2.0], [3.0, 4.0]]
    assert forecast.points[1].time_from_start.nanosec == 20_000_000
    health = store.deserialize_cdr(came["diagnostics"][1], "diagnostic_msgs/msg/DiagnosticArray")
    assert (health.status[0].level, health.status[0].message) == (0, "streaming")
    number, _, length = struct.unpack_from("<qqB", came["rtsysid/prediction"][2])
    assert (number > 0, length) == (True, 16)
    kinds = {each.split("/")[5] for each in tokens}
    assert kinds == {"NN", "MP"}
    assert any("%rtsysid%prediction/sensor_msgs::msg::dds_::JointState_/RIHS01_" in each for each in tokens)


def test_a_type_of_ros_with_another_hash_is_not_read_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic whose type hash is not that of the known definition gives no message, and the error names the remedy."""
    monkeypatch.setattr("support.senders_ros.TWIST", "RIHS01_" + "0" * 64)
    sender = SENDERS["ros2"](tmp_path)
    with open_source(sender.url, spec=SPEC, **sender.options) as source:
        sender.begin(source)
        sender.send(row(0))
        until(lambda: bool(getattr(source, "_transport").remarks), "the remark")  # noqa: B009
        with pytest.raises(LinkError, match=r"/robot/state: .* is not known; give msg=FOLDER"):
            source.describe(0.1)
    sender.close()


@pytest.mark.parametrize("name", ["websocket server", "websocket client"])
def test_long_messages_of_a_websocket_are_counted_or_said(name: str, tmp_path: Path) -> None:
    """A message above the limit of messages counts as corrupt, and the connection stays; one that nobody takes ends the
    connection, and a line says why."""
    sender: Any = SENDERS[name](tmp_path)
    with open_source(sender.url, spec=SPEC, **sender.options) as source:
        sender.begin(source)
        peer = sender._peers[0] if name == "websocket server" else sender._held
        sender.send(row(0))
        peer.send("x" * 100_000)
        sender.send(row(1))
        until(lambda: source.health().samples == 2, "both samples")
        assert source.health().corrupt == 1
        peer.send("x" * 2_000_000)
        told: list[str] = []

        def said() -> bool:
            told.extend(source.events())
            return any("more than 1 MiB" in text for text in told)

        until(said, "the line")
    sender.close()


def test_several_topics_are_aligned_to_even_rows(tmp_path: Path) -> None:
    """Topics at different rates become rows at the rate of the model, with what each holds, averages and lacks."""
    sources = {
        "u": ChannelSource(topic="motor", field="current"),
        "x": ChannelSource(topic="imu", field="a[0]", unit="mm"),
        "v": ChannelSource(topic="imu", field="a[1]"),
    }
    mapping = ChannelMap(channels=SPEC.channels, rate_hz=RATE_HZ, sources=sources, aligned=True, lateness=5e-3)
    sender, rows = Udp(tmp_path), list[Any]()
    with open_source(sender.url, spec=SPEC, mapping=mapping) as source:
        for k in range(100):
            t = 5.0 + k / 200
            sender._socket.send(json.dumps({"topic": "imu", "t": t, "a": [1000.0 * k, -k]}).encode())
            if k % 10 == 0:
                sender._socket.send(json.dumps({"topic": "motor", "t": t, "current": k}).encode())
        until(lambda: source.health().received == 110, "all messages")
        for batch in source.batches(0.05):
            rows += batch
            if not batch:
                break
        health = source.health()
    sender.close()
    values = np.array([each.sample.values for each in rows])
    assert np.allclose(np.diff([each.sample.t for each in rows]), 1 / RATE_HZ)
    assert len(rows) >= 48
    k = 2 * np.arange(len(rows)) + round((rows[0].sample.t - 5.0) * 200)
    assert np.allclose(values[1:, 1], k[1:] - 0.5)  # the mean of two messages
    assert np.allclose(values[1:, 2], -(k[1:] - 0.5))
    assert np.array_equal(values[:, 0], k // 10 * 10)
    assert health.topics["u"]["held"] > 0
    assert health.topics["imu"] == {"messages": 100}
    assert health.gaps == 0
