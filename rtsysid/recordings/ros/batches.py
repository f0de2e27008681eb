"""Read messages in batches, decode them, and collect their rows in the order of log time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from rtsysid.guards.limits import checked_growth, limit
from rtsysid.recordings.ros.container import Damage, MessageBatch, MessageFile
from rtsysid.recordings.ros.decoder import Decoder
from rtsysid.recordings.topics import Series
from rtsysid.recordings.unpack import unpack
from rtsysid.rosmsg import CDR
from rtsysid.spec import Doubles

_MESSAGES, _BYTES = 1 << 14, 1 << 23  # of a batch
_ZSTD = b"\x28\xb5\x2f\xfd"  # begins a compressed message; a message in CDR begins with zero


def message_batches(file: MessageFile, channels: Collection[int], most: int = _MESSAGES) -> Iterator[MessageBatch]:
    """Stream the messages of channels in batches of `most` or a little more, unpacked where each is compressed.

    Raises Damage after the last message that can be read, TraceError where the messages exceed the limits.
    """
    batch, size = MessageBatch.empty(), 0
    try:
        for part in _unpacked_parts(file, channels):
            batch.extend(part)
            size += sum(map(len, part.payloads))
            if len(batch.payloads) >= most or size > _BYTES:
                yield batch
                batch, size = MessageBatch.empty(), 0
    except Damage:
        if batch.payloads:
            yield batch
        raise
    if batch.payloads:
        yield batch


def _unpacked_parts(file: MessageFile, channels: Collection[int]) -> Iterator[MessageBatch]:
    kinds = {number: file.topics[number].type for number in channels}
    cdr = {number for number, kind in kinds.items() if kind is not None and kind.wire is CDR}
    unpacked, held = 0, file.path.stat().st_size
    for part in file.stream(channels):
        if not part.payloads or part.payloads[0][:4] != _ZSTD or part.channels[0] not in cdr:
            yield part  # either each message is compressed or none is
            continue
        for number, log_ns, payload in zip(*part, strict=True):
            message = _unpacked_message(payload)
            unpacked += len(message)
            checked_growth(f"recording {file.path.name}", unpacked, held, "text_growth")
            yield MessageBatch([number], [log_ns], [message])


def _unpacked_message(payload: bytes) -> bytes:
    most = limit("chunk_bytes")
    try:
        message = unpack("zstd", payload, most + 1)
    except Exception as error:  # the library has errors of its own
        raise Damage(f"a message does not unpack: {error}") from error
    if len(message) > most:
        raise Damage(f"a message unpacks to more than the limit chunk_bytes = {most}")
    return message


def decoded(decoder: Decoder | None, batch: MessageBatch) -> tuple[Doubles, Damage | None]:
    """Decode a batch of one channel up to the first message that does not fit its type, and say why it does not.

    Returns columns [n, F] of the first n messages; without a decoder F is 0.
    """
    if decoder is None:
        return np.empty((len(batch.payloads), 0)), None
    try:
        return decoder.decode(batch.payloads), None
    except ValueError as error:
        reason = error
    good, bad, columns = 0, len(batch.payloads), np.empty((0, 0))
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            columns, good = decoder.decode(batch.payloads[:middle]), middle
        except ValueError as error:
            reason, bad = error, middle
    return columns, Damage(reason)


class GrowingRows:
    """Collect columns of messages in one allocation that grows, of a recording that holds `held` bytes."""

    def __init__(self, path: Path, held: int, width: int) -> None:
        self._name, self._held = f"recording {path.name}", held
        self._log_ns, self._columns, self._end = np.empty(0, np.uint64), np.empty((0, width)), 0

    def __len__(self) -> int:
        return self._end

    def add(self, log_ns: list[int], columns: Doubles) -> None:
        """Append n messages: times of logging in ns, columns [n, F]. Raises TraceError above the limits."""
        if not len(columns):
            return
        start, self._end = self._end, self._end + len(columns)
        checked_growth(self._name, 8 * self._end * (columns.shape[1] + 1), self._held)
        if self._end > len(self._log_ns):
            self._resize(self._end + self._end // 4)
        self._log_ns[start : self._end], self._columns[start : self._end] = log_ns, columns

    def _resize(self, rows: int) -> None:
        # refcheck=False: nothing else refers to these arrays, and realloc moves pages instead of copying them
        self._log_ns.resize(rows, refcheck=False)
        self._columns.resize((rows, self._columns.shape[1]), refcheck=False)

    @property
    def seconds(self) -> float | None:
        """Return the time in s between the first and the last message, None without one."""
        times = self._log_ns[: self._end]
        return float(times.max() - times.min()) / 1e9 if len(times) else None

    def series(self, fields: int) -> Series:
        """Return the rows in order of log time. A column after the fields is the time stamp that was asked for."""
        self._resize(self._end)
        if (self._log_ns[1:] < self._log_ns[:-1]).any():
            order = np.argsort(self._log_ns, kind="stable")
            self._log_ns = self._log_ns[order]
            for k in range(self._columns.shape[1]):
                self._columns[:, k] = self._columns[order, k]
        # rounded as on the serial link: whole microseconds
        arrival: Doubles = (self._log_ns // np.uint64(1000)).astype(np.float64) * 1e-6
        t: Doubles = self._columns[:, fields].copy() if self._columns.shape[1] > fields else arrival
        return Series(t, arrival, self._columns[:, :fields])
