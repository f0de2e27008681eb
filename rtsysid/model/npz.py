"""Read an npz file whose arrays are known beforehand: names, types and shapes are checked before any is allocated.

A file is what `numpy.savez` writes: a ZIP archive of uncompressed npy files. So no array is larger than the file, and
a header that claims more, a compressed member and a Python object are refused.

Ref: NumPy, numpy.lib.format; PKWARE APPNOTE.TXT 6.3.10, end of central directory record.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rtsysid.model.untrusted import Refusal

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]

END = struct.Struct("<4s6xHI6x")  # signature, number of members, bytes of the directory; the record has 22 bytes
MEMBER_ROOM = 512  # bytes of the directory for each member, with its name
HEADER_ROOM = 1024  # bytes of a member before its values
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_BAD_HEADER = (ValueError, TypeError, KeyError, OverflowError, SyntaxError, RecursionError, MemoryError)


class AtMost(NamedTuple):
    """A dimension that the specification leaves open. Dimensions of one name are equal within a file."""

    name: str
    most: int


class ArrayType(NamedTuple):
    """Describe one expected array. ``kind``: as in `numpy.dtype.str`; ``finite``: whether every value is.

    ``optional``: whether the file may lack the array.
    """

    kind: str
    shape: tuple[int | AtMost, ...]
    finite: bool = True
    optional: bool = False

    @property
    def most_bytes(self) -> int:
        """The largest size of the array in bytes."""
        sizes = [each.most if isinstance(each, AtMost) else each for each in self.shape]
        return math.prod(sizes) * int(self.kind[2:])


ArrayTypes: TypeAlias = Mapping[str, ArrayType]


def read_npz(content: bytes, name: str, types: ArrayTypes, refusal: Refusal) -> Arrays:
    """Read the arrays [..] of an npz file, exactly those of `types`. Raises the error of `refusal` for anything else.

    `name` is that of the file.
    """
    members, sizes, arrays = _members(content, name, types, refusal), dict[str, int](), {}
    for key, wanted in types.items():
        if key in members:
            arrays[key] = _array(members[key], f"{name}: {key}", wanted, sizes, refusal)
    return arrays


def write_npz(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return arrays [..] as the bytes of an npz file."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _members(content: bytes, name: str, types: ArrayTypes, refusal: Refusal) -> dict[str, bytes]:
    """Return the npy files by the names of their arrays."""
    most = sum(each.most_bytes + HEADER_ROOM + MEMBER_ROOM for each in types.values()) + END.size
    if len(content) > most:
        raise refusal(f"{name} has {len(content)} bytes, and the specification allows {most}")
    if len(content) < END.size:
        raise refusal(f"{name} is no npz file")
    signature, count, directory = END.unpack_from(content, len(content) - END.size)
    if signature != b"PK\5\6" or count > len(types) + 1 or directory > (count + 1) * MEMBER_ROOM:
        raise refusal(f"{name} is no npz file of {len(types)} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _check_names(name, [info.filename for info in infos], types, refusal)
            if any(info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content) for info in infos):
                raise refusal(f"{name}: an array is compressed or cut off")
            return {info.filename.removesuffix(".npy"): archive.read(info) for info in infos}
    except _BAD_ZIP as error:
        raise refusal(f"{name} is damaged ({error or type(error).__name__})") from None


def _check_names(name: str, members: list[str], types: ArrayTypes, refusal: Refusal) -> None:
    for key, wanted in types.items():
        if f"{key}.npy" not in members and not wanted.optional:
            raise refusal(f"{name} lacks the array {key}")
    for found in sorted(set(members) - {f"{key}.npy" for key in types}):
        raise refusal(f"{name} has an array {found[:60]!r}, which the specification does not name")
    if len(members) != len(set(members)):
        raise refusal(f"{name} has an array twice")


def _array(member: bytes, name: str, wanted: ArrayType, sizes: dict[str, int], refusal: Refusal) -> Any:
    """Read one array; `sizes` holds the open dimensions that are known so far."""
    stream = io.BytesIO(member)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, kind = read(stream)
    except _BAD_HEADER:
        raise refusal(f"{name}: its header is damaged") from None
    if 0 in shape and kind.kind in "fi":
        kind = np.dtype(wanted.kind)  # where there are no numbers, their type does not matter
    if kind.str != wanted.kind or not _fits(shape, wanted.shape, sizes):
        raise refusal(f"{name} is {kind.str[:20]} {_short(shape)}, not {wanted.kind} {_short(wanted.shape)}")
    if len(member) - stream.tell() != math.prod(shape) * kind.itemsize:
        raise refusal(f"{name}: {len(member) - stream.tell()} bytes for the shape {_short(shape)}")
    flat = np.frombuffer(member, kind, offset=stream.tell())
    array = flat.reshape(shape, order="F" if by_columns else "C").copy()
    if wanted.finite and not np.isfinite(array).all():
        raise refusal(f"{name} has a value that is not finite")
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int | AtMost, ...], sizes: dict[str, int]) -> bool:
    if len(shape) != len(wanted):
        return False
    for size, each in zip(shape, wanted, strict=True):
        if isinstance(each, AtMost):
            if not 0 <= size <= each.most or sizes.setdefault(each.name, size) != size:
                return False
        elif size != each:
            return False
    return True


def _short(shape: tuple[Any, ...]) -> str:
    return f"[{', '.join(each.name if isinstance(each, AtMost) else str(each) for each in shape)}]"[:80]
