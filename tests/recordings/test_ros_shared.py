"""Shared logs of ROS: every container of one flight gives equal arrays, and the values are those of rosbags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.convert.converter import convert
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rtsysid.recordings.home import data_folder
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.topics import Series, TopicLog

JAY = "mav_jay_2017-04-10-10-12-44"
BAGS = ("mav_jay_2017-04-10-10-09-32.bag", "ros1/zaki_may9_before1.bag")


def shared(name: str) -> Path:
    """Return a shared log, or skip the test that wants it."""
    folder = data_folder()
    if folder is None or not (folder / "logs" / name).exists():
        pytest.skip(f"wants the recording logs/{name} under RTSYSID_DATA")
    return folder / "logs" / name


def everything(log: TopicLog) -> dict[tuple[str, str], Series]:
    """Read every field of every topic, once for each stamp."""
    return {
        (topic.name, stamp): log.read(topic.name, [each.name for each in topic.fields], stamp)
        for topic in log.topics
        for stamp in ("", *topic.stamps)
    }


def check_equal(one: Path, other: Path, without: tuple[str, ...] = ()) -> None:
    first, second = open_topics(one), open_topics(other)
    topics = [each for each in first.topics if each.name not in without]
    assert [each._replace(note="") for each in topics] == [each._replace(note="") for each in second.topics]
    left, right = everything(first), everything(second)
    for key, series in right.items():
        assert len(series.t) > 100
        for mine, theirs in zip(left[key], series, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert first.missing == second.missing == ""


def test_a_database_equals_mcap():
    """The database and the MCAP file of one flight give equal topics and equal arrays, to the last bit."""
    check_equal(shared(f"{JAY}_db3"), shared(f"{JAY}_mcap"))


def test_a_bag_of_ros_1_equals_its_conversion():
    """The bag of a ground robot and its conversion to a database, which left out /scan, give equal arrays."""
    check_equal(shared(BAGS[1]), shared("zaki_may9_before1_db3"), without=("/scan",))


@pytest.mark.parametrize(
    ("storage", "compress", "mode"), [("mcap", None, "none"), ("mcap", "zstd", "message"), ("sqlite3", "zstd", "file")]
)
def test_a_bag_of_ros_1_equals_any_conversion(tmp_path, storage, compress, mode):
    """A bag converted to any storage and compression of ROS 2 gives equal arrays."""
    bag, none = shared(BAGS[0]), get_typestore(Stores.EMPTY)
    convert(
        [bag], tmp_path / "log", storage, 9, compress, mode, none, get_typestore(Stores.ROS2_HUMBLE), [], [], [], []
    )
    check_equal(bag, tmp_path / "log")


@pytest.mark.parametrize("name", [*BAGS, f"{JAY}_db3"])
def test_values_are_those_of_another_reader(name):
    """Each number of each topic that has a field is what rosbags reads."""
    path = shared(name)
    log = open_topics(path)
    with AnyReader([path]) as theirs:
        for topic in (each for each in log.topics if each.fields):
            names = [each.name for each in topic.fields]
            connections = [each for each in theirs.connections if each.topic == topic.name]
            rows, times = [], []
            for connection, ns, raw in theirs.messages(connections):
                message = theirs.deserialize(raw, connection.msgtype)
                rows.append([number_at(message, name) for name in names])
                times.append(ns // 1000 * 1e-6)
            series = log.read(topic.name, names)
            np.testing.assert_array_equal(series.t, times)
            np.testing.assert_array_equal(series.values, np.array(rows, float))


def number_at(message: object, name: str) -> float:
    for part in name.split("."):
        attribute, _, index = part.rstrip("]").partition("[")
        message = getattr(message, attribute)
        message = message[int(index)] if index else message
    return float(message)
