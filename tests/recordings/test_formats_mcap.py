"""Test MCAP: recordings of rtsysid, bags of other programs, and one-line errors for damaged files."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from support.live_session import CHANNELS, arrival, recording

from firmware_bridge.mcap_file import McapFile
from rtsysid.cli import cli
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings import formats, mcap_records
from rtsysid.recordings.formats import mcap as mcap_format
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.trace import Trace
from rtsysid.rosmsg import RULE, TIME, MessageType
from rtsysid.spec import Channel

IMU = (
    f"std_msgs/Header header\nfloat64 gyro\nfloat64[2] acc\nstring note\n{RULE}MSG: std_msgs/Header\n"
    f"builtin_interfaces/Time stamp\nstring frame_id\n{TIME}"
)


def foreign(path: Path, **options) -> None:
    """Write a bag with two topics at two rates, as another program would."""
    with open(path, "wb") as stream:
        writer = Writer(stream, **options)
        writer.start(profile="ros2", library="another")
        imu_type = writer.register_schema("test/msg/Imu", "ros2msg", IMU.encode())
        imu = writer.register_channel("/imu", "cdr", imu_type)
        thrust_type = writer.register_schema("std_msgs/msg/Float32", "ros2msg", b"float32 data\n")
        thrust = writer.register_channel("/thrust", "cdr", thrust_type)
        image = writer.register_channel("/image", "json", 0)
        pack = MessageType("test/msg/Imu", IMU).pack
        for k in range(100):
            ns = 10**18 + k * 10_000_000
            stamp = (10**9 + k // 100, k % 100 * 10_000_000)
            writer.add_message(imu, ns, pack(*stamp, "base" * (k % 3), k / 3, -k, k, "x" * k), ns)
            if k % 5 == 0:
                writer.add_message(thrust, ns + 1_000_000, b"\0\1\0\0" + np.float32(k).tobytes(), ns)
                writer.add_message(image, ns, b"{}", ns)
        writer.finish()


def read(path: Path, *names: str, time: str = "t") -> Trace:
    return Trace.read(path, [Channel(name) for name in names] or None, time=time)


def test_a_recording_is_read_by_its_channels(tmp_path):
    """Names, units, values and device times are those of the session, bit for bit, in one episode."""
    arrivals = recording(tmp_path / "flight.mcap", 80)
    trace = Trace.read(tmp_path / "flight.mcap")
    assert [(c.name, c.unit) for c in trace.channels] == [(c.name, c.unit) for c in CHANNELS]
    [episode] = trace.episodes
    assert episode.name == "flight"
    assert episode.t.tolist() == [each.sample.t for each in arrivals]
    np.testing.assert_array_equal(episode.values, np.stack([each.sample.values for each in arrivals]))
    chosen = Trace.read(tmp_path / "flight.mcap", CHANNELS[::-1])
    np.testing.assert_array_equal(chosen.episodes[0].values, episode.values[:, ::-1])


def test_a_restart_of_the_device_begins_an_episode(tmp_path):
    """A restart of the device starts a new episode, because device time starts again."""
    recording(tmp_path / "flight.mcap", 30, boots=(7, 8, 7))
    trace = Trace.read(tmp_path / "flight.mcap")
    assert [(each.name, len(each)) for each in trace.episodes] == [("flight", 30), ("flight#2", 30), ("flight#3", 30)]
    assert {each.t[0] for each in trace.episodes} == {arrival(0).sample.t}


def test_blocks_are_bounded(tmp_path, monkeypatch):
    """A long recording is streamed in blocks bounded in rows and in bytes, and the blocks are complete."""
    recording(tmp_path / "flight.mcap", 250)
    log = formats.open_log(tmp_path / "flight.mcap")
    assert log.rows == 250
    whole = np.concatenate([block.values for block in log.blocks((0, 1), (2, 3, 4))])
    monkeypatch.setattr(formats, "ROWS", 100)
    assert [len(block.values) for block in log.blocks((0,), (2,))] == [100, 100, 50]
    monkeypatch.setattr(mcap_format, "_BYTES", 1000)
    parts = [block.values for block in log.blocks((0, 1), (2, 3, 4))]
    assert max(map(len, parts)) < 40
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_only_a_chunk_is_in_memory(tmp_path, monkeypatch):
    """Streaming keeps at most one block of rows in memory, at any place in the file."""
    recording(tmp_path / "flight.mcap", 2000)
    monkeypatch.setattr(formats, "ROWS", 50)
    stream = formats.open_log(tmp_path / "flight.mcap").blocks((0,), (2,))
    sizes = []
    unpacked = mcap_records.content
    monkeypatch.setattr(mcap_records, "content", lambda record: (sizes.append(len(part := unpacked(record))), part)[1])
    next(stream)
    assert len(sizes) == 1
    assert sum(len(block.values) for block in stream) == 1950
    assert len(sizes) > 5
    assert max(sizes) < 100_000


def test_topics_of_others_become_sparse_columns(tmp_path):
    """Each message is a row with NaN under the other topic. Resampling puts both on one grid."""
    foreign(tmp_path / "bag.mcap")
    trace = read(tmp_path / "bag.mcap", "/imu.gyro", "/thrust.data")
    [episode] = trace.episodes
    assert len(episode) == 120
    gyro, thrust = episode.values.T
    assert (np.isnan(gyro) ^ np.isnan(thrust)).all()
    np.testing.assert_array_equal(gyro[~np.isnan(gyro)], (np.arange(100) / 3).astype(np.float32))
    np.testing.assert_allclose(episode.t, np.sort(episode.t), atol=0)
    data = Data(100, ("/thrust.data",), ("/imu.gyro",), max_age=0.06)
    [even] = read_recordings([tmp_path / "bag.mcap"], data).episodes
    assert len(even) == 100 - 1  # /thrust has spoken 1 ms after the first of /imu
    assert not np.isnan(even.values).any()
    assert even.values[-1].tolist() == [95.0, 33.0]


def test_every_number_of_a_bag_is_a_column(tmp_path):
    """Without a selection all numbers are read, time stamps as seconds. Topics that are not ROS 2 are ignored."""
    foreign(tmp_path / "bag.mcap")
    log = formats.open_log(tmp_path / "bag.mcap")
    names = ["t", "/imu.header.stamp", "/imu.gyro", "/imu.acc[0]", "/imu.acc[1]", "/thrust.data"]
    assert [each.name for each in log.columns] == names
    assert [c.name for c in Trace.read(tmp_path / "bag.mcap").channels] == names[2:]


def test_a_stamp_in_the_messages_may_be_the_time(tmp_path):
    """A time stamp in the messages can be the time column, exact to the microsecond."""
    foreign(tmp_path / "bag.mcap")
    trace = read(tmp_path / "bag.mcap", "/imu.acc.1", time="/imu.header.stamp")
    np.testing.assert_allclose(trace.episodes[0].t, 1e9 + np.arange(100) / 100, rtol=0, atol=1e-6)
    assert trace.episodes[0].values[:, 0].tolist() == list(range(100))


@pytest.mark.parametrize("options", [{"compression": each} for each in CompressionType] + [{"use_chunking": False}])
def test_every_way_to_write_a_bag_is_read(tmp_path, options):
    """Either compression, no chunks, and no index give the same content."""
    foreign(tmp_path / "a.mcap")
    foreign(tmp_path / "b.mcap", **options)
    foreign(tmp_path / "c.mcap", repeat_channels=False, repeat_schemas=False, use_statistics=False, **options)
    expected = Trace.read(tmp_path / "a.mcap").episodes[0]
    for name in ("b", "c"):
        episode = Trace.read(tmp_path / f"{name}.mcap").episodes[0]
        np.testing.assert_array_equal(episode.values, expected.values)
        np.testing.assert_array_equal(episode.t, expected.t)


def test_info_lists_the_topics_of_a_bag(tmp_path):
    """`rtsysid info` on a bag of another program describes its topics, also those that it does not decode."""
    foreign(tmp_path / "bag.mcap")
    info = json.loads(CliRunner().invoke(cli, ["info", str(tmp_path / "bag.mcap"), "--json"]).stdout)
    topics = {each["name"]: each for each in info["topics"]}
    assert {name: each["messages"] for name, each in topics.items()} == {"/image": 20, "/imu": 100, "/thrust": 20}
    assert [each["name"] for each in topics["/imu"]["fields"]] == ["gyro", "acc[0]", "acc[1]"]
    assert topics["/imu"]["stamps"] == ["header.stamp"]
    assert topics["/image"]["note"] == "messages in json, which are not decoded"
    assert CliRunner().invoke(cli, ["info", str(tmp_path / "bag.mcap")]).exit_code == 0


def test_info_of_a_live_recording(tmp_path):
    """`rtsysid info` on a recording of rtsysid lists its channels, message counts and bundle."""
    recording(tmp_path / "a.mcap", 30)
    info = json.loads(CliRunner().invoke(cli, ["info", str(tmp_path / "a.mcap"), "--json"]).stdout)
    assert [each["name"] for each in info["channels"]] == ["u", "Vx", "q[0]"]
    assert info["topics"] == {"/wire": 30, "/samples": 30, "/predictions": 30, "/health": 1}
    assert info["bundle"] == {"id": "0123abcd"}


def test_several_channels_of_samples_are_one_recording(tmp_path):
    """A recording whose samples are on several channels, as `mcap merge` writes it, has the samples of all."""
    recording(tmp_path / "a.mcap", 30, boots=(7, 8))
    with open(tmp_path / "a.mcap", "rb") as source, open(tmp_path / "b.mcap", "wb") as target:
        writer = Writer(target)
        writer.start()
        numbers: dict[int, int] = {}
        for k, (schema, channel, message) in enumerate(
            make_reader(source).iter_messages("/samples", log_time_order=False)
        ):
            if k // 30 not in numbers:
                kind = writer.register_schema(schema.name, schema.encoding, schema.data)
                numbers[k // 30] = writer.register_channel(
                    channel.topic, "cdr", kind, {**channel.metadata, "k": str(k)}
                )
            writer.add_message(numbers[k // 30], message.log_time, message.data, message.publish_time)
        writer.finish()
    assert len(numbers) == 2
    one, two = Trace.read(tmp_path / "a.mcap"), Trace.read(tmp_path / "b.mcap")
    assert [len(each) for each in two.episodes] == [30, 30]
    for mine, theirs in zip(one.episodes, two.episodes, strict=True):
        np.testing.assert_array_equal(mine.values, theirs.values)
        np.testing.assert_array_equal(mine.t, theirs.t)


def refused(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        Trace.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_recording_that_was_not_closed_is_read_and_says_so(tmp_path, caplog):
    """The flushed messages of a stopped recorder are readable, with a warning that names `rtsysid recover`."""
    file = McapFile(tmp_path / "a.mcap", {}, "test", 0)
    channel = file.channel("/a", "test/msg/A", "float32 a\n", {})
    for k in range(5):
        file.add(channel, k * 10**9, 0, b"\0\1\0\0" + np.float32(k).tobytes())
    file.flush(1)
    with caplog.at_level(logging.WARNING):
        trace = Trace.read(tmp_path / "a.mcap")
    file.close()
    assert trace.episodes[0].values[:, 0].tolist() == [0, 1, 2, 3, 4]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("a.mcap was not closed")
    assert f"rtsysid recover {tmp_path / 'a.mcap'}" in line


def test_a_file_without_an_ending_names_the_remedy(tmp_path):
    """A file without a footer raises one line that names `rtsysid recover`."""
    recording(tmp_path / "a.mcap", 200)
    raw = (tmp_path / "a.mcap").read_bytes()
    (tmp_path / "b.mcap").write_bytes(raw[: len(raw) // 2])
    assert f"rtsysid recover {tmp_path / 'b.mcap'}" in refused(tmp_path / "b.mcap")


def test_a_length_beyond_all_memory_is_damage(tmp_path):
    """A chunk that states an impossible length raises a one-line error."""
    recording(tmp_path / "a.mcap", 5)
    raw = bytearray((tmp_path / "a.mcap").read_bytes())
    with open(tmp_path / "a.mcap", "rb") as stream:
        chunk = make_reader(stream).get_summary().chunk_indexes[0]
    length = chunk.chunk_start_offset + chunk.chunk_length - chunk.compressed_size - 8
    assert int.from_bytes(raw[length : length + 8], "little") == chunk.compressed_size
    for top in (0x00, 0x40, 0x80):
        raw[length : length + 8] = (chunk.compressed_size + 1).to_bytes(7, "little") + bytes([top])
        (tmp_path / "b.mcap").write_bytes(raw)
        assert "a record ends early" in refused(tmp_path / "b.mcap")


@pytest.mark.parametrize("content", [b"t,a\n0,1\n", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n" * 2])
def test_what_is_no_bag_is_named(tmp_path, content):
    """A file of another kind with this suffix, or an empty bag, raises a one-line error."""
    (tmp_path / "a.mcap").write_bytes(content)
    refused(tmp_path / "a.mcap")


def test_a_bag_without_numbers_lists_what_it_holds(tmp_path):
    """The error for a bag of unknown message types lists its topics."""
    with open(tmp_path / "a.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start()
        channel = writer.register_channel("/pose", "json", writer.register_schema("Pose", "jsonschema", b"{}"))
        writer.add_message(channel, 1, json.dumps({"x": 1}).encode(), 1)
        writer.finish()
    assert "/pose (Pose: messages in json" in refused(tmp_path / "a.mcap")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_never_changes_a_value(tmp_path_factory, data):
    """A changed byte anywhere leaves the values unchanged, or raises a one-line error."""
    folder = tmp_path_factory.mktemp("flip")
    recording(folder / "a.mcap", 20)
    raw = bytearray((folder / "a.mcap").read_bytes())
    expected = Trace.read(folder / "a.mcap").episodes[0]
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "b.mcap").write_bytes(raw)
    with suppress(TraceError):
        [recovered] = Trace.read(folder / "b.mcap", CHANNELS).episodes
        np.testing.assert_array_equal(recovered.values, expected.values)
        np.testing.assert_array_equal(recovered.t, expected.t)


def test_a_changed_byte_of_the_summary_is_noticed(tmp_path):
    """A changed byte anywhere in the summary, which defines the messages, raises an error."""
    recording(tmp_path / "a.mcap", 20)
    raw = (tmp_path / "a.mcap").read_bytes()
    with open(tmp_path / "a.mcap", "rb") as stream:
        start = make_reader(stream).get_summary().chunk_indexes[0].chunk_start_offset
    for place in range(raw.index(b"ros2msg", start), len(raw), 11):
        changed = bytearray(raw)
        changed[place] ^= 0x10
        (tmp_path / "b.mcap").write_bytes(changed)
        refused(tmp_path / "b.mcap")


@settings(max_examples=60, deadline=None)
@given(part=st.floats(0, 0.999))
def test_a_cut_file_never_passes_for_whole(tmp_path_factory, part):
    """A recording truncated at any byte raises a one-line error."""
    folder = tmp_path_factory.mktemp("cut")
    recording(folder / "a.mcap", 20)
    raw = (folder / "a.mcap").read_bytes()
    (folder / "b.mcap").write_bytes(raw[: int(part * len(raw))])
    refused(folder / "b.mcap")
