"""Frames per second of the decoders, compared with only the library calls that a frame needs in Python."""

from __future__ import annotations

import random
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from cobs import cobs

from firmware_bridge import messages as m
from firmware_bridge.build import FIRMWARE, compile_c
from firmware_bridge.wire import FrameDecoder, FrameEncoder
from rtsysid.cli.console import table

FRAMES, ROUNDS, READ = 20_000, 7, 4096
SCHEMA, SESSION, PAYLOAD = 0x1B5E94C3, 7, 64  # bytes: sixteen f32 channels


def main() -> None:
    data = recording()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bytes"
        path.write_bytes(data)
        program = compile_c("bench-decode", [FIRMWARE / "wire.c", Path(__file__).parent / "wire_decode.c"])
        found = fastest(
            {
                "bare cobs, crc32, unpack in Python": lambda: timed(lambda: bare(data)),
                f"FrameDecoder, reads of {READ} B": lambda: timed(lambda: fed(data, READ)),
                "FrameDecoder, one frame a read": lambda: timed(lambda: fed(data, len(data) // FRAMES)),
                "wire.c": lambda: in_c(program, path),
            }
        )
    peer = found["bare cobs, crc32, unpack in Python"]
    rows = [[name, f"{FRAMES / s:,.0f}", f"{peer / s:.2f}"] for name, s in found.items()]
    print(f"{FRAMES:,} frames with {PAYLOAD} B of samples\n")
    print(table(["decoder", "frames/s", "of bare calls"], rows))


def recording() -> bytes:
    """Return a stream of samples without the first extra delimiter, so that all frames have the same length."""
    source, encoder = random.Random(1), FrameEncoder(SESSION, SCHEMA)
    parts = [encoder.encode_payload(m.Sample.CODE, source.randbytes(PAYLOAD), 1000 * i) for i in range(FRAMES)]
    return b"".join(parts)[1:]


def fastest(candidates: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the seconds of the best round of each. They alternate, so that a slow machine slows all of them."""
    rounds = [{name: run() for name, run in candidates.items()} for _ in range(ROUNDS)]
    return {name: min(r[name] for r in rounds) for name in candidates}


def timed(run: Callable[[], int]) -> float:
    begun = time.perf_counter()
    frames = run()
    spent = time.perf_counter() - begun
    assert frames == FRAMES
    return spent


def bare(data: bytes) -> int:
    header, crc = struct.Struct("<BBHI"), struct.Struct("<I")
    frames = 0
    for piece in data.split(b"\0")[:-1]:
        raw = cobs.decode(piece)
        header.unpack_from(raw)
        frames += zlib.crc32(raw[:-4], SCHEMA) == crc.unpack_from(raw, len(raw) - 4)[0]
    return frames


def fed(data: bytes, size: int) -> int:
    decoder = FrameDecoder(SCHEMA, SESSION)
    return sum(len(decoder.feed(data[i : i + size])) for i in range(0, len(data), size))


def in_c(program: Path, path: Path) -> float:
    done = subprocess.run([program, path, str(SCHEMA), str(SESSION)], capture_output=True, check=True, text=True)
    seconds, frames = done.stdout.split()
    assert int(frames) == FRAMES
    return float(seconds)
