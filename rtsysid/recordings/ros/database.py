"""Read a database of ROS 2 (`.db3`) as channels and messages, also one that was cut off.

The database is opened read-only. Only plain tables are read: no view and no computed column of a file runs.

Ref: https://github.com/ros2/rosbag2/tree/rolling/rosbag2_storage_sqlite3
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import weakref
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.recordings.ros.container import BagTopic, Damage, MessageBatch, Torn, opened_file, what_is_lost
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
        self.path, self.missing = path, _cut_off(path)
        self._stored, scratch = _without_torn_page(path)
        if scratch:
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        with self._connected() as connection:
            try:
                rows = _topic_rows(connection)
                _require_table(connection, "messages", _MESSAGES)
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
        with self._connected() as connection:
            for rows in _stored_rows(connection, channels):
                part = MessageBatch(*map(list, zip(*rows, strict=True)))
                read += sum(map(len, part.payloads)) + _ROW * len(rows)
                checked_growth(f"recording {self.path.name}", read, size, "text_growth")
                yield part

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Connect to the database without changing a file next to it, with limits on sizes and on work."""
        immutable = "&immutable=1" if self._stored == self.path else ""
        uri = f"file:{quote(str(self._stored.absolute()))}?mode=ro{immutable}"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit("chunk_bytes"))
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA writable_schema = ON")  # reads a file that is shorter than its header says
            budget = iter(range(1, 1000 + self.path.stat().st_size // 1000))
            connection.set_progress_handler(lambda: next(budget, 0) == 0, _STEPS)
            yield connection


def _stored_rows(connection: sqlite3.Connection, channels: Collection[int]) -> Iterator[list[tuple[int, int, bytes]]]:
    """Stream the rows of topics, a few at a time. Raises Damage after the last one that can be read."""
    rows: list[tuple[int, int, bytes]] = []
    wanted, size = ", ".join(map(str, sorted(channels))), 0
    try:
        query = f"SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE topic_id IN ({wanted})"
        for row in connection.execute(query):
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


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65_536 if size == 1 else size


def _cut_off(path: Path) -> str:
    """Compare the size of a database with what its header says."""
    with opened_file(path) as stream:
        header = stream.read(_HEADER)
        size = os.fstat(stream.fileno()).st_size
    pages = int.from_bytes(header[28:32], "big") if header[24:28] == header[92:96] else 0
    whole = pages * _page_size(header)
    return what_is_lost(Torn(size), whole, None) if whole > size else ""


def _without_torn_page(path: Path) -> tuple[Path, str]:
    """Return a database that can be read as it is, and the folder of the copy where one is needed.

    A copy lacks a last page that is cut: SQLite would take its missing bytes for zeros. It has the messages that a
    killed recorder left in the write-ahead log; SQLite writes a file next to a database that has one.
    """
    log = path.with_name(f"{path.name}-wal")
    with opened_file(path) as stream:
        torn = path.stat().st_size % max(_page_size(stream.read(_HEADER)), 1)
        if not torn and not (log.is_file() and log.stat().st_size):
            return path, ""
        folder = mkdtemp(prefix="rtsysid-")
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
    os.truncate(copy, path.stat().st_size - torn)
    if log.is_file():
        shutil.copyfile(log, copy.with_name(log.name))
    return copy, folder


def _require_table(connection: sqlite3.Connection, table: str, columns: set[str]) -> None:
    """Check that a table is one. Raises ValueError where it is missing or a view, or a column missing or computed."""
    schema = "SELECT type, rootpage FROM sqlite_master WHERE name = ?"
    if [row[0] for row in connection.execute(schema, (table,)) if row[1]] != ["table"]:
        raise ValueError(f"it has no table {table}")
    stored = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})") if not row[6]}
    if not columns <= stored:
        raise ValueError(f"its table {table} has no column {min(columns - stored)}")


def _topic_rows(connection: sqlite3.Connection) -> list[tuple[int, str, str, str]]:
    """Read number, name, type and encoding of the topics. Raises ValueError where they are none."""
    _require_table(connection, "topics", _TOPICS)
    rows = connection.execute("SELECT id, name, type, serialization_format FROM topics").fetchall()
    if not all(isinstance(row[0], int) for row in rows):
        raise ValueError("a topic has no number")
    return rows


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
