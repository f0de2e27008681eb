"""Mutate logs of ROS along their structure: records of a bag with lengths that fit, cells of a database."""

from __future__ import annotations

import random
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from support.mutations import EDGES, mutated_bytes
from support.ros_files import START, Message, db3, messages, ros1, wired

from rtsysid.rosmsg import ROS1

_MAGIC = b"#ROSBAG V2.0\n"


def _records(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List header and data of each record."""
    at = 0
    while at + 4 <= len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        (length,) = struct.unpack_from("<I", raw, at + 4 + size)
        yield raw[at + 4 : at + 4 + size], raw[at + 8 + size : at + 8 + size + length]
        at += 8 + size + length


def _packed(header: bytes, data: bytes) -> bytes:
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data


def _bag(raw: bytes, chance: random.Random) -> bytes:
    """Mutate headers and data of records, outside and inside the chunks; sizes are then made right."""
    if chance.random() < 0.3:
        return mutated_bytes(raw, chance)
    records = list(_records(raw[len(_MAGIC) :]))
    chosen = chance.randrange(len(records))
    return _MAGIC + b"".join(_packed(*_mutated(*each, k == chosen, chance)) for k, each in enumerate(records))


def _mutated(header: bytes, data: bytes, chosen: bool, chance: random.Random) -> tuple[bytes, bytes]:
    if b"op=\5" in header and chance.random() < 0.7:
        inner = [(h, mutated_bytes(d, chance) if chance.random() < 0.1 else d) for h, d in _records(data)]
        content = b"".join(_packed(*each) for each in inner)
        before, after = (b"size=" + struct.pack("<I", len(each)) for each in (data, content))
        return header.replace(before, after), content
    if chosen:
        return mutated_bytes(header, chance) if chance.random() < 0.5 else header, mutated_bytes(data, chance)
    return header, data


def _database(raw: bytes, chance: random.Random) -> bytes:
    """Mutate cells of a database, or bytes of its pages."""
    if chance.random() < 0.5:
        return mutated_bytes(raw, chance)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(raw)
        with sqlite3.connect(file.name) as connection:
            _change_cell(connection, chance)
        connection.close()
        return Path(file.name).read_bytes()


def _change_cell(connection: sqlite3.Connection, chance: random.Random) -> None:
    table, column = chance.choice(
        [("messages", "data"), ("messages", "data"), ("messages", "timestamp"), ("messages", "topic_id")]
        + [("topics", each) for each in ("id", "name", "type", "serialization_format")]
        + [("message_definitions", each) for each in ("topic_type", "encoding", "encoded_message_definition")]
    )
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    row, value = chance.choice(rows)
    if isinstance(value, int) or chance.random() < 0.1:
        changed: object = chance.choice(
            [*(each for each in EDGES if each < 2**63), -1, None if table != "topics" else 7]
        )
    else:
        changed = mutated_bytes(value if isinstance(value, bytes) else value.encode(), chance)
        changed = changed if isinstance(value, bytes) else bytes(changed).decode(errors="replace")  # type: ignore[arg-type]
    try:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))
    except sqlite3.IntegrityError:  # the column takes no such value
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))


def _even() -> list[Message]:
    """Messages of all topics by turns, one in 10 ms."""
    return [each._replace(ns=START + k * 10_000_000) for k, each in enumerate(messages(12))]


def _seed_bag(path: Path) -> None:
    ros1(path, wired(_even(), ROS1), chunk=600)


def _seed_database(path: Path) -> None:
    db3(path, wired(_even()), page=512)


ROS_MUTATORS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".bag": _bag, ".bag.active": _bag, ".db3": _database
}  # fmt: skip
ROS_SEEDS: dict[str, Callable[[Path], None]] = {
    ".bag": _seed_bag, ".bag.active": _seed_bag, ".db3": _seed_database
}  # fmt: skip
