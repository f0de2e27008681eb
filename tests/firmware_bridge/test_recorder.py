"""The recorder: what others read from its files, what it costs the control thread, and what a full disk leaves."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support.live_session import CHANNELS, OUTPUTS, Arrival, answer, arrival, fill, recording

from firmware_bridge.mcap_file import FLUSH_NS, McapFile
from firmware_bridge.recorder import Recorder
from rtsysid.errors import StorageError
from rtsysid.spec import Channel, Sample

ROOT = Path(__file__).parents[2]


def stock(path: Path, topic: str | None = None) -> list:
    """Messages as the stock reader of the MCAP project finds them."""
    with open(path, "rb") as stream:
        return [message for _, _, message in make_reader(stream, validate_crcs=True).iter_messages(topic)]


def by_topic(path: Path) -> dict[str, list]:
    """Messages by topic as rosbags decodes them."""
    found: dict[str, list] = {}
    store = get_typestore(Stores.EMPTY)
    with Reader(path) as bag:
        for connection in bag.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, _, raw in bag.messages():
            found.setdefault(connection.topic, []).append(store.deserialize_cdr(raw, connection.msgtype))
    return found


def test_rosbags_reads_every_topic_back(tmp_path):
    """An independent ROS 2 reader finds each sample, prediction, byte and health figure with the recorded value."""
    arrivals = recording(tmp_path / "a.mcap", 50)
    found = by_topic(tmp_path / "a.mcap")
    for one, other in zip(arrivals, found["/samples"], strict=True):
        assert (other.stamp.sec * 10**6 + other.stamp.nanosec // 1000) == one.device_t_us
        assert (other.seq, other.boot) == (one.seq, one.boot)
        assert [other.u, other.vx, other.q_0] == one.sample.values.tolist()
    for one, other in zip(map(answer, arrivals), found["/predictions"], strict=True):
        assert (other.t, other.age, other.status, other.flags) == (one.prediction.t, one.age_s, one.status, one.status)
        assert (other.seq, other.boot, other.sent) == (one.arrival.seq, one.arrival.boot, True)
        assert [other.vx, other.q_0] == one.prediction.y.tolist()
    assert [bytes(each.data) for each in found["/wire"]] == [b"\1\2\3" * (k % 4) for k in range(50)]
    assert {each.direction for each in found["/wire"]} == {found["/wire"][0].RX}
    [health] = found["/health"]
    assert (health.state, health.rate_hz, health.link_crc) == ("streaming", 99.9, 0)
    assert np.isnan(health.link_uid)


def test_times_and_tables_stand_where_the_documentation_says(tmp_path):
    """log_time is the host's, publish_time the device's; metadata comes first; channels name their units."""
    path = tmp_path / "a.mcap"
    arrivals = recording(path, 3)
    found = stock(path, "/samples")
    assert [each.log_time for each in found] == [round(each.received_s * 1e9) for each in arrivals]
    assert [each.publish_time for each in found] == [each.device_t_us * 1000 for each in arrivals]
    with open(path, "rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        metadata = {each.name: each.metadata for each in reader.iter_metadata()}
    assert max(each.offset for each in summary.metadata_indexes) < summary.chunk_indexes[0].chunk_start_offset
    assert metadata["bundle"] == {"id": "0123abcd"}
    assert set(metadata["rtsysid.recording"]) == {"format", "monotonic_ns", "unix_ns"}
    table = {channel.topic: json.loads(channel.metadata.get("channels", "[]")) for channel in summary.channels.values()}
    assert [(each["name"], each["unit"], each["role"]) for each in table["/samples"]] == [
        ("u", "V", "input"), ("Vx", "m/s", "output"), ("q[0]", "", "output"),
    ]  # fmt: skip
    assert [each["field"] for each in table["/predictions"]] == ["vx", "q_0"]


@settings(max_examples=40, deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6, unique=True))
@example(names=["class", "Class", "stamp", "q[0]", "q 0", "9", "_", "vx_2", "vx", "VX"])
def test_any_channel_name_becomes_a_field_of_its_own(tmp_path_factory, names):
    """Channels of any names are recorded under distinct names that ROS 2 allows, and rosbags reads them."""
    path = tmp_path_factory.mktemp("names") / "a.mcap"
    width = len(names)
    with Recorder.open(path, channels=[Channel(name) for name in names]) as recorder:
        recorder.sample(arrival(3, width=width))
    with open(path, "rb") as stream:
        channels = make_reader(stream).get_summary().channels
    [metadata] = [channel.metadata for channel in channels.values() if channel.topic == "/samples"]
    fields = [each["field"] for each in json.loads(metadata["channels"])]
    assert [each["name"] for each in json.loads(metadata["channels"])] == names
    assert all(re.fullmatch(r"[a-z](_?[a-z0-9]+)*", field) for field in fields)
    assert len(set(fields) | {"stamp", "seq", "boot"}) == width + 3
    [sample] = by_topic(path)["/samples"]
    assert [getattr(sample, field) for field in fields] == arrival(3, width=width).sample.values.tolist()


def test_health_figures_may_come_and_go(tmp_path):
    """New figures begin a new version of the message; what is missing is NaN or empty, and nothing is refused."""
    with Recorder.open(tmp_path / "a.mcap", channels=CHANNELS) as recorder:
        recorder.health({"rate": 1, "statuses": {"ok": 5}})
        recorder.health({"rate": None, "statuses": {"ok": 6, "stale": 1}, "state": "lost"})
        recorder.health({"rate": 3, "statuses": {}, "state": None})
    found = by_topic(tmp_path / "a.mcap")["/health"]
    assert [each.__msgtype__.rpartition("/")[2] for each in found] == ["Health", "Health2", "Health2"]
    assert [each.statuses_ok for each in found[:2]] == [5, 6]
    assert (found[1].statuses_stale, found[1].state, found[2].state) == (1, "lost", "")
    assert np.isnan([found[1].rate, found[2].statuses_ok]).all()


def test_a_file_that_exists_is_never_written_over(tmp_path):
    """A second recording of one name is refused in one line, and the first stays as it is."""
    recording(tmp_path / "a.mcap")
    before = (tmp_path / "a.mcap").read_bytes()
    with pytest.raises(StorageError, match="it exists already; choose another name"):
        Recorder.open(tmp_path / "a.mcap", channels=CHANNELS)
    assert (tmp_path / "a.mcap").read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    """Where no file can be made, the recorder says so at once and leaves nothing behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"a\.mcap: .*file is not a folder; choose another place"):
        Recorder.open(tmp_path / "file" / "a.mcap", channels=CHANNELS)


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path, monkeypatch):
    """Where not even the beginning can be written, the recorder says so at once and leaves no file."""
    monkeypatch.setattr(os, "pwrite", broken(errno.ENOSPC))
    with pytest.raises(StorageError, match="No space left on device"):
        Recorder.open(tmp_path / "a.mcap", channels=CHANNELS)
    assert not list(tmp_path.iterdir())


def broken(number: int) -> Callable:
    """A call that fails as the system would."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def plain_file(path: Path) -> tuple[McapFile, int]:
    file = McapFile(path, {}, "test", now_ns=0)
    return file, file.channel("/a", "test/msg/A", "uint8 a\n", {})


def test_flushing_goes_by_the_clock_that_it_is_given(tmp_path, monkeypatch):
    """Nothing reaches the disk before its time; then all of it does, with one fsync, and any reader opens the file."""
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))
    file, channel = plain_file(tmp_path / "a.mcap")
    begun = len(synced)
    file.add(channel, 5, 6, b"\0\1\0\0\7")
    file.flush_due(FLUSH_NS - 1)
    assert (len(synced), file.kept, stock(tmp_path / "a.mcap")) == (begun, 0, [])
    file.flush_due(FLUSH_NS)
    assert (len(synced), file.kept) == (begun + 1, 1)
    assert [(each.log_time, each.publish_time) for each in stock(tmp_path / "a.mcap")] == [(5, 6)]
    file.flush_due(2 * FLUSH_NS)
    assert len(synced) == begun + 1  # with nothing to write the disk is left alone
    file.close()
    assert len(stock(tmp_path / "a.mcap")) == 1


def test_after_every_flush_the_file_is_whole(tmp_path):
    """Whenever the process ends, what was flushed is read by the stock reader without any rescue."""
    file, channel = plain_file(tmp_path / "a.mcap")
    for k in range(20):
        file.add(channel, k, k, b"\0\1\0\0" + bytes([k]) * 1000)
        file.flush(k)
        assert [each.log_time for each in stock(tmp_path / "a.mcap")] == list(range(k + 1))


def test_the_disk_is_touched_by_the_side_thread_alone(tmp_path, monkeypatch):
    """No call of the control thread waits for the disk once the recording has begun."""
    threads: list[str] = []

    def seen(call: Callable) -> Callable:
        def noted(*arguments):
            threads.append(threading.current_thread().name)
            return call(*arguments)

        return noted

    recorder = Recorder.open(tmp_path / "a.mcap", channels=CHANNELS, outputs=OUTPUTS)
    monkeypatch.setattr(os, "fsync", seen(os.fsync))
    monkeypatch.setattr(os, "pwrite", seen(os.pwrite))
    fill(recorder, [arrival(k) for k in range(300)])
    recorder.close()
    assert set(threads) == {"recorder"}


def test_a_full_queue_drops_and_counts(tmp_path, monkeypatch):
    """While the disk does not respond the queue fills; messages beyond it are counted, and the rest is recorded."""
    now, stuck, go_on = [0], threading.Event(), threading.Event()
    real = os.pwrite

    def slow(*arguments):
        stuck.set()
        assert go_on.wait(60)
        return real(*arguments)

    recorder = Recorder.open(tmp_path / "a.mcap", channels=CHANNELS, clock=lambda: now[0], limit=10)
    monkeypatch.setattr(os, "pwrite", slow)
    recorder.sample(arrival(0))
    now[0] = 2 * FLUSH_NS
    assert stuck.wait(60)
    for k in range(1, 16):
        recorder.sample(arrival(k))
    assert recorder.dropped == 5
    go_on.set()
    recorder.close()
    assert (recorder.dropped, recorder.error) == (5, None)
    assert len(stock(tmp_path / "a.mcap")) == 11


def test_a_torn_write_is_taken_back(tmp_path, monkeypatch):
    """When the disk is full in the middle of a write, what was flushed before stays readable by the stock reader."""
    file, channel = plain_file(tmp_path / "a.mcap")
    noise = np.random.default_rng(0).bytes(5000)
    file.add(channel, 1, 1, b"\0\1\0\0" + noise)
    file.flush(1)
    largest = os.path.getsize(tmp_path / "a.mcap") + 1000
    real = os.pwrite

    def full(descriptor: int, data: bytes, at: int) -> int:
        if at >= largest:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: largest - at], at)

    monkeypatch.setattr(os, "pwrite", full)
    file.add(channel, 2, 2, b"\0\1\0\0" + noise)
    file.flush(2)
    assert "No space left on device" in str(file.error)
    assert (file.added, file.kept) == (2, 1)
    file.close()
    assert [each.log_time for each in stock(tmp_path / "a.mcap")] == [1]


DISK_FULL = """
import resource, sys
from support.live_session import CHANNELS, OUTPUTS, arrival, fill
from firmware_bridge.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
now = [0]
recorder = Recorder.open(sys.argv[1], channels=CHANNELS, outputs=OUTPUTS, clock=lambda: now[0])
k = 0
while recorder.error is None:
    fill(recorder, [arrival(k)])
    now[0], k = now[0] + 50_000_000, k + 1
dropped = recorder.dropped
fill(recorder, [arrival(k)])
recorder.close()
print(k, dropped, recorder.dropped)
"""


def test_a_full_disk_costs_the_recording_and_nothing_else(tmp_path):
    """At the limit of a real file the session goes on, one line says why, drops are counted, the past is readable."""
    path = tmp_path / "a.mcap"
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, path], capture_output=True, text=True, check=True, cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    [line] = done.stderr.splitlines()
    assert line == f"recording {path}: File too large; what was written stays, free space before the next one"
    sessions, before, after = map(int, done.stdout.split())
    assert 0 < before < after
    found = stock(path)
    assert len(found) == 4 * (sessions + 1) - after
    assert os.path.getsize(path) <= 40_000


def test_an_error_is_said_once(tmp_path, monkeypatch, caplog):
    """The line about a disk that failed comes once in the log, however long the session goes on."""
    now = [0]
    recorder = Recorder.open(tmp_path / "a.mcap", channels=CHANNELS, clock=lambda: now[0])
    monkeypatch.setattr(os, "pwrite", broken(errno.EIO))
    with caplog.at_level(logging.ERROR):
        for k in range(3):
            recorder.sample(arrival(k))
            now[0] += 2 * FLUSH_NS
        recorder.close()
    assert [record.getMessage() for record in caplog.records].count(str(recorder.error)) == 1
    assert recorder.dropped == 3


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(width=32), min_size=3, max_size=3),
    device_us=st.integers(0, 2**50),
    seq=st.integers(0, 65535),
    boot=st.integers(0, 2**32 - 1),
)
def test_any_sample_comes_back_bit_for_bit(tmp_path_factory, values, device_us, seq, boot):
    """Every float32, NaN and infinity among them, every device time and every boot number is what rosbags reads."""
    path = tmp_path_factory.mktemp("any") / "a.mcap"
    array = np.array(values, np.float32)
    with Recorder.open(path, channels=CHANNELS) as recorder:
        recorder.sample(Arrival(Sample(device_us * 1e-6, array), device_us, 1.0, 1.5, seq, boot))
    [sample] = by_topic(path)["/samples"]
    np.testing.assert_array_equal(np.array([sample.u, sample.vx, sample.q_0], np.float32), array)
    assert (sample.seq, sample.boot) == (seq, boot)
    assert sample.stamp.sec * 10**9 + sample.stamp.nanosec == device_us * 1000
    assert stock(path)[0].publish_time == device_us * 1000
