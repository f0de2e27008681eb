"""Unpack compressed parts of a recording up to a limit: what a part claims is checked, and no part unpacks to more."""

from __future__ import annotations

import bz2

import lz4.frame
import zstandard

from rtsysid.guards.limits import checked_size, limit

_LEAST_WINDOW = 1 << 20  # bytes that zstd may look back, however low the limit of a chunk is
_FIRST_PART = 1 << 16  # bytes


def unpack_chunk(compression: str, packed: bytes, claimed: int) -> bytes:
    """Unpack a chunk that claims `claimed` bytes.

    Raises ValueError where it is damaged or holds more or less, TraceError where the claim exceeds the limit.
    """
    size = checked_size("a chunk", claimed, "chunk_bytes")
    try:
        chunk = unpack(compression, packed, size + 1)  # one byte more than the claim tells a longer one
    except Exception as error:  # each compression has its own errors
        raise ValueError(f"a chunk does not unpack: {error}") from error
    if len(chunk) != size:
        raise ValueError(f"a chunk claims {size} bytes and holds {'more' if len(chunk) > size else len(chunk)}")
    return chunk


def unpack(compression: str, packed: bytes, most: int) -> bytes:
    """Unpack bytes, and stop after `most`. Raises ValueError, or an error of the library, where they are damaged."""
    if compression == "zstd":
        return _unpack_zstd(packed, most)
    if compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed, max_length=most))
    if compression == "bz2":
        return bz2.BZ2Decompressor().decompress(packed, max_length=most)
    if compression not in ("", "none"):
        raise ValueError(f"compression {compression[:20]!r} is not known")
    return packed


def _unpack_zstd(packed: bytes, most: int) -> bytes:
    """Read in parts that grow: one read of `most` bytes would allocate all of them for each small message."""
    parts, left, size = [], most, _FIRST_PART
    with zstd_decompressor().stream_reader(packed) as stream:
        while left and (part := stream.read(min(size, left))):
            parts.append(part)
            left, size = left - len(part), 2 * size
    return b"".join(parts)


def zstd_decompressor() -> zstandard.ZstdDecompressor:
    """Return a decompressor that looks back no further than the limit of a chunk."""
    return zstandard.ZstdDecompressor(max_window_size=max(limit("chunk_bytes"), _LEAST_WINDOW))
