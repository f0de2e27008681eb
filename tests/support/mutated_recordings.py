"""Mutate recordings of each format along their structure, and read them in a process that counts its memory.

Run as a program, in a folder of its own: ``python -m support.mutated_recordings COUNT SEED [SUFFIX..]`` reads so many
mutants of each format and prints one JSON object: per suffix the mutants that were read, those that were refused, and
every other end; the peak of the memory above that before the first mutant, in bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import signal
import struct
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from mcap.opcode import Opcode
from support.memory import peak
from support.mutated_logs import LOG_MUTATORS, LOG_SEEDS
from support.mutated_ros import ROS_MUTATORS, ROS_SEEDS
from support.mutations import EDGES, mutated_bytes

from rtsysid.errors import RtsysidError
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.formats import FORMATS
from rtsysid.recordings.formats.thrift import STRUCT, Compact
from rtsysid.recordings.mcap_records import MAGIC
from rtsysid.recordings.recover import recover
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

CPU_S = 5.0  # a mutant that takes longer hangs
CELLS = (
    "", "nan", "-inf", "1e999", "1_0", "\u0663", "0x10", '"', '""', "'", ",", ",,,,", "\n", "\r\n", "\0", "a" * 300,
    "9" * 400, "true", "\ufeff", "t", "episode", "[m]", "=1+1", "#", ";", "\t", "-", "1.5", "\x1b[31m", '"a\nb"',
    "1,5", "12.345,6", "10:00:05.5", "2025-03-04T10:00:00Z", "2025-02-30 10:00:00", "# t", "sep=;", "%", "(s)", "|",
)  # fmt: skip
CLAIMS = (*map(str, EDGES), "-1", "True", "'<f4'", "'|b1'", "'>i8'", "()", "1, 1")


def mutated_text(raw: bytes, chance: random.Random, delimiter: str = ",") -> bytes:
    """Replace, repeat or remove cells and lines of a table."""
    lines = raw.decode().split("\n")
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(lines))
        cells = lines[at].split(delimiter)
        kind = chance.randrange(6)
        if kind < 3:
            cells[chance.randrange(len(cells))] = chance.choice(CELLS)
            lines[at] = delimiter.join(cells)
        elif kind == 3:
            lines[at] = delimiter.join(cells * chance.choice((0, 2, 50)))
        elif kind == 4:
            lines[at:at] = [lines[0], "", " "][: chance.randrange(4)]
        else:
            del lines[at]
            lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _csv(raw: bytes, chance: random.Random, delimiter: str = ",") -> bytes:
    return mutated_text(raw, chance, delimiter) if chance.random() < 0.7 else mutated_bytes(raw, chance)


def _gzip(raw: bytes, chance: random.Random, delimiter: str = ",") -> bytes:
    if chance.random() < 0.3:
        return mutated_bytes(raw, chance)
    return gzip.compress(_csv(gzip.decompress(raw), chance, delimiter), 1)


def _claim(header: bytes, chance: random.Random) -> bytes:
    """Change a number or a word of an array's header, which keeps its length; sometimes any byte of it."""
    if chance.random() < 0.3:
        return mutated_bytes(header, chance)
    text = header[10:].decode("latin-1")
    places = [each.span() for each in re.finditer(r"\d+|True|False|'[^']*'", text)]
    begin, end = chance.choice(places)
    text = (
        text[:begin]
        + chance.choice((*map(str, EDGES), "-1", "True", "'<f4'", "'|b1'", "'>i8'", "()", "1, 1"))
        + text[end:]
    )
    return header[:10] + text.encode("latin-1")[: len(header) - 10].ljust(len(header) - 10)


def _npz(raw: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return mutated_bytes(raw, chance)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(members))
    content = members.pop(name)
    header = 10 + struct.unpack("<H", content[8:10])[0]
    head, body = content[:header], content[header:]
    part = chance.randrange(3)
    head = _claim(head, chance) if part != 1 else head
    body = mutated_bytes(body, chance) if part != 0 else body
    members[name if chance.random() < 0.8 else chance.choice(("t.npy", "x.npy", "channels.npy"))] = head + body
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for each, stored in members.items():
            archive.writestr(each, stored)
    return out.getvalue()


class _Numbers(Compact):
    """Walk a structure, and note where its numbers are: values, lengths and counts."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.places: list[tuple[int, int]] = []
        self.skip(STRUCT)

    def _varint(self) -> int:
        begin, value = self.at, super()._varint()
        self.places.append((begin, self.at))
        return value


def varint(number: int) -> bytes:
    """Return an unsigned number as Thrift and Protocol Buffers write it."""
    low, rest = number & 127, number >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + varint(rest)


def _parquet(raw: bytes, chance: random.Random) -> bytes:
    """Mutate the pages or the footer; the footer keeps its length field, so that it is read."""
    (length,) = struct.unpack("<I", raw[-8:-4])
    pages, footer = raw[: -8 - length], raw[-8 - length : -8]
    kind = chance.randrange(4)
    if kind < 2:
        begin, end = chance.choice(_Numbers(footer).places)
        footer = footer[:begin] + varint(chance.choice(EDGES)) + footer[end:]
    elif kind == 2:
        footer = mutated_bytes(footer, chance)
    else:
        pages = mutated_bytes(pages, chance)
    return pages + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, at)
        yield opcode, data[at + 9 : at + 9 + length]
        at += 9 + length


def _mcap(raw: bytes, chance: random.Random) -> bytes:
    """Mutate the content of records, outside and inside the chunks, whose sizes and checksums are then made right."""
    if chance.random() < 0.2:
        return mutated_bytes(raw, chance)
    out = []
    records = list(_records(raw[len(MAGIC) : -len(MAGIC)]))
    chosen = chance.randrange(len(records))
    for k, (opcode, content) in enumerate(records):
        body = _mutated_record(opcode, content, k == chosen, chance)
        length = len(body) if chance.random() < 0.99 else chance.choice(EDGES)
        out.append(struct.pack("<BQ", opcode, length) + body)
    return MAGIC + b"".join(out) + MAGIC


def _mutated_record(opcode: int, body: bytes, chosen: bool, chance: random.Random) -> bytes:
    if opcode == Opcode.CHUNK and chance.random() < 0.7:
        inner = [(o, mutated_bytes(b, chance) if chance.random() < 0.1 else b) for o, b in _records(body[40:])]
        packed = b"".join(struct.pack("<BQ", o, len(b)) + b for o, b in inner)
        return struct.pack("<QQQIIQ", 0, 1, len(packed), 0, 0, len(packed)) + packed
    if chosen:
        return mutated_bytes(body, chance)
    if opcode == Opcode.FOOTER:  # no checksum of the summary; half of the files have no summary, so chunks are read
        return bytes(20) if chance.random() < 0.5 else body[:16] + bytes(4)
    return body


MUTATORS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".csv": _csv, ".csv.gz": _gzip, ".npz": _npz, ".parquet": _parquet, ".mcap": _mcap, **LOG_MUTATORS,
    ".tsv": partial(_csv, delimiter="\t"), ".tsv.gz": partial(_gzip, delimiter="\t"),
    ".txt": partial(_csv, delimiter="  "), ".txt.gz": partial(_gzip, delimiter="  "), **ROS_MUTATORS,
}  # fmt: skip


def bag(path: Path) -> None:
    """Write a small bag of two topics, in chunks that are not compressed."""
    from mcap.writer import CompressionType, Writer

    text = (
        "x/H h\nfloat64 q\nfloat32[3] a\nfloat64[] more\nstring s\n"
        + "=" * 80
        + "\nMSG: x/H\nint32 sec\nuint32 nanosec\n"
    )
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=600, compression=CompressionType.NONE)
        writer.start("ros2", "another")
        schema = writer.register_schema("x/msg/T", "ros2msg", text.encode())
        channels = [writer.register_channel(name, "cdr", schema, {"channels": "[]"}) for name in ("/a", "/b")]
        for k in range(12):
            body = (
                struct.pack("<iIdfff", k, 5, k / 3, 1, 2, 3)
                + struct.pack("<Idd", 2, 1, 2)[:4]
                + bytes(20)
                + b"\2\0\0\0x\0"
            )
            writer.add_message(channels[k % 2], k * 10**7, b"\0\1\0\0" + body, k * 10**7)
        writer.add_metadata("about", {"a": "b"})
        writer.finish()


def dialect(path: Path, table: str) -> None:
    """Write a table in another dialect: tabs with decimal commas under a row of units, or blanks under a comment."""
    lines = [line.split(",") for line in table.splitlines()]
    if ".tsv" in path.name:
        lines[0] = [cell.partition(" ")[0] for cell in lines[0]]
        rows = [[cell.replace(".", ",") for cell in line] for line in lines[1:]]
        text = "".join("\t".join(line) + "\n" for line in [lines[0], ["s", "", "V", "m", "-"], *rows])
    else:
        text = "# a logger\n\n" + "".join("  ".join(cell or "nan" for cell in line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), 1) if path.name.endswith(".gz") else text.encode())


WRITERS = {".mcap": bag, **LOG_SEEDS, **ROS_SEEDS}


def seeds(folder: Path) -> dict[str, bytes]:
    """Write a small valid recording of each format, and return its bytes by suffix."""
    values = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    channels = (Channel("u", "V", "input"), Channel("y", "m"), Channel("v"))
    trace = Trace(
        channels, (Episode("a", np.arange(20) / 100, values[:20]), Episode("b", np.arange(10) / 100, values[20:]))
    )
    for suffix, each in FORMATS.items():
        path = folder / f"seed{suffix}"
        if each.writable:
            trace.write(path)
        elif each.module == "csv":
            dialect(path, (folder / "seed.csv").read_text())
        else:
            WRITERS[suffix](path)
    return {suffix: (folder / f"seed{suffix}").read_bytes() for suffix in FORMATS}


def use(path: Path) -> None:
    """Do with a file all that the commands do with a recording."""
    trace = Trace.read(path)
    trace.describe()
    for _ in Trace.stream(path, trace.channels):
        pass
    trace.segments(100.0, nan="split", allow_none=True)


def rescue(path: Path) -> None:
    """Read the groups of texts of an MCAP file, and recover it."""
    copy = path.with_name("recovered.mcap")
    copy.unlink(missing_ok=True)
    recover(path, copy)
    Bag(path).metadata()


def outcome(action: Callable[[Path], None], path: Path) -> str:
    """Return how it ended: "read", "refused", or the exception in words."""
    try:
        action(path)
    except RtsysidError as error:
        return "refused" if "\n" not in str(error) else f"not one line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "read"


def _overdue(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {CPU_S:g} s of CPU")


def main(count: int, seed: int, suffixes: list[str]) -> dict[str, Any]:
    """Read mutants in the working folder; see the module."""
    warnings.simplefilter("error")
    signal.signal(signal.SIGPROF, _overdue)
    folder = Path.cwd()
    found: dict[str, Counter[str]] = {}
    originals = seeds(folder)
    for suffix in originals:
        use(folder / f"seed{suffix}")
    begun = peak()
    for suffix in suffixes or originals:
        chance, ends, path = random.Random(f"{seed}{suffix}"), Counter[str](), folder / f"mutant{suffix}"
        for k in range(count):
            path.write_bytes(MUTATORS[suffix](originals[suffix], chance))
            for action in (use, rescue) if suffix == ".mcap" else (use,):
                signal.setitimer(signal.ITIMER_PROF, CPU_S)
                end = outcome(action, path)
                signal.setitimer(signal.ITIMER_PROF, 0)
                ends[end] += 1
                if end not in ("read", "refused"):
                    (folder / f"bad-{k}{suffix}").write_bytes(path.read_bytes())
        found[suffix] = ends
    return {"ends": found, "peak": peak() - begun, "files": sorted(each.name for each in folder.iterdir())}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
