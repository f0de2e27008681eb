"""Logs of ROS that are cut off or damaged are read up to the damage, and say what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ros_containers import FIELDS, WAYS, expected
from support.ros_files import (
    Message,
    mcap,
    messages,
    metadata,
    ros1,
    split_folder,
    wired,
)

from rtsysid.errors import TraceError
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.topics import TopicLog
from rtsysid.rosmsg import ROS1

CUT = {"mcap": WAYS["chunks by ZSTD.mcap"], "bag": WAYS["lz4.bag"], "db3": WAYS["plain.db3"]}


def prefix_read(log: TopicLog, sent: list[Message]) -> int:
    """Check that what is read of each topic is the beginning of what was sent; count its messages."""
    count = 0
    for topic in log.topics:
        fields = [each.name for each in topic.fields]
        series = log.read(topic.name, fields)
        t, values = expected(topic.name, sent)
        columns = [FIELDS[topic.name].index(each) for each in fields]
        np.testing.assert_array_equal(series.t, t[: len(series.t)])
        np.testing.assert_array_equal(series.values, values[: len(series.t), columns])
        count += len(series.t)
    return count


@pytest.mark.parametrize("suffix", CUT)
@settings(max_examples=60, deadline=None)
@given(part=st.floats(0, 0.9999))
def test_a_cut_log_is_read_up_to_the_cut(tmp_path_factory, suffix, part):
    """Cut at any byte, a log gives the beginning of each topic and says what is missing, or it is refused."""
    folder, sent = tmp_path_factory.mktemp("cut"), messages(200)
    CUT[suffix](folder / f"whole.{suffix}", sent)
    raw = (folder / f"whole.{suffix}").read_bytes()
    (folder / f"cut.{suffix}").write_bytes(raw[: int(part * len(raw))])
    try:
        log = open_topics(folder / f"cut.{suffix}")
    except TraceError:
        return
    assert log.missing
    assert prefix_read(log, sent) <= len(sent)


@pytest.mark.parametrize(("suffix", "least"), [("mcap", 150), ("bag", 150), ("db3", 100)])
def test_most_of_a_cut_log_is_read(tmp_path, suffix, least):
    """Of a log that lost its last fifth, most messages are read, and the loss is told in bytes."""
    sent = messages(200)
    CUT[suffix](tmp_path / f"whole.{suffix}", sent)
    raw = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(raw[: len(raw) * 4 // 5])
    log = open_topics(tmp_path / f"cut.{suffix}")
    assert prefix_read(log, sent) > least
    assert "bytes cannot be read" in log.missing
    assert log.missing.startswith("cut off")


@pytest.mark.parametrize("suffix", ["mcap", "bag"])
def test_a_damaged_chunk_ends_the_log(tmp_path, suffix):
    """A chunk with a changed byte ends what is read, with the time up to it and the bytes from it on."""
    sent = messages(200)
    CUT[suffix](tmp_path / f"a.{suffix}", sent)
    raw = bytearray((tmp_path / f"a.{suffix}").read_bytes())
    for at in range(len(raw) // 2, len(raw) // 2 + 40):
        raw[at] ^= 0xFF
    (tmp_path / f"a.{suffix}").write_bytes(raw)
    log = open_topics(tmp_path / f"a.{suffix}")
    assert 50 < prefix_read(log, sent) < 350
    assert log.missing.startswith("damaged after ")
    assert "bytes cannot be read" in log.missing


def test_a_bag_that_was_not_closed_is_read(tmp_path):
    """A ROS 1 bag whose recorder was killed has no index: it is read, and said to have lost its end."""
    sent = messages()
    ros1(tmp_path / "a.bag", wired(sent, ROS1))
    raw = (tmp_path / "a.bag").read_bytes()
    at = raw.index(b"index_pos=") + 10
    end = int.from_bytes(raw[at : at + 8], "little")
    (tmp_path / "b.bag.active").write_bytes(raw[:at] + bytes(8) + raw[at + 8 : end])
    log = open_topics(tmp_path / "b.bag.active")
    assert prefix_read(log, sent) == len(sent)
    assert log.missing == "it was not closed: its end may be missing"


def test_a_message_of_another_type_ends_its_topic(tmp_path):
    """A message that does not fit its definition ends its topic, and no other; the messages before it are read."""
    given = wired(messages())
    spoilt = [k for k, each in enumerate(given.messages) if each[0] == 2][20]
    given.messages[spoilt] = (*given.messages[spoilt][:2], b"\0\1\0\0abc")
    mcap(tmp_path / "a.mcap", given)
    log = open_topics(tmp_path / "a.mcap")
    assert [len(log.read(each.name, [each.fields[0].name]).t) for each in log.topics] == [30, 60, 20]
    assert log.missing == "/twist damaged after 0.4 s (a message ends early): what follows cannot be read"


def test_a_split_that_lost_a_file_is_read(tmp_path):
    """Where `metadata.yaml` lists a file that is missing, the others are read, and the loss is told."""
    sent = messages()
    folder = split_folder(tmp_path / "log", wired(sent), ".db3")
    (folder / "log_1.db3").unlink()
    log = open_topics(folder)
    assert prefix_read(log, sent) == len(sent) // 2
    assert "log_1.db3" in log.missing


def test_a_damaged_metadata_file_leaves_the_files(tmp_path):
    """Where `metadata.yaml` cannot be read, all files of the folder are read; a path never leaves the folder."""
    sent = messages()
    folder = split_folder(tmp_path / "log", wired(sent), ".mcap")
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  relative_file_pa")
    log = open_topics(folder)
    assert prefix_read(log, sent) == len(sent)
    assert log.missing.startswith("metadata.yaml cannot be read")
    mcap(tmp_path / "outside.mcap", wired(sent))
    metadata(folder, ["../outside.mcap", "log_0.mcap"])
    assert "outside.mcap" in open_topics(folder).missing
