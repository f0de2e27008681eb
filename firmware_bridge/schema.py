"""Schema: the channel table of a board, and the conversion of samples to and from bytes.

The board stores the table as zlib-compressed canonical JSON, so that a host can read any board.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from firmware_bridge.messages import MAX_PAYLOAD, SCHEMA_PIECE
from rtsysid.errors import LinkError, SpecError
from rtsysid.guards import ranges
from rtsysid.spec import Channel, Doubles, Floats, Role

Kind: TypeAlias = Literal["f32", "i16", "u8"]

_F32 = np.dtype("<f4")
_MISSING = -32768  # code of NaN in an i16
_KINDS = {"f32": ("f", -np.inf, np.inf), "i16": ("h", -32767, 32767), "u8": ("B", 0, 255)}  # struct code, range
_RATES = 1e-3, 1e6  # Hz: a period that its 32 bits of microseconds hold
_SCALES = 1e-30, 1e30  # so that any code is a float32
_LARGEST_TABLE = 1 << 16  # bytes of an uncompressed table
_DAMAGED = "read it from the board again, or reflash it"


class WireChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel of a sample: value = raw * scale + offset, with raw of the type `kind`."""

    name: str
    unit: str = ""
    role: Role = "output"
    group: str = ""
    kind: Kind = "f32"
    scale: ranges.Finite = 1.0
    offset: ranges.Finite = 0.0


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The channels of a board in wire order, and its sampling rate in Hz.

    i16 and u8 saturate. An i16 stores NaN as -32768; a u8 has no NaN. Raises SpecError for an inconsistent table.
    """

    channels: tuple[WireChannel, ...]
    rate_hz: ranges.RateHz

    def __post_init__(self) -> None:
        names = [c.name for c in self.channels]
        if not names or len(set(names)) != len(names):
            raise SpecError("channel table", f"the names {names}", "give each of its channels a name of its own")
        if not _RATES[0] <= self.rate_hz <= _RATES[1]:
            raise SpecError("channel table: rate_hz", str(self.rate_hz), f"give {_RATES[0]:g} to {_RATES[1]:g}")
        for c in self.channels:
            if not (_SCALES[0] <= abs(c.scale) <= _SCALES[1] and abs(c.offset) <= _SCALES[1]):
                remedy = f"give {_SCALES[0]:g} to {_SCALES[1]:g}, and an offset up to that"
                raise SpecError(f"scale of {c.name!r}", f"{c.scale}, offset {c.offset}", remedy)
            if c.kind == "f32" and (c.scale, c.offset) != (1, 0):
                raise SpecError(f"scale of {c.name!r}", f"{c.scale}, offset {c.offset}", "f32 carries the value itself")
        if self.size > MAX_PAYLOAD:
            raise SpecError("channel table", f"{self.size} bytes a sample", f"at most {MAX_PAYLOAD} fit in a frame")

    @classmethod
    def of(cls, channels: Sequence[Channel], rate_hz: float) -> Schema:
        """Return the table for `channels`, all as f32."""
        return cls(tuple(WireChannel(c.name, c.unit, c.role, c.group) for c in channels), float(rate_hz))

    @classmethod
    def decompress(cls, data: bytes) -> Schema:
        """Read a compressed table. Raises LinkError where `data` is not one."""
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(data, _LARGEST_TABLE)
            if not unpacker.eof:
                raise LinkError("channel table", f"{len(data)} bytes that do not end it", _DAMAGED)
            return msgspec.json.decode(text, type=cls)
        except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, SpecError) as error:
            raise LinkError("channel table", str(error), _DAMAGED) from None

    @cached_property
    def json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, and the rate as a float (500.0)."""
        again = msgspec.json.decode(msgspec.json.encode(self), type=Schema)
        return msgspec.json.encode(again, order="sorted")

    @cached_property
    def hash(self) -> int:
        """First four bytes of the SHA-256 of the canonical JSON: the seed of the CRC of samples and predictions."""
        return int.from_bytes(hashlib.sha256(self.json).digest()[:4], "big")

    @cached_property
    def compressed(self) -> bytes:
        """The canonical JSON, compressed by zlib."""
        return zlib.compress(self.json, 9)

    @cached_property
    def spec_channels(self) -> tuple[Channel, ...]:
        """The channels as `rtsysid.spec.Channel`, in wire order."""
        return tuple(Channel(c.name, c.unit, c.role, c.group) for c in self.channels)

    @property
    def period_us(self) -> int:
        """Sample period in microseconds."""
        return round(1e6 / self.rate_hz)

    @property
    def width(self) -> int:
        """Values per sample."""
        return len(self.channels)

    @property
    def size(self) -> int:
        """Bytes per sample on the wire."""
        return self._table.packing.size

    def piece(self, offset: int) -> bytes:
        """Return the piece of the compressed table from `offset` on; empty at the end."""
        return self.compressed[offset : offset + SCHEMA_PIECE]

    def differences(self, other: Schema) -> tuple[str, ...]:
        """Return the names of the fields in which two tables differ: ``rate_hz``, ``vx.unit``, ``vx``, ``order``."""
        mine, theirs = ({c.name: c for c in s.channels} for s in (self, other))
        found = ["rate_hz"] if self.rate_hz != other.rate_hz else []
        found += sorted(mine.keys() ^ theirs.keys())
        for name in (n for n in mine if n in theirs):
            fields = WireChannel.__struct_fields__
            found += [f"{name}.{f}" for f in fields if getattr(mine[name], f) != getattr(theirs[name], f)]
        if [n for n in mine if n in theirs] != [n for n in theirs if n in mine]:
            found.append("order")
        return tuple(found)

    def pack(self, values: Floats) -> bytes:
        """Pack `values` [C] in engineering units as the payload of a SAMPLE, or [n, C] as n joined payloads.

        Raises LinkError for NaN in a u8.
        """
        table = self._table
        raw = (values.astype(np.float64) - table.offset) / table.scale
        raw = np.where(table.whole, np.clip(np.rint(raw), table.low, table.high), raw)
        raw[table.short & np.isnan(raw)] = _MISSING
        if np.isnan(raw[..., table.bytes]).any():
            raise LinkError("sample", "NaN in a channel of kind u8", "carry what may be missing as i16 or f32")
        packed = np.empty(values.shape[:-1], table.layout)
        for i, name in enumerate(table.layout.names or ()):
            packed[name] = raw[..., i]
        return packed.tobytes()

    def unpack(self, payload: bytes) -> Floats:
        """Unpack values [C], float32, in engineering units, a new array. Raises LinkError for a payload too short."""
        if len(payload) < self.size:
            raise LinkError("sample", f"{len(payload)} bytes instead of {self.size}", "reflash: its channel table lies")
        table = self._table
        if not table.mixed:
            return np.frombuffer(payload, _F32, self.width).astype(np.float32)
        raw = np.array(table.packing.unpack_from(payload))
        values = (raw * table.scale + table.offset).astype(np.float32)
        values[table.short & (raw == _MISSING)] = np.nan
        return values

    @cached_property
    def _table(self) -> _Table:
        kinds = [c.kind for c in self.channels]
        codes, low, high = zip(*(_KINDS[kind] for kind in kinds), strict=True)
        return _Table(
            struct.Struct("<" + "".join(codes)),
            np.dtype([(str(i), f"<{code}") for i, code in enumerate(codes)]),
            np.array([c.scale for c in self.channels]),
            np.array([c.offset for c in self.channels]),
            np.array(low),
            np.array(high),
            set(kinds) != {"f32"},
            *(np.array([kind in which for kind in kinds]) for which in (("i16", "u8"), ("i16",), ("u8",))),
        )


class _Table(NamedTuple):
    """The conversion as columns [C]. ``mixed``: not all f32; ``whole``: an integer; ``short``: i16; ``bytes``: u8."""

    packing: struct.Struct
    layout: np.dtype[np.void]
    scale: Doubles
    offset: Doubles
    low: Doubles
    high: Doubles
    mixed: bool
    whole: NDArray[np.bool_]
    short: NDArray[np.bool_]
    bytes: NDArray[np.bool_]
