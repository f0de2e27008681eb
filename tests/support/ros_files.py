"""Write the same messages as each program that records ROS writes them: ROS 1 bags, databases and MCAP of ROS 2."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from rtsysid.rosmsg import CDR, ROS1, MessageType, Wire

STATE, COMMAND, TWIST = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray", "geometry_msgs/msg/TwistStamped"
TOPICS = {"/joint_states": STATE, "/commands": COMMAND, "/twist": TWIST}
START = 1_700_000_000_000_000_000  # ns
_STORES = {CDR: Stores.ROS2_HUMBLE, ROS1: Stores.ROS1_NOETIC}


class Message(NamedTuple):
    """Hold a message by its values: topic, time of logging in ns, and `stamp` + values of its type without a header."""

    topic: str
    ns: int
    values: tuple[Any, ...]


class Wired(NamedTuple):
    """Hold topics as (name, type, definition) and messages as (number of the topic, ns, bytes)."""

    topics: list[tuple[str, str, str]]
    messages: list[tuple[int, int, bytes]]
    encoding: str


def messages(count: int = 60) -> list[Message]:
    """Return messages of three topics at two rates: joints change places, and a command has two or three values."""
    found = []
    for k in range(count):
        names = ["left", "right"] if k % 3 else ["right", "left"]
        found.append(Message("/joint_states", START + k * 10_000_000, joint_state(k, names)))
        if k % 2:
            data = [float(k), -1.0, 0.5][: 2 + k // 2 % 2]
            found.append(Message("/commands", START + k * 10_000_000 + 3_000, ([], 0, data)))
            twist = (*stamp(k), "base" * (k % 4), *(float(k * 10 + j) for j in range(6)))
            found.append(Message("/twist", START + k * 10_000_000 + 3_000, twist))
    return found


def stamp(k: int) -> tuple[int, int]:
    """Return the stamp of message k, 22 s before it was logged."""
    return divmod(START - 22_000_000_000 + k * 10_000_000, 1_000_000_000)


def joint_state(k: int, names: list[str]) -> tuple[Any, ...]:
    """Return message k: positions are its number and the length of the name, velocities their negative, no effort."""
    position = [k + len(name) / 100 for name in names]
    return *stamp(k), "", names, position, [-each for each in position], []


@cache
def kind_of(type_name: str, wire: Wire = CDR) -> MessageType:
    """Return a type as the release of ROS defines it."""
    return MessageType(type_name, text_of(type_name, wire), wire)


@cache
def text_of(type_name: str, wire: Wire = CDR) -> str:
    """Return the definition of a type in a release of ROS."""
    store = get_typestore(_STORES[wire])
    text: str = store.generate_msgdef(type_name, ros_version=2 if wire is CDR else 1)[0]
    return text


def wired(given: Iterable[Message], wire: Wire = CDR, topics: dict[str, str] = TOPICS) -> Wired:
    """Encode messages as a release of ROS does."""
    numbers = {name: number for number, name in enumerate(topics)}
    encoded = []
    for k, each in enumerate(given):
        type_name = topics[each.topic]
        header = [k] if wire is ROS1 and type_name != COMMAND else []
        encoded.append((numbers[each.topic], each.ns, kind_of(type_name, wire).pack(*header, *each.values)))
    named = [(name, type_name, text_of(type_name, wire)) for name, type_name in topics.items()]
    return Wired(named, encoded, "cdr" if wire is CDR else "ros1")


def mcap(path: Path, given: Wired, **options: Any) -> None:
    """Write an MCAP file, in chunks of some messages."""
    with path.open("wb") as stream:
        writer = McapWriter(stream, **{"chunk_size": 2000, **options})
        writer.start(profile="", library="another")
        channels = [
            writer.register_channel(
                name,
                given.encoding,
                writer.register_schema(type_name, "ros2msg" if given.encoding == "cdr" else "ros1msg", text.encode()),
            )
            for name, type_name, text in given.topics
        ]
        for number, ns, payload in given.messages:
            writer.add_message(channels[number], ns, payload, ns)
        writer.finish()


def ros1(path: Path, given: Wired, compression: str = "", chunk: int = 2000) -> None:
    """Write a ROS 1 bag, in chunks of some messages."""
    writer = Ros1Writer(path)
    writer.chunk_threshold = chunk
    if compression:
        writer.set_compression(Ros1Writer.CompressionFormat[compression.upper()])
    with writer:
        connections = [
            writer.add_connection(name, type_name, msgdef=text, md5sum="*", callerid=f"/node_{k}")
            for k, (name, type_name, text) in enumerate(given.topics)
        ]
        for number, ns, payload in given.messages:
            writer.write(connections[number], ns, payload)


def db3(path: Path, given: Wired, definitions: bool = True, packed: bool = False, page: int = 4096) -> None:
    """Write a database of ROS 2, without definitions as of releases up to Humble; `packed`: each message by zstd."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size = {page}")
        connection.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
            " data BLOB NOT NULL); CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
        )
        if definitions:
            connection.execute(
                "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,"
                " encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL)"
            )
            rows = [(type_name, "ros2msg", text) for _, type_name, text in given.topics]
            connection.executemany("INSERT INTO message_definitions VALUES (NULL, ?, ?, ?)", rows)
        named = [(k, name, type_name, given.encoding) for k, (name, type_name, _) in enumerate(given.topics)]
        connection.executemany("INSERT INTO topics VALUES (?, ?, ?, ?, '')", named)
        pack: Callable[[bytes], bytes] = zstandard.compress if packed else bytes
        stored = [(number, ns, pack(payload)) for number, ns, payload in given.messages]
        connection.executemany("INSERT INTO messages VALUES (NULL, ?, ?, ?)", stored)
    connection.close()


def metadata(folder: Path, names: Sequence[str], count: int = 0, compression: str = "") -> None:
    """Write `metadata.yaml` as ROS 2 does."""
    listed = "".join(f"    - {name}\n" for name in names)
    folder.joinpath("metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: x\n  duration:\n    nanoseconds: 600000000\n"
        f"  message_count: {count}\n  topics_with_message_count:\n    []\n"
        f'  compression_format: "{"zstd" if compression else ""}"\n  compression_mode: "{compression}"\n'
        f"  relative_file_paths:\n{listed}"
    )


def halves(given: Wired) -> tuple[Wired, Wired]:
    """Split a recording in two."""
    middle = len(given.messages) // 2
    return given._replace(messages=given.messages[:middle]), given._replace(messages=given.messages[middle:])


def split_folder(folder: Path, given: Wired, suffix: str, packed: bool = False) -> Path:
    """Write a recording as a folder of two files, each compressed as a whole where `packed`."""
    folder.mkdir()
    names = [f"log_{k}{suffix}" for k in range(2)]
    for name, half in zip(names, halves(given), strict=True):
        (mcap if suffix == ".mcap" else db3)(folder / name, half)
        if packed:
            folder.joinpath(f"{name}.zstd").write_bytes(zstandard.compress(folder.joinpath(name).read_bytes()))
            folder.joinpath(name).unlink()
    names = [f"{name}.zstd" if packed else f"{folder.name}/{name}" for name in names]
    metadata(folder, names, len(given.messages), "FILE" if packed else "")
    return folder
