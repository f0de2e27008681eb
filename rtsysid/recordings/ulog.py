"""Find the sound messages of a ULog file and what its topics claim, before a library reads the definitions.

A format may hold others, and arrays of them, so a small file can claim any number of fields: they are counted here.
Where the chain of messages breaks, it is taken up at the next message that fits a topic.

Ref: https://docs.px4.io/main/en/dev_log/ulog_file_format.html
"""

from __future__ import annotations

import re
import struct
from array import array
from typing import NamedTuple

from rtsysid.guards.limits import checked_size, limit

MAGIC = b"ULog\x01\x12\x35"
SIZES = {
    "int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "int64_t": 8, "uint64_t": 8,
    "float": 4, "double": 8, "bool": 1, "char": 1,
}  # fmt: skip
_HEAD = struct.Struct("<HB")  # size and kind of a message
_DATA_HEAD = struct.Struct("<HBH")  # the same, and the number of the subscription
_FILE_HEADER = 16
_MESSAGES = _FILE_HEADER + _HEAD.size  # where the content of the first message begins
_FLAGS = 8 + 8 + 3 * 8  # bytes: compatible, incompatible, places of appended data
_KINDS, _DATA = frozenset(b"BFIMPQARDLCSO"), ord("D")
_NAME = re.compile(r"[\w/-]+")
_FIELD = re.compile(r"(\w+)(?:\[(\d{1,6})\])? (\w+)")
_KEY = re.compile(rb"\w+(?:\[\d{1,6}\])? [\w/. -]+")  # type and name of a parameter, or of a word about the log
_KEY_AT = {"I": 0, "P": 0, "M": 1, "Q": 1}  # where the length of the key is
_LOGGED = {"L": 9, "C": 11}  # least bytes of a text: its level comes first
_FIXED = {"O": 2, "R": 2, "S": 8}  # bytes


class LoggedField(NamedTuple):
    """Name a field of a topic, nested ones and items of arrays with their path, and its type."""

    name: str
    type: str


class Subscription(NamedTuple):
    """Describe the messages of one number. ``stamp``: offset of the field `timestamp` in bytes, or -1."""

    name: str
    instance: int
    fields: tuple[LoggedField, ...]
    stamp: int


class UlogIndex:
    """Walk through the bytes of a file and note where each topic's messages are.

    ``subscriptions``: by their number. Raises ValueError where it is no ULog file, TraceError where it claims more than
    the limits.
    """

    def __init__(self, raw: bytes) -> None:
        if raw[: len(MAGIC)] != MAGIC or len(raw) < _FILE_HEADER:
            raise ValueError("it does not begin as a ULog file does")
        self._raw = raw
        self._formats = Formats()
        self.subscriptions: dict[int, Subscription] = {}
        self._sizes: dict[int, int] = {}  # by subscription: of its messages
        self._places: dict[int, array[int]] = {}
        self._about: list[bytes] = []  # formats and subscriptions
        self._settings: list[bytes] = []
        self._dropouts: list[int] = []
        self._damaged, self._damaged_from, self._cut = 0, 0.0, ""
        self._newest = -1  # place of the newest message of data
        at = _FILE_HEADER
        for stop in [*self._appended(), len(raw)]:
            self._walk(at, stop)
            at = stop

    @property
    def missing(self) -> str:
        """Say what the log lost; "" where it is complete."""
        said = []
        if self._dropouts:
            said.append(f"{len(self._dropouts)} dropouts, {sum(self._dropouts) / 1000:.3g} s in all")
        if self._damaged:
            said.append(f"{self._damaged} damaged bytes left out, the first after {self._damaged_from:.4g} s")
        return ", ".join([*said, self._cut] if self._cut else said)

    def count(self, number: int) -> int:
        """Return the number of messages of a subscription."""
        return len(self._places[number])

    def definitions(self) -> bytes:
        """Return a file of the definitions of topics, and of the first message of each."""
        first = [self._raw[at[0] : at[0] + 3 + self._sizes[number]] for number, at in self._places.items() if at]
        return b"".join((self._raw[:_FILE_HEADER], *self._about, *first))

    def settings(self) -> bytes:
        """Return a file of the parameters at the start, and of what the log says about itself."""
        return self._raw[:_FILE_HEADER] + b"".join(self._settings)

    def messages(self, number: int) -> bytes:
        """Return the fields of all messages of a subscription, one message after the other."""
        raw, size = self._raw, self._sizes[number] + 3
        return b"".join([raw[at + 5 : at + size] for at in self._places[number]])

    def _flags(self) -> bytes:
        """Return the flags of the file, which can only be its first message; b"" where it has none."""
        head = self._raw[_FILE_HEADER:_MESSAGES]
        size, kind = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
        fits = kind == ord("B") and _FLAGS <= size <= len(self._raw) - _MESSAGES
        return self._raw[_MESSAGES : _MESSAGES + size] if fits else b""

    def _appended(self) -> list[int]:
        """Return the places from which data were appended after a crash. Raises ValueError for unknown flags."""
        flags = self._flags()
        if flags and (flags[8] & 0xFE or any(flags[9:16])):
            raise ValueError("it says that readers of this version cannot read it")
        places = struct.unpack_from("<3Q", flags, 16) if flags and flags[8] else ()
        return sorted(at for at in places if _MESSAGES + len(flags) <= at < len(self._raw))

    def _walk(self, at: int, stop: int) -> None:
        """Take the sound messages from `at` to before `stop`."""
        while at < stop:
            after = self._data_messages(at, stop) or self._message(at, stop)
            if not after:
                after = self._resume(at, stop)
                self._lose(at, after)
            at = after

    def _data_messages(self, at: int, stop: int) -> int:
        """Take sound messages of data from `at` on, and return where they end; 0 where there is none."""
        raw, head, sizes, places = self._raw, _DATA_HEAD.unpack_from, self._sizes, self._places
        after, last = at, stop - _DATA_HEAD.size
        while after <= last:
            size, kind, number = head(raw, after)
            if kind != _DATA or sizes.get(number) != size or after + 3 + size > stop:
                break
            places[number].append(after)
            self._newest = after
            after += 3 + size
        return after if after > at else 0

    def _message(self, at: int, stop: int) -> int:
        """Take the message at `at`, which is no data, and return where it ends; 0 where it is not sound."""
        after = self._end(at, stop)
        kind = chr(self._raw[at + 2]) if after else "D"
        return after if kind != "D" and self._take(kind, self._raw[at + 3 : after]) else 0

    def _end(self, at: int, stop: int) -> int:
        """Return where the message at `at` ends, 0 where no message of a known kind begins there."""
        if at + 3 > stop:
            return 0
        size, kind = _HEAD.unpack_from(self._raw, at)
        after: int = at + 3 + size
        return after if kind in _KINDS and after <= stop else 0

    def _take(self, kind: str, body: bytes) -> bool:
        """Take a message that is no data, and tell whether it is sound."""
        if kind in "FA":
            sound = self._formats.add(body) if kind == "F" else self._subscribe(body)
            self._about += [_whole_message(kind, body)] if sound else []
            return sound
        if not _is_sound(kind, body):
            return False
        if kind == "O":
            self._dropouts.append(int.from_bytes(body, "little"))
        elif kind in "IP" and not self.subscriptions:
            self._settings.append(_whole_message(kind, body))
        return True

    def _subscribe(self, body: bytes) -> bool:
        number = int.from_bytes(body[1:3], "little")
        name = body[3:].decode(errors="replace")
        if not self._formats.complete(name) or number in self.subscriptions:
            return False
        fields = self._formats.flattened(name)
        if len({each.name for each in fields}) < len(fields):
            return False
        before, stamp = 0, -1
        for each in fields:
            stamp = before if each.name == "timestamp" and each.type == "uint64_t" else stamp
            before += SIZES[each.type]
        self.subscriptions[number] = Subscription(name, body[0], tuple(fields), stamp)
        self._sizes[number], self._places[number] = before + 2, array("q")
        return True

    def _resume(self, at: int, stop: int) -> int:
        """Return where sound messages go on: behind this message, or at the next one of data that fits a topic."""
        after = following = self._end(at, stop)
        for _ in range(3):  # three more in a row are no chance: the message itself is at fault, not its length
            following = self._end(following, stop) if 0 < following < stop else following
        if following:
            return after
        while (at := self._raw.find(b"D", at + 3, stop) - 2) >= 0:
            after = self._end(at, stop)
            size = self._sizes.get(int.from_bytes(self._raw[at + 3 : at + 5], "little"))
            if after and size == after - at - 3:
                return at
        return stop

    def _lose(self, at: int, after: int) -> None:
        """Note that bytes are left out: as cut off where they are the begin of the last message."""
        size, kind = _HEAD.unpack(self._raw[at : at + 3].ljust(3, b"\0"))
        if after == len(self._raw) and at + 3 + size > after and (kind in _KINDS or after - at < 3):
            self._cut = f"cut off after {self._seconds():.4g} s, inside a message"
            return
        self._damaged_from = self._damaged_from if self._damaged else self._seconds()
        self._damaged += after - at

    def _seconds(self) -> float:
        """Return the time of the newest data, from the start of the log."""
        if self._newest < 0:
            return 0.0
        known = self.subscriptions[int.from_bytes(self._raw[self._newest + 3 : self._newest + 5], "little")]
        at = self._newest + 5 + known.stamp
        stamp = int.from_bytes(self._raw[at : at + 8], "little") if known.stamp >= 0 else 0
        return max(0, stamp - int.from_bytes(self._raw[8:16], "little")) * 1e-6


class Formats:
    """Collect the formats of a file, and list the fields of a topic."""

    def __init__(self) -> None:
        self._bytes = self._claimed = self._steps = 0
        self._fields: dict[str, list[tuple[str, int, str]]] = {}
        self._depth, self._most = limit("depth"), limit("message_fields")

    def add(self, body: bytes) -> bool:
        """Take the text of a format, and tell whether it is one. Raises TraceError where all exceed the limits."""
        self._bytes += len(body)
        checked_size("ULog file: bytes of formats", self._bytes, "definition_bytes")
        name, _, fields = body.decode(errors="replace").partition(":")
        found = [_FIELD.fullmatch(each) for each in fields.split(";") if each]
        if not _NAME.fullmatch(name) or not found or not all(found):
            return False
        self._fields[name] = [(each[1], int(each[2] or 0), each[3]) for each in found if each]
        return True

    def complete(self, name: str) -> bool:
        """Tell whether a format and all that it holds are known."""
        seen, left = set[str](), [name]
        while left:
            seen.add(name := left.pop())
            left += {kind for kind, _, _ in self._fields.get(name, ()) if kind not in SIZES and kind not in seen}
        return seen <= self._fields.keys()

    def flattened(self, name: str) -> list[LoggedField]:
        """List the fields of a topic without padding at its end. Raises TraceError where they exceed the limits."""
        fields: list[LoggedField] = []
        self._steps = 0
        self._expand(name, "", 0, fields)
        self._claimed += self._steps
        checked_size("ULog file: fields of all topics", self._claimed, "columns")
        while fields and fields[-1].name.startswith("_padding"):
            fields.pop()
        return fields

    def _expand(self, name: str, prefix: str, depth: int, fields: list[LoggedField]) -> None:
        if depth > self._depth:
            checked_size("ULog file: levels of formats", depth, "depth")
        for kind, count, field in self._fields[name]:
            self._steps += max(count, 1)
            if self._steps > self._most:
                checked_size("ULog file: fields of a topic", self._steps, "message_fields")
            for item in [f"{prefix}{field}[{k}]" for k in range(count)] if count else [prefix + field]:
                if kind in SIZES:
                    fields.append(LoggedField(item, kind))
                else:
                    self._expand(kind, f"{item}.", depth + 1, fields)


def _is_sound(kind: str, body: bytes) -> bool:
    """Tell whether a message that is neither data nor a definition has the content of its kind.

    Behind damage, any byte may be taken for a kind. Such a message would swallow sound ones.
    """
    if kind in _KEY_AT:
        size, key = body[_KEY_AT[kind] :][:1], body[_KEY_AT[kind] + 1 :]
        return _KEY.fullmatch(key[: int.from_bytes(size, "little")]) is not None
    if kind in _LOGGED:
        return len(body) >= _LOGGED[kind] and body[:1] in b"01234567"
    return len(body) == _FIXED.get(kind, len(body)) and (kind != "B" or len(body) >= _FLAGS)


def _whole_message(kind: str, body: bytes) -> bytes:
    return _HEAD.pack(len(body), ord(kind)) + body
