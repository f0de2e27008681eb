"""Write recordings that claim or hold more than a reader may take: each is refused in one line, in little memory.

`HOSTILE` has an entry for each format: name, what writes the file, and what the error says.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame
import numpy as np
import zstandard
from support.hostile_logs import COLUMNS, LOGS
from support.mutated_recordings import varint

from rtsysid.recordings.mcap_records import MAGIC

MANY = 400 << 20  # bytes: more than a reader may take beyond what the file honestly holds


class Hostile(NamedTuple):
    """Name a hostile file, write it, and say what the refusal contains."""

    name: str
    write: Callable[[Path], object]
    says: str


def npy(descr: str, shape: str, fortran: bool = False, body: bytes = b"") -> bytes:
    """Return an npy file with any claim in its header."""
    head = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + body


def array(values: Any) -> bytes:
    """Return an honest npy file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(values))
    return out.getvalue()


T = array(np.arange(5) / 100)


def npz(method: int = zipfile.ZIP_STORED, **members: bytes) -> Callable[[Path], None]:
    """Return what writes an archive of these members."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return write


def zip_field(local: int, central: int, value: int) -> Callable[[Path], None]:
    """Return what writes an archive whose members have another value in a field of their headers."""

    def write(path: Path) -> None:
        npz(t=T, a=T)(path)
        raw = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
            at = -1
            while (at := raw.find(mark, at + 1)) >= 0:
                struct.pack_into("<H", raw, at + offset, value)
        path.write_bytes(raw)

    return write


def many_arrays(path: Path) -> None:
    """Write an archive of more arrays than a table may have columns."""
    npz(**{f"a{k}": T for k in range(COLUMNS + 1)})(path)


def directory(entries: int, long: bool = False) -> Callable[[Path], None]:
    """Return what writes an archive of entries without a name and without content."""
    listed = (b"PK\1\2" + bytes(42)) * entries
    record = struct.pack("<4sQ28xQQ", b"PK\6\6", 44, len(listed), 0) + struct.pack("<4s4xQI", b"PK\6\7", len(listed), 1)
    size = 0xFFFFFFFF if long else len(listed)
    end = struct.pack("<4s8xI4xH", b"PK\5\6", size, 0)
    return text(listed + (record if long else b"") + end)


def bomb(path: Path) -> None:
    """Write an array of zeros whose archive is a thousandth of it."""
    zeros = array(np.zeros(10_000_000))
    npz(zipfile.ZIP_DEFLATED, t=zeros, a=zeros)(path)


def members(part: bytes, times: int) -> bytes:
    """Return a gzip file of many members, each the same."""
    return gzip.compress(part, 9, mtime=0) * times


def mcap(*records: tuple[int, bytes]) -> bytes:
    """Return an MCAP file without a summary."""
    body = b"".join(struct.pack("<BQ", opcode, len(content)) + content for opcode, content in records)
    start = struct.pack("<I", 4) + b"ros2" + struct.pack("<I", 0)
    head = struct.pack("<BQ", 1, len(start)) + start
    return MAGIC + head + body + struct.pack("<BQ", 2, 20) + bytes(20) + MAGIC


def chunk(compression: bytes, size: int, data: bytes) -> tuple[int, bytes]:
    """Return a chunk that claims `size` bytes."""
    head = struct.pack("<QQQII", 0, 0, size, 0, len(compression)) + compression
    return 6, head + struct.pack("<Q", len(data)) + data


def zeros_zstd() -> bytes:
    """Compress zeros, a part at a time."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, size=MANY, closefd=False) as stream:
        for _ in range(MANY >> 24):
            stream.write(bytes(1 << 24))
    return out.getvalue()


def zeros_lz4() -> bytes:
    """Compress zeros, a part at a time."""
    compressor = lz4.frame.LZ4FrameCompressor()
    parts = [compressor.begin(), *(compressor.compress(bytes(1 << 24)) for _ in range(MANY >> 24)), compressor.flush()]
    return b"".join(parts)


def prefixed(text: bytes) -> bytes:
    """Return a text with its length."""
    return struct.pack("<I", len(text)) + text


def packed(compression: bytes, make: Callable[[], bytes]) -> Callable[[Path], object]:
    """Return what writes a chunk that claims 1,000 bytes and holds more."""
    return lambda path: path.write_bytes(mcap(chunk(compression, 1000, make())))


def definition(text: str, metadata: bytes = b"", name: bytes = b"x/msg/T") -> bytes:
    """Return an MCAP file with one type, one channel and no message."""
    schema = struct.pack("<H", 1) + prefixed(name) + prefixed(b"ros2msg") + prefixed(text.encode())
    channel = struct.pack("<HH", 1, 1) + prefixed(b"/t") + prefixed(b"cdr") + prefixed(metadata)
    return mcap((3, schema), (4, channel))


def nested(levels: int, fields: tuple[str, ...]) -> str:
    """Return a definition in which each level holds the fields, of the type of the next level."""
    parts = [[f"A{k + 1}{each}" for each in fields] for k in range(levels)]
    heads = ["", *(f"{'=' * 80}\nMSG: x/A{k}\n" for k in range(1, levels + 1))]
    return "".join(f"{head}{chr(10).join(part)}\n" for head, part in zip(heads, [*parts, ["float64 v"]], strict=True))


def table(deep: str) -> bytes:
    """Return the metadata of a channel of a recording of rtsysid, with this text as its table."""
    return prefixed(b"channels") + prefixed(deep.encode())


def message(text: str, payload: bytes) -> bytes:
    """Return an MCAP file with one message."""
    schema = struct.pack("<H", 1) + prefixed(b"x/msg/T") + prefixed(b"ros2msg") + prefixed(text.encode())
    channel = struct.pack("<HH", 1, 1) + prefixed(b"/t") + prefixed(b"cdr") + prefixed(b"")
    return mcap((3, schema), (4, channel), (5, struct.pack("<HIQQ", 1, 0, 0, 0) + b"\0\1\0\0" + payload))


def parquet(**columns: Any) -> Callable[[Path], None]:
    """Return what writes columns as Parquet."""

    def write(path: Path) -> None:
        import pyarrow
        from pyarrow import parquet as files

        files.write_table(pyarrow.table({name: make() for name, make in columns.items()}), path, compression="zstd")

    return write


def list_pages(path: Path) -> None:
    """Write lists of zeros, of which each value is in the pages, which are packed."""
    import pyarrow
    from pyarrow import parquet as files

    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(10_000_000)), 2)
    table = pyarrow.table({"t": np.zeros(5_000_000), "a": lists})
    files.write_table(table, path, compression="zstd", use_dictionary=False, row_group_size=5_000_000)


def thrift(*fields: tuple[int, int, bytes]) -> bytes:
    """Return a structure of fields, each with its number, its type and its bytes, in the compact protocol."""
    steps = zip((0, *(each[0] for each in fields)), fields, strict=False)
    return b"".join(bytes([number - before << 4 | kind]) + value for before, (number, kind, value) in steps) + b"\0"


def number(value: int) -> bytes:
    """Return a signed number that is not negative."""
    return varint(2 * value)


def of_structures(*items: bytes) -> bytes:
    """Return a list of structures."""
    return b"\xfc" + varint(len(items)) + b"".join(items)


def double(name: bytes) -> bytes:
    """Return a column of doubles, never null, for a schema."""
    return thrift((1, 5, number(5)), (3, 5, number(0)), (4, 8, b"\1" + name))


SCHEMA = of_structures(thrift((4, 8, b"\1s"), (5, 5, number(2))), double(b"t"), double(b"a"))


def footer(schema: bytes, groups: bytes, pages: bytes = b"") -> bytes:
    """Return a Parquet file of 100 rows."""
    about = thrift((1, 5, number(2)), (2, 9, schema), (3, 6, number(100)), (4, 9, groups))
    return b"PAR1" + pages + about + struct.pack("<I", len(about)) + b"PAR1"


def group(*chunks: bytes) -> bytes:
    """Return a row group of 100 rows."""
    return thrift((1, 9, of_structures(*chunks)), (2, 6, number(1)), (3, 6, number(100)))


def chunk_of(name: bytes, size: int, start: int = 4) -> bytes:
    """Return where the pages of a column are: `size` bytes from `start`, packed with zstd."""
    kind = (1, 5, number(5)), (2, 9, b"\x15\0"), (3, 9, b"\x18\1" + name), (4, 5, number(6)), (5, 6, number(100))
    place = (6, 6, number(1000)), (7, 6, number(size)), (9, 6, number(start))
    return thrift((2, 6, number(4)), (3, 12, thrift(*kind, *place)))


def expanding(claims: int, *kinds: int) -> Callable[[Path], object]:
    """Return what writes a file with a page of each kind, 0 for data and 2 for a dictionary, of `claims` bytes."""

    def write(path: Path) -> None:
        packed = zeros_zstd()
        heads = [thrift((1, 5, number(kind)), (2, 5, number(claims)), (3, 5, number(len(packed)))) for kind in kinds]
        pages = b"".join(head + packed for head in heads)
        chunks = group(chunk_of(b"t", 0), chunk_of(b"a", len(pages)))
        path.write_bytes(footer(SCHEMA, of_structures(chunks), pages))

    return write


def groups(*chunks: bytes) -> Callable[[Path], None]:
    """Return what writes a file of two columns whose row group has these."""
    return text(footer(SCHEMA, of_structures(group(*chunks))))


def wide_parquet(path: Path) -> None:
    """Write a table of more columns than the limit."""
    import pyarrow
    from pyarrow import parquet as files

    table = pyarrow.table({f"c{k}": [0.0] for k in range(COLUMNS + 1)})
    files.write_table(table, path, use_dictionary=False, compression="none")


def text(content: bytes | Iterator[bytes]) -> Callable[[Path], None]:
    """Return what writes bytes."""

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            stream.writelines([content] if isinstance(content, bytes) else content)

    return write


DEEP = '[{"field":"a","name":"b","x":' + "[" * 200_000 + "]" * 200_000 + "}]"
WIDE = ",".join(f"c{k}" for k in range(1_000_000)).encode()
ROWS = b"0,0\n" * (1 << 20)
BLANKS = b" " * (1 << 23)

HOSTILE: dict[str, tuple[Hostile, ...]] = {
    ".csv": (
        Hostile("one line of 64 MB", text(b"t,a\n0," + b"1" * (64 << 20)), "limit line_bytes"),
        Hostile("one line of 64 MB as header", text(b"t" * (64 << 20)), "limit line_bytes"),
        Hostile("a million columns", text(b"t," + WIDE + b"\n" + b"0," * 1_000_000 + b"0\n"), "limit columns"),
        Hostile("a million cells under two columns", text(b"t,a\n" + b"," * 1_000_000 + b"\n"), "limit columns"),
        Hostile("blank lines", text(b"t,a\n" + b"\n" * 200_000), "blank lines in a row"),
    ),
    ".csv.gz": (
        Hostile("lines that repeat", text(members(b"t,a\n" + ROWS, 1) + members(ROWS, 100)), "RTSYSID_LIMITS=growth="),
        Hostile("one line of 400 MB", text(members(b"0" * (1 << 23), MANY >> 23)), "RTSYSID_LIMITS=text_growth="),
        Hostile("blank lines", text(members(b"t,a\n", 1) + members(b"\n" * (1 << 22), 100)), "blank lines in a row"),
    ),
    ".tsv": (
        Hostile("one line of 64 MB", text(b"t\ta\n0\t" + b"1" * (64 << 20)), "limit line_bytes"),
        Hostile("a million columns", text(WIDE.replace(b",", b"\t") + b"\n" + b"0\t" * 999_999 + b"0\n"), "columns"),
        Hostile("a million cells under two columns", text(b"t\ta\n" + b"\t" * 1_000_000 + b"\n"), "limit columns"),
        Hostile("comment lines", text(b"# a\n" * 300_000), "no time column"),
    ),
    ".tsv.gz": (Hostile("one line of 400 MB", text(members(b"0" * (1 << 23), MANY >> 23)), "LIMITS=text_growth="),),
    ".txt": (
        Hostile("a million columns", text(WIDE.replace(b",", b"  ") + b"\n" + b"0 " * 999_999 + b"0\n"), "columns"),
        Hostile("64 MB of blanks", text(b"t a\n" + b"0 1\n" * 600 + b"0 " * (32 << 20)), "limit line_bytes"),
        Hostile("brackets that never close", text(b"t (a " * 100_000 + b"\n0 1\n"), "limit columns"),
    ),
    ".txt.gz": (
        Hostile("400 MB of blanks", text(members(b"t a\n" + b"0 1\n" * 600, 1) + members(BLANKS, 50)), "growth"),
    ),
    ".npz": (
        Hostile("5e9 values", npz(t=T, a=npy("'<f4'", "(5, 1000000000)")), "claims the shape"),
        Hostile("5e9 columns of no row", npz(a=npy("'<f4'", "(0, 5000000000)")), "limit columns"),
        Hostile("1e12 rows", npz(t=npy("'<f8'", f"({10**12},)")), "claims the shape"),
        Hostile("rows below 0", npz(t=npy("'<f8'", "(-5,)"), a=npy("'<f8'", "(-5,)")), "claims the shape"),
        Hostile("columns cut short", npz(t=T, a=npy("'<f8'", "(5, 3)", True, bytes(8))), "claims the shape"),
        Hostile("two dimensions of starts", npz(t=T, a=T, episode_starts=array(np.zeros((2, 2), int))), "(2, 2)"),
        Hostile("channels cut", npz(t=T, values=T, channels=npy("'<U250000000'", "()", body=bytes(9))), "claims"),
        Hostile("deep channels", npz(t=T, values=array(np.ones((5, 1))), channels=array(DEEP)), "damaged"),
        Hostile("a header of 4 GB", npz(t=b"\x93NUMPY\2\0" + b"\xff" * 4 + b" " * 99), "header of 4294967295 bytes"),
        Hostile("a nested header", npz(t=npy("(" * 900, "(5,)")), "header"),
        Hostile("one array more than columns", many_arrays, "limit columns"),
        Hostile("encrypted", zip_field(6, 8, 1), "encrypted"),
        Hostile("compressed by an unknown method", zip_field(8, 10, 99), "method 99"),
        Hostile("compressed by LZMA", npz(zipfile.ZIP_LZMA, t=T, a=T), "method 14"),
        Hostile("zeros, a thousandth of them", bomb, "RTSYSID_LIMITS=growth="),
        Hostile("many entries", directory(1_000_000), "limit columns"),
        Hostile("many entries, counted in 64 bits", directory(1_000_000, True), "limit columns"),
    ),
    ".parquet": (
        Hostile("rows that repeat", parquet(t=lambda: np.zeros(20_000_000), a=lambda: np.zeros(20_000_000)), "growth="),
        Hostile("pages of lists that expand", list_pages, "row group 1"),
        Hostile("one column more than the limit", wide_parquet, "limit columns"),
        Hostile("a page that expands", expanding(MANY, 0), "row group 1"),
        Hostile("a dictionary that expands", expanding(MANY, 2, 0), "row group 1"),
        Hostile("a page of 2^63 bytes", expanding((1 << 63) - 1, 0), "row group 1"),
        Hostile("many columns", text(footer(of_structures(*[b"\0"] * 900_000), of_structures())), "its footer"),
        Hostile("one column in a group", groups(b"\0"), "1 columns in a table of 2"),
        Hostile("columns without metadata", groups(b"\0", b"\0"), "damaged"),
        Hostile("columns elsewhere", groups(*[chunk_of(b"a", 1 << 40)] * 2), "outside the file"),
    ),
    ".mcap": (
        Hostile("zstd beyond its claim", packed(b"zstd", zeros_zstd), "holds more"),
        Hostile("lz4 beyond its claim", packed(b"lz4", zeros_lz4), "holds more"),
        Hostile("a chunk of 4 GB", text(mcap(chunk(b"zstd", 1 << 32, b""))), "limit chunk_bytes"),
        Hostile("an unknown compression", text(mcap(chunk(b"brotli", 10, b"x"))), "brotli"),
        Hostile("a type that doubles", text(definition(nested(40, ("[] a", "[] b")))), "limit"),
        Hostile("a type that doubles 12 times", text(definition(nested(12, ("[] a", "[] b")))), "message_fields"),
        Hostile("a chain of 1,000 types", text(definition(nested(1000, (" a",)))), "limit depth"),
        Hostile("a deep table", text(definition("float64 v", table(DEEP), b"rtsysid_msgs/msg/Sample")), "table"),
        Hostile("a definition of 8 MB", text(definition("float64 v\n" * 800_000)), "limit definition_bytes"),
        Hostile("an array of 2^32", text(message("bool[] x\nint32 y", b"\xff" * 4 + bytes(99))), "message_values"),
    ),
    **{suffix: tuple(Hostile(*each) for each in logs) for suffix, logs in LOGS.items()},
}  # fmt: skip
