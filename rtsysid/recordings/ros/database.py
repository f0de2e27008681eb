"""Read a database of ROS 2 (`.db3`) as channels and messages, also one that was cut off.

The database is opened_file read-only. Only plain tables are read: no view and no computed column of a
file runs.

Ref: https://github.com/ros2/rosbag2/tree/rolling/rosbag2_storage_sqlite3
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.recordings.ros.container import BagTopic, Damage, MessageBatch, cut_off, opened_file
from rtsysid.recordings.ros.definitions import Definition, parsed_types, shipped_type
from rtsysid.rosmsg import MessageType

_HEADER = 100  # bytes
_ROW = 32  # bytes that a row counts at least, so that rows without data do not run for ever
_PART, _ROWS = 1 << 20, 1024  # bytes and rows in memory at a time
_STEPS = 10_000  # instructions of SQLite between two looks at their budget
_TOPICS = {"id", "name", "type", "serialization_format"}
_MESSAGES = {"topic_id", "timestamp", "data"}
_DEFINITIONS = {"topic_type", "encoding", "encoded_message_definition"}


class Database:
    """Open a database of ROS 2, a file of `MessageFile`. `distro`: the release whose types it may use.

    Raises TraceError where it is none.
    """

    def __init__(self, path: Path, distro: str = "") -> None:
        self.path, self.missing = path, _missing(path)
        with self._connected() as connection:
            try:
                _require_table(connection, "topics", _TOPICS)
                _require_table(connection, "messages", _MESSAGES)
                rows = connection.execute("SELECT id, name, type, serialization_format FROM topics").fetchall()
                definitions = _definitions(connection)
            except (sqlite3.Error, ValueError) as error:
                found = f"it is no database of ROS 2 ({error})"
                raise TraceError(f"recording {path.name}", found, "record it again") from error
            counts = _message_counts(connection)
        checked_size(f"recording {path.name}: its topics", len(rows), "columns")
        types = parsed_types(path, definitions.values())
        self.topics: dict[int, BagTopic] = {}
        for number, name, type_name, encoding in rows:
            kind: MessageType | str = f"messages in {encoding!s:.40}, which are not decoded"
            if encoding == "cdr":
                own = definitions.get(type_name)
                kind = types[own] if own is not None else shipped_type(type_name, distro)
            messages = None if counts is None else counts.get(number, 0)
            self.topics[number] = BagTopic.of(str(name), str(type_name), kind, messages)

    def stream(self, channels: Collection[int]) -> Iterator[MessageBatch]:
        """Stream the messages of these channel numbers. Raises Damage where the file is damaged."""
        size, read = self.path.stat().st_size, 0
        wanted = ", ".join(map(str, sorted(channels)))
        query = f"SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE topic_id IN ({wanted})"
        with self._connected() as connection:
            for rows in _stored_rows(connection.execute(query)):
                part = MessageBatch(*map(list, zip(*rows, strict=True)))
                read += sum(map(len, part.payloads)) + _ROW * len(rows)
                checked_growth(f"recording {self.path.name}", read, size, "text_growth")
                yield part

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Connect to the database without changing a file next to it, with limits on sizes and on work."""
        with opened_file(self.path):  # names what cannot be read
            log = self.path.with_name(f"{self.path.name}-wal")
        live = log.is_file() and log.stat().st_size > 0  # a recorder that was killed left its last messages there
        uri = f"file:{quote(str(self.path.absolute()))}?mode=ro{'' if live else '&immutable=1'}"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit("chunk_bytes"))
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA writable_schema = ON")  # reads a file that is shorter than its header says
            budget = iter(range(1, 1000 + self.path.stat().st_size // 1000))
            connection.set_progress_handler(lambda: next(budget, 0) == 0, _STEPS)
            yield connection


def _stored_rows(cursor: sqlite3.Cursor) -> Iterator[list[tuple[int, int, bytes]]]:
    """Stream rows, a few at a time. Raises Damage after the last one that can be read."""
    rows: list[tuple[int, int, bytes]] = []
    size = 0
    try:
        for row in cursor:
            rows.append(_checked_row(row))
            size += len(row[2])
            if size > _PART or len(rows) == _ROWS:
                yield rows
                rows, size = [], 0
    except (sqlite3.Error, Damage) as error:
        if rows:
            yield rows
        raise Damage(error) from error
    if rows:
        yield rows


def _checked_row(row: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    if not (isinstance(row[2], bytes) and isinstance(row[1], int) and row[1] >= 0):
        raise Damage("a row of its messages has other types")
    return row


def _missing(path: Path) -> str:
    """Compare the size of a database with what its header says."""
    with opened_file(path) as stream:
        header = stream.read(_HEADER)
        size = os.fstat(stream.fileno()).st_size
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big") if header[24:28] == header[92:96] else 0
    whole = pages * (65_536 if page == 1 else page)
    return cut_off(whole, size, None) if whole > size else ""


def _require_table(connection: sqlite3.Connection, table: str, columns: set[str]) -> None:
    """Check that a table is one. Raises ValueError where it is missing or a view, or a column missing or computed."""
    schema = "SELECT type, rootpage FROM sqlite_master WHERE name = ?"
    if [row[0] for row in connection.execute(schema, (table,)) if row[1]] != ["table"]:
        raise ValueError(f"it has no table {table}")
    stored = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})") if not row[6]}
    if not columns <= stored:
        raise ValueError(f"its table {table} has no column {min(columns - stored)}")


def _definitions(connection: sqlite3.Connection) -> dict[str, Definition]:
    """Read the definitions by type; none where the database is of an earlier release."""
    try:
        _require_table(connection, "message_definitions", _DEFINITIONS)
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        rows = connection.execute(query).fetchall()
    except (sqlite3.Error, ValueError):
        return {}
    return {str(row[0]): Definition(*map(str, row)) for row in rows if row[2]}


def _message_counts(connection: sqlite3.Connection) -> dict[int, int] | None:
    try:
        return dict(connection.execute("SELECT topic_id, count(*) FROM messages NOT INDEXED GROUP BY topic_id"))
    except sqlite3.Error:  # reading reports the damage
        return None
