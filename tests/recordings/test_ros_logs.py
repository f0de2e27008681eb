"""Logs of ROS: the same messages give the same arrays from every container, and damage is read up to and told."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mutations import mutated_bytes
from support.ros_containers import FIELDS, WAYS, expected
from support.ros_files import (
    COMMAND,
    START,
    STATE,
    TOPICS,
    Message,
    db3,
    halves,
    joint_state,
    mcap,
    messages,
    ros1,
    split_folder,
    wired,
)

from rtsysid.errors import TraceError
from rtsysid.recordings import mcap_records
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.ros import ros1 as ros1_bags
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.topics import TopicLog, TopicRequest, read_each
from rtsysid.recordings.trace import Trace
from rtsysid.rosmsg import CDR, ROS1
from rtsysid.spec import Channel


def check_equal(log: TopicLog, sent: list[Message]) -> None:
    assert [(each.name, each.type_name) for each in log.topics] == sorted(TOPICS.items())
    for topic in log.topics:
        assert {each.name for each in topic.fields} == set(FIELDS[topic.name]), topic
        assert topic.stamps == (() if topic.type_name == COMMAND else ("header.stamp",))
        assert topic.messages in (None, sum(each.topic == topic.name for each in sent))
        series = log.read(topic.name, FIELDS[topic.name])
        t, values = expected(topic.name, sent)
        np.testing.assert_array_equal(series.t, t)
        np.testing.assert_array_equal(series.arrival, t)
        np.testing.assert_array_equal(series.values, values)
    stamped = log.read("/twist", ["twist.linear.x"], "header.stamp")
    np.testing.assert_allclose(stamped.t, stamped.arrival - 22, rtol=0, atol=1e-5)
    assert log.missing == ""


@pytest.mark.parametrize("way", WAYS)
def test_every_container_gives_the_same_arrays(way, tmp_path):
    """Whatever container and compression, in one file or split: topics, fields, times and values are those recorded."""
    sent = messages()
    WAYS[way](tmp_path / way, sent)
    before = sorted(tmp_path.rglob("*"))
    check_equal(open_topics(tmp_path / way), sent)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written next to a recording


@pytest.mark.parametrize("way", WAYS)
def test_messages_come_in_the_order_of_log_time(way, tmp_path):
    """Messages that were written in any order are read in the order of their log time."""
    sent = messages()
    shuffled = [sent[k] for k in np.random.default_rng(0).permutation(len(sent))]
    WAYS[way](tmp_path / way, shuffled)
    check_equal(open_topics(tmp_path / way), sent)


def test_several_channels_of_one_topic_are_one_topic(tmp_path):
    """Two publishers of a topic are one topic, in MCAP and in ROS 1, with the joints of both."""
    sent = [
        Message("/joint_states", START + k * 1000, joint_state(k, ["arm"] if k % 2 else ["left", "right"]))
        for k in range(20)
    ]
    for path, write, wire in ((tmp_path / "a.mcap", mcap, CDR), (tmp_path / "a.bag", ros1, ROS1)):
        one = wired(sent, wire)
        two = [(k % 2 * len(one.topics), *each[1:]) for k, each in enumerate(one.messages)]
        write(path, one._replace(topics=one.topics * 2, messages=two))
        log = open_topics(path)
        [topic] = [each for each in log.topics if each.name == "/joint_states"]
        assert (topic.messages, len(topic.fields)) == (20, 6)
        values = log.read("/joint_states", ["position[arm]", "position[left]"]).values
        np.testing.assert_array_equal(np.isnan(values), [[k % 2 == 0, k % 2 == 1] for k in range(20)])


def test_another_type_of_a_topic_is_told(tmp_path):
    """Of two types of one topic that with more messages is read, and the note names the other."""
    one = wired(messages(20))
    topics = [("/commands", type_name, text) for _, type_name, text in one.topics]
    mcap(tmp_path / "a.mcap", one._replace(topics=topics))
    [topic] = open_topics(tmp_path / "a.mcap").topics
    assert (topic.type_name, topic.messages) == (STATE, 20)
    assert f"other types are not read: {COMMAND} (10 messages)" in topic.note


def test_what_is_not_read_is_told(tmp_path):
    """The note of a topic says which arrays are left out, and why its messages cannot be decoded."""
    text = "float32[] ranges\nuint8[] data\nint8 ok\n"
    payload = b"\0\1\0\0" + np.uint32(90).tobytes() + bytes(360) + np.uint32(2).tobytes() + b"ab\5"
    given = wired([])._replace(topics=[("/scan", "x/msg/Scan", text)], messages=[(0, START, payload)])
    mcap(tmp_path / "a.mcap", given)
    [topic] = open_topics(tmp_path / "a.mcap").topics
    assert [each.name for each in topic.fields] == ["ok"]
    assert topic.note == "not read: ranges of 90 elements, data"
    db3(tmp_path / "a.db3", given, definitions=False)
    with pytest.raises(
        TraceError, match=r"/scan \(x/msg/Scan: its definition is neither in the file nor part of ROS\)"
    ):
        open_topics(tmp_path / "a.db3")


def test_names_of_earlier_releases_are_known(tmp_path):
    """An element of a short array is found by its index in brackets, and by the dot of earlier releases."""
    given = wired([])._replace(
        topics=[("/a", "x/msg/A", "float64[3] c\n")], messages=[(0, START, b"\0\1\0\0" + np.arange(3.0).tobytes())]
    )
    mcap(tmp_path / "a.mcap", given)
    log = open_topics(tmp_path / "a.mcap")
    np.testing.assert_array_equal(log.read("/a", ["c.2", "c[1]"]).values, [[2, 1]])
    trace = Trace.read(tmp_path / "a.mcap", [Channel("/a.c.2"), Channel("/a.c[0]")])
    np.testing.assert_array_equal(trace.episodes[0].values, [[2, 0]])


def test_what_does_not_exist_lists_near_names(tmp_path):
    """A topic, a field or a stamp that does not exist is one line with near names."""
    mcap(tmp_path / "a.mcap", wired(messages(4)))
    log = open_topics(tmp_path / "a.mcap")
    with pytest.raises(TraceError, match="no topic '/twists'; there is '/twist'"):
        log.read("/twists", [])
    with pytest.raises(TraceError, match=r"position\[lefd\].*there is 'position\[left\]'"):
        log.read("/joint_states", ["position[lefd]"])
    with pytest.raises(TraceError, match=r"time stamp .*there is .*header\.stamp"):
        log.read("/twist", [], "header.time")


def test_a_folder_of_logs_is_one_recording(tmp_path):
    """`Trace.read` takes a folder with `metadata.yaml` as one recording, alone and among others."""
    split_folder(tmp_path / "log", wired(messages()), ".db3")
    mcap(tmp_path / "other.mcap", wired(messages()))
    channels = [Channel("/twist.twist.linear.x"), Channel("/joint_states.position[left]")]
    assert [each.name for each in Trace.read(tmp_path / "log", channels).episodes] == ["log"]
    trace = Trace.read(tmp_path, channels)
    assert [each.name for each in trace.episodes] == ["log", "other"]
    np.testing.assert_array_equal(trace.episodes[0].values, trace.episodes[1].values)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "DROP TABLE messages; CREATE VIEW messages AS SELECT 1 AS topic_id, 2 AS timestamp, 3 AS data",
            "table messages",
        ),
        (
            "DROP TABLE topics; CREATE TABLE topics(id, name, type, serialization_format AS ('cdr'))",
            "serialization_format",
        ),
        ("DROP TABLE topics", "table topics"),
    ],
)
def test_nothing_in_a_database_is_executed(tmp_path, sql, says):
    """A view or a computed column in place of a stored one is refused, since reading it would run what it says."""
    db3(tmp_path / "a.db3", wired(messages(4)))
    with sqlite3.connect(tmp_path / "a.db3") as connection:
        connection.executescript(sql)
    connection.close()
    with pytest.raises(TraceError, match=f"no database of ROS 2 .*{says}"):
        open_topics(tmp_path / "a.db3")


def test_what_a_killed_recorder_left_in_its_journal_is_read(tmp_path):
    """Messages that are only in the write-ahead log of a database are read, and its files stay as they are."""
    sent = messages()
    first, second = halves(wired(sent))
    db3(tmp_path / "live.db3", first)
    connection = sqlite3.connect(tmp_path / "live.db3")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executemany("INSERT INTO messages VALUES (NULL, ?, ?, ?)", second.messages)
    connection.commit()
    for name in ("a.db3", "a.db3-wal"):
        (tmp_path / name).write_bytes((tmp_path / name.replace("a.", "live.")).read_bytes())
    connection.close()
    kept = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    check_equal(open_topics(tmp_path / "a.db3"), sent)
    assert kept == {each.name: each.read_bytes() for each in tmp_path.iterdir()}


def test_definitions_in_idl_are_understood(tmp_path):
    """A type that is defined in IDL is read like one in the text of ROS."""
    idl = "module x { module msg { struct P { double a; sequence<double> b; }; }; };"
    payload = b"\0\1\0\0" + np.float64(1.5).tobytes() + np.uint32(1).tobytes() + bytes(4) + np.float64(2.5).tobytes()
    given = wired([])._replace(topics=[("/p", "x/msg/P", idl)], messages=[(0, START, payload)])
    db3(tmp_path / "a.db3", given)
    with sqlite3.connect(tmp_path / "a.db3") as connection:
        connection.execute("UPDATE message_definitions SET encoding = 'ros2idl'")
    connection.close()
    np.testing.assert_array_equal(open_topics(tmp_path / "a.db3").read("/p", ["a", "b[0]"]).values, [[1.5, 2.5]])


def test_several_topics_are_read_in_one_pass(tmp_path, monkeypatch):
    """Asked together, topics give what each gives alone, and the file is read once."""
    mcap(tmp_path / "a.mcap", wired(messages()))
    log = open_topics(tmp_path / "a.mcap")
    requests = [TopicRequest(name, fields) for name, fields in FIELDS.items()]
    requests.append(TopicRequest("/twist", ["twist.linear.x"], "header.stamp"))
    alone = [log.read(*each) for each in requests]
    passes, stream = [], Bag.stream
    monkeypatch.setattr(Bag, "stream", lambda bag, channels: passes.append(channels) or stream(bag, channels))
    for mine, theirs in zip(read_each(log, requests), alone, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(passes) == 1


@pytest.mark.parametrize(("name", "module"), [("a.mcap", mcap_records), ("a.bag", ros1_bags)])
def test_a_chunk_without_the_topic_is_passed_over(tmp_path, monkeypatch, name, module):
    """With an index, chunks that hold no message of the topic are not unpacked, in MCAP and in ROS 1."""
    sent = sorted(messages(200), key=lambda each: (each.topic, each.ns))  # topic after topic
    mcap(tmp_path / "a.mcap", wired(sent))
    ros1(tmp_path / "a.bag", wired(sent, ROS1), "lz4")
    log = open_topics(tmp_path / name)
    assert log.topics
    unpacked, unpack = [], module.unpack_chunk
    monkeypatch.setattr(module, "unpack_chunk", lambda *each: unpacked.append(each) or unpack(*each))
    assert len(log.read("/commands", ["data[0]"]).t) == 100
    few = len(unpacked)
    log.read_each([TopicRequest(each, []) for each in TOPICS])
    assert 0 < few < (len(unpacked) - few) / 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_metadata_file_is_read_or_refused(tmp_path_factory, seed):
    """Whatever `metadata.yaml` says, the folder is a log, or refused in one line."""
    folder = split_folder(tmp_path_factory.mktemp("any") / "log", wired(messages(4)), ".mcap")
    chance, about = random.Random(seed), folder / "metadata.yaml"
    text = mutated_bytes(about.read_bytes(), chance)
    about.write_bytes(text.replace(b"- log", chance.choice([b"- log", b"- {a: *b", b"&a [*a, ", b"- ../", b"!!int "])))
    try:
        log = open_topics(folder)
    except TraceError:
        return
    assert {each.name for each in log.topics} <= set(TOPICS)
