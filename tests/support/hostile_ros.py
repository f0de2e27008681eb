"""Write logs of ROS that claim or hold more than a reader may take: each is refused in one line, in little memory."""

from __future__ import annotations

import bz2
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

from support.hostile_recordings import MANY, Hostile, nested, text, zeros_lz4
from support.ros_files import START, db3, wired

_DOUBLES = nested(40, ("[] a", "[] b"))
_CHAIN = nested(1000, (" a",))
_MANY_FIELDS = nested(12, ("[] a", "[] b"))


def header(**fields: bytes) -> bytes:
    """Return the header of a record of a ROS 1 bag, with its length."""
    parts = [name.encode() + b"=" + value for name, value in fields.items()]
    body = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<I", len(body)) + body


def record(data: bytes, **fields: bytes) -> bytes:
    """Return a record of a ROS 1 bag."""
    return header(**fields) + struct.pack("<I", len(data)) + data


def bag(*records: bytes, index: int = 0) -> bytes:
    """Return a ROS 1 bag without an index."""
    head = record(b"", op=b"\3", index_pos=struct.pack("<Q", index), conn_count=bytes(4), chunk_count=bytes(4))
    return b"#ROSBAG V2.0\n" + head + b"".join(records)


def connection(definition: str) -> bytes:
    """Return the record of a connection."""
    about = header(topic=b"/t", type=b"x/T", md5sum=b"*", message_definition=definition.encode())[4:]
    return record(about, op=b"\7", conn=bytes(4), topic=b"/t")


def message(payload: bytes) -> bytes:
    """Return the record of a message."""
    return record(payload, op=b"\2", conn=bytes(4), time=bytes(8))


def chunk(compression: bytes, size: int, data: bytes) -> bytes:
    """Return a chunk that claims `size` bytes."""
    return record(data, op=b"\5", compression=compression, size=struct.pack("<I", size))


def packed(compression: bytes, size: int, make: Callable[[], bytes]) -> Callable[[Path], object]:
    """Return what writes a bag whose chunk claims `size` bytes."""
    return lambda path: path.write_bytes(bag(connection("float64 v\n"), chunk(compression, size, make())))


def zeros_bz2() -> bytes:
    """Compress zeros, a part at a time."""
    compressor = bz2.BZ2Compressor()
    return b"".join([*(compressor.compress(bytes(1 << 24)) for _ in range(MANY >> 24)), compressor.flush()])


def database(definition: str, payload: bytes = b"", packed: bool = False) -> Callable[[Path], object]:
    """Return what writes a database of one type and one message."""
    given = wired([])._replace(topics=[("/t", "x/msg/T", definition)], messages=[(0, START, payload)])
    return lambda path: db3(path, given, packed=packed)


def changed(*statements: str) -> Callable[[Path], object]:
    """Return what writes a database and runs statements on it."""

    def write(path: Path) -> None:
        database("float64 v\n", b"\0\1\0\0" + bytes(8))(path)
        with sqlite3.connect(path) as connection:
            connection.executescript("; ".join(statements))
        connection.close()

    return write


_ENDLESS = "AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS topic_id"
_NO_TOPICS = "DROP TABLE topics"
_TEXT_TOPICS = "CREATE TABLE topics(id TEXT, name, type, serialization_format)"
_INJECTED = "INSERT INTO topics VALUES ('1) UNION SELECT 1, 2, 3 --', '/t', 'x/msg/T', 'cdr')"
_NOTHING = f"E[] x\nint32 y\n{'=' * 80}\nMSG: x/E\n"
_ENCRYPTED = b"#ROSBAG V2.0\n" + record(b"", op=b"\3", index_pos=bytes(8), encryptor=b"x")
_ROS1 = (
    Hostile("lz4 beyond its claim", packed(b"lz4", 1000, zeros_lz4), "holds more"),
    Hostile("bz2 beyond its claim", packed(b"bz2", 1000, zeros_bz2), "holds more"),
    Hostile("a chunk of 4 GB", packed(b"bz2", (1 << 32) - 1, lambda: b"x"), "limit chunk_bytes"),
    Hostile("an unknown compression", packed(b"zip", 10, lambda: b"x"), "'zip' is not known"),
    Hostile("a type that doubles", text(bag(connection(_DOUBLES))), "limit"),
    Hostile("a type that doubles 12 times", text(bag(connection(_MANY_FIELDS))), "message_fields"),
    Hostile("a chain of 1,000 types", text(bag(connection(_CHAIN))), "limit depth"),
    Hostile("an array of 2^32", text(bag(connection("float64[] x\nint32 y"), message(b"\xff" * 9))), "message_values"),
    Hostile("2^32 times nothing", text(bag(connection(_NOTHING), message(b"\xff" * 4 + bytes(4)))), "read 1 rows"),
    Hostile("a header of 4 GB", text(bag(b"\xff" * 64)), "no column"),
    Hostile("a header of 5 MB", text(bag(struct.pack("<I", 5 << 20) + bytes(6 << 20))), "limit definition_bytes"),
    Hostile("an index at the end of all memory", text(bag(index=(1 << 64) - 1)), "no column"),
    Hostile("of version 1", text(b"#ROSBAG V1.2\n" + bytes(99)), "rosbag fix"),
    Hostile("encrypted", text(_ENCRYPTED), "encrypted"),
)
ROS_HOSTILE: dict[str, tuple[Hostile, ...]] = {
    ".bag": _ROS1,
    ".bag.active": _ROS1,
    ".db3": (
        Hostile("messages that expand", database("float64 v\n", bytes(65 << 20), packed=True), "limit chunk_bytes"),
        Hostile("a type that doubles", database(_DOUBLES), "limit"),
        Hostile("a chain of 1,000 types", database(_CHAIN), "limit depth"),
        Hostile("a definition of 8 MB", database("float64 v\n" * 800_000), "limit definition_bytes"),
        Hostile("an array of 2^32", database("bool[] x\nint32 y", b"\0\1\0\0" + b"\xff" * 9), "message_values"),
        Hostile("endless", changed("DROP TABLE messages", f"CREATE VIEW messages {_ENDLESS} FROM r"), "table messages"),
        Hostile("endless topics", changed(_NO_TOPICS, f"CREATE VIEW topics {_ENDLESS} FROM r"), "table topics"),
        Hostile("a message of 100 MB", changed("UPDATE messages SET data = zeroblob(100000000)"), "too big"),
        Hostile("numbers as text", changed(_NO_TOPICS, _TEXT_TOPICS, _INJECTED), "no number"),
        Hostile("no database", text(b"t,a\n" * 100), "no database"),
    ),
}
