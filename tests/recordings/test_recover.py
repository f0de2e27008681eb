"""Test rtsysid recover: intact messages of stopped, truncated and damaged recordings are copied unchanged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from support.live_session import CHANNELS, recording

from firmware_bridge.mcap_file import McapFile
from rtsysid.cli import cli
from rtsysid.errors import StorageError, TraceError
from rtsysid.recordings.recover import recover
from rtsysid.recordings.trace import Trace

ROOT = Path(__file__).parents[2]


def stock(path: Path) -> list[tuple]:
    """Read topic, times and bytes of every message with the stock reader, in the order of the file."""
    with open(path, "rb") as stream:
        messages = make_reader(stream, validate_crcs=True).iter_messages(log_time_order=False)
        return [(channel.topic, m.log_time, m.publish_time, m.data) for _, channel, m in messages]


def test_a_whole_recording_comes_out_as_it_was(tmp_path):
    """Recovering an intact recording gives the same file, byte for byte, and reports no loss."""
    recording(tmp_path / "a.mcap", 300)
    rescue = recover(tmp_path / "a.mcap", tmp_path / "b.mcap")
    assert (tmp_path / "b.mcap").read_bytes() == (tmp_path / "a.mcap").read_bytes()
    assert (rescue.messages, rescue.closed, rescue.lost) == (901, True, "nothing")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording of six seconds, not to be changed, and its messages."""
    path = tmp_path_factory.mktemp("whole") / "a.mcap"
    recording(path, 600)
    return path, stock(path)


@settings(max_examples=40)
@given(part=st.floats(0.3, 1))
def test_cut_anywhere_every_whole_chunk_is_rescued(tmp_path_factory, whole, part):
    """The rescue of a file that ends early is its beginning, up to the cut chunk; rescued again it is the same."""
    folder, (path, messages) = tmp_path_factory.mktemp("cut"), whole
    raw = path.read_bytes()
    cut = int(part * len(raw))
    (folder / "b.mcap").write_bytes(raw[:cut])
    with open(path, "rb") as stream:
        chunks = make_reader(stream).get_summary().chunk_indexes
    kept = [each for each in chunks if each.chunk_start_offset + each.chunk_length <= cut]
    rescue = recover(folder / "b.mcap", folder / "c.mcap")
    found = stock(folder / "c.mcap")
    assert found == messages[: len(found)]
    assert (len(found), rescue.damaged) == (rescue.messages, 0)
    with open(folder / "c.mcap", "rb") as stream:
        assert len(make_reader(stream).get_summary().chunk_indexes) == len(kept)
    assert recover(folder / "c.mcap", folder / "d.mcap").lost == "nothing"
    assert (folder / "d.mcap").read_bytes() == (folder / "c.mcap").read_bytes()


def test_a_damaged_chunk_costs_that_chunk_alone(tmp_path):
    """A damaged first chunk, which also defines the channels, loses only that chunk."""
    recording(tmp_path / "a.mcap", 1500)
    raw = bytearray((tmp_path / "a.mcap").read_bytes())
    with open(tmp_path / "a.mcap", "rb") as stream:
        first, *others = make_reader(stream).get_summary().chunk_indexes
    raw[first.chunk_start_offset + 100] ^= 0x55
    (tmp_path / "b.mcap").write_bytes(raw)
    rescue = recover(tmp_path / "b.mcap", tmp_path / "c.mcap")
    assert (rescue.damaged, rescue.closed, rescue.torn_bytes) == (1, True, 0)
    assert "1 damaged chunks" in rescue.lost
    messages = stock(tmp_path / "c.mcap")
    assert len(others) >= 2
    assert messages == stock(tmp_path / "a.mcap")[-len(messages) :]
    assert Trace.read(tmp_path / "c.mcap").channels == Trace.read(tmp_path / "a.mcap").channels


def test_what_was_flushed_and_not_closed_is_rescued_with_an_index(tmp_path):
    """A file that was not closed is recovered completely, and the loss of up to one second is reported."""
    file = McapFile(tmp_path / "a.mcap", {"bundle": {"id": "x"}}, "test", 0)
    channel = file.channel("/a", "test/msg/A", "uint8 a\n", {})
    for k in range(5):
        file.add(channel, k * 10**9, k, bytes([0, 1, 0, 0, k]))
    file.flush(1)
    rescue = recover(tmp_path / "a.mcap", tmp_path / "b.mcap")
    file.close()
    assert (rescue.messages, rescue.seconds, rescue.closed, rescue.torn_bytes) == (5, 4.0, False, 0)
    assert rescue.lost == "messages not yet written when the recorder stopped, at most one second"
    assert len(stock(tmp_path / "b.mcap")) == 5
    with open(tmp_path / "b.mcap", "rb") as stream:
        assert [each.metadata for each in make_reader(stream).iter_metadata()] == [{"id": "x"}]


def test_bags_of_others_are_rescued_too(tmp_path):
    """Attachments, messages outside chunks, and channels without messages of another writer are kept."""
    with open(tmp_path / "a.mcap", "wb") as stream:
        writer = Writer(stream, use_chunking=False)
        writer.start(profile="x", library="another")
        writer.register_channel("/empty", "json", 0)
        channel = writer.register_channel("/a", "json", writer.register_schema("A", "jsonschema", b"{}"))
        writer.add_attachment(1, 2, "note.txt", "text/plain", b"hello")
        for k in range(3):
            writer.add_message(channel, k, b"{}", k)
        writer.finish()
    recover(tmp_path / "a.mcap", tmp_path / "b.mcap")
    with open(tmp_path / "b.mcap", "rb") as stream:
        reader = make_reader(stream)
        assert [each.data for each in reader.iter_attachments()] == [b"hello"]
        assert {each.topic for each in reader.get_summary().channels.values()} == {"/empty", "/a"}
        assert (reader.get_header().profile, reader.get_header().library) == ("x", "another")
    assert stock(tmp_path / "b.mcap") == stock(tmp_path / "a.mcap")


def test_nothing_is_overwritten_and_nothing_is_invented(tmp_path):
    """An existing output, a file that is not MCAP, and one without an intact message raise errors and leave no file."""
    recording(tmp_path / "a.mcap", 3)
    before = (tmp_path / "a.mcap").read_bytes()
    (tmp_path / "there.mcap").write_text("before")
    with pytest.raises(StorageError, match="exists already"):
        recover(tmp_path / "a.mcap", tmp_path / "there.mcap")
    recover(tmp_path / "a.mcap", tmp_path / "there.mcap", overwrite=True)
    assert stock(tmp_path / "there.mcap") == stock(tmp_path / "a.mcap")
    (tmp_path / "there.mcap").unlink()
    with pytest.raises(StorageError, match="it is the input"):
        recover(tmp_path / "a.mcap", tmp_path / "a.mcap", overwrite=True)
    assert (tmp_path / "a.mcap").read_bytes() == before
    (tmp_path / "b.mcap").write_text("t,a\n0,1\n")
    (tmp_path / "c.mcap").write_bytes(before[:60])
    for name, words in (("b", "not an MCAP file"), ("c", "no intact message"), ("none", "no such file")):
        with pytest.raises(TraceError, match=words):
            recover(tmp_path / f"{name}.mcap", tmp_path / "out.mcap")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.mcap", "b.mcap", "c.mcap"]


def test_the_verb_says_what_was_rescued_and_what_was_lost(tmp_path):
    """`rtsysid recover` prints the new file, its messages and seconds, and the loss."""
    recording(tmp_path / "a.mcap", 100)
    raw = (tmp_path / "a.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(raw[:-500])
    done = CliRunner().invoke(cli, ["recover", str(tmp_path / "cut.mcap")], catch_exceptions=False)
    assert done.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["to"] == str(tmp_path / "cut.recovered.mcap")
    assert (lines["messages"], lines["seconds"]) == ("301", "995")
    assert lines["lost"].startswith("messages not yet written")
    done = CliRunner().invoke(cli, ["recover", str(tmp_path / "a.mcap"), "-o", str(tmp_path / "b.mcap"), "--json"])
    assert json.loads(done.stdout)["lost"] == "nothing"
    assert (tmp_path / "a.mcap").read_bytes() == raw


RECORDING = """
import sys, time
from support.live_session import CHANNELS, OUTPUTS, Arrival, answer
from rtsysid.spec import Sample
from firmware_bridge.recorder import Recorder
import numpy as np
recorder = Recorder.open(sys.argv[1], channels=CHANNELS, outputs=OUTPUTS)
begun = time.monotonic()
for k in range(1_000_000):
    device_us = round((time.monotonic() - begun) * 1e6)
    sample = Sample(device_us * 1e-6, np.full(3, k, np.float32))
    arrival = Arrival(sample, device_us, 0.0, time.monotonic(), k % 65536, 1)
    recorder.wire("rx", time.monotonic_ns(), b"x" * 64)
    recorder.sample(arrival)
    recorder.prediction(answer(arrival))
    print(k, device_us, flush=True)
    time.sleep(0.001)
"""


def test_a_killed_recorder_loses_a_second_at_most(tmp_path):
    """After kill -9 the recovered file lacks at most the last second, and no earlier sample."""
    path = tmp_path / "a.mcap"
    last_us = 0
    with subprocess.Popen(
        [sys.executable, "-c", RECORDING, path], stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # killed while it wrote
            last_us = int(line.split()[1])
            if last_us > 3_150_000:
                process.send_signal(signal.SIGKILL)
    assert last_us > 3_150_000
    recover(path, tmp_path / "b.mcap")
    [episode] = Trace.read(tmp_path / "b.mcap", CHANNELS).episodes
    assert last_us * 1e-6 - episode.t[-1] <= 1.0
    assert episode.values[:, 0].tolist() == list(range(len(episode)))
    assert len(episode) > 500
