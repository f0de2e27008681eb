"""Write logs of other programs that claim or hold more than a reader may take; see `hostile_recordings`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.blackbox_writer import LOG_END, SETTINGS, Writer
from support.small_logs import ULOG_START, dataflash_format, dataflash_message, subscription, ulog_message

MANY = 400 << 20  # bytes: more than a reader may take beyond what the file honestly holds
COLUMNS = 2_000  # the limit on columns under which these are read: wide tables take long to write


def ulog(*formats: bytes, name: str = "a", topics: int = 1) -> bytes:
    """Return a file of formats and subscriptions."""
    about = b"".join(ulog_message("F", each) for each in formats)
    return ULOG_START + about + b"".join(subscription(number, name) for number in range(topics))


def doubling(levels: int) -> list[bytes]:
    """Return formats of which each holds the next one twice."""
    stamp = b"uint64_t timestamp;"
    inner = [b"%c:%c x;%c y;" % (97 + k, 98 + k, 98 + k) for k in range(levels)]
    return [inner[0][:2] + stamp + inner[0][2:], *inner[1:], b"%c:float v;" % (97 + levels)]


def many_formats() -> bytes:
    """Return a file of more text of formats than a reader takes."""
    text = b"uint64_t timestamp;" + b"float[2] abcdefghijklmnopqrstuvwxyz;" * 1_700
    return ulog(*[b"f%d:" % k + text for k in range(80)])


def many_values() -> bytes:
    """Return a DataFlash log of 100 types of 96 values in arrays."""
    out = dataflash_format(128, 89, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns")
    for number in range(1, 101):
        out += dataflash_format(number, 3 + 8 + 3 * 64, f"X{number}", "Qaaa", "TimeUS,a,b,c")
        out += dataflash_message(number, "Q96h", 1, *range(96))
    return out


def element(kind: int, content: bytes, claims: int | None = None) -> bytes:
    """Return an element of a MAT file."""
    size = len(content) if claims is None else claims
    return struct.pack("<II", kind, size) + content + bytes(-len(content) % 8)


def matrix(kind: int, dimensions: tuple[int, ...], *content: bytes, name: bytes = b"") -> bytes:
    """Return a matrix of a MAT file."""
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dimensions)}i", *dimensions))
    return element(14, head + element(1, name) + b"".join(content))


def mat(*variables: bytes) -> bytes:
    """Return a MAT file."""
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(variables)


def compressed(variable: bytes) -> bytes:
    packed = zlib.compress(variable, 9)
    return struct.pack("<II", 15, len(packed)) + packed


def cells(levels: int) -> bytes:
    """Return cells in cells."""
    inner = matrix(6, (1, 1), element(9, bytes(8)))
    for _ in range(levels):
        inner = matrix(1, (1, 1), inner)
    return inner


def structures(count: int) -> bytes:
    """Return a claim of so many structures of one field, and two of them."""
    names = element(5, struct.pack("<i", 4)) + element(1, b"x\0\0\0")
    return matrix(
        2, (1, count), names, matrix(6, (0, 0), element(9, b"")), matrix(6, (0, 0), element(9, b"")), name=b"s"
    )


def blackbox(fields: int, rows: int, encoding: int, **settings: str) -> bytes:
    """Return a log of frames of few bytes and many fields."""
    names = ("loopIteration", "time", *(f"d[{k}]" for k in range(fields)))
    numbers = (0,) * fields
    codes = (encoding,) * fields
    layouts = ((0, 0, *numbers), (1, 1, *codes)), ((6, 2, *numbers), (9, 0, *codes))
    writer = Writer(names, *layouts, (0,) * len(names), 32, 1, dict(SETTINGS) | settings)
    return writer.header() + (b"I\0\1" + b"P\0" * 31) * (rows // 32) + LOG_END


def hdf5(fill: Callable[..., object]) -> Callable[[Path], None]:
    """Return what writes an HDF5 file."""

    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            fill(file)

    return write


def many_arrays(file: object) -> None:
    for k in range(COLUMNS + 1):
        file[f"a{k}"] = np.zeros(1)  # type: ignore[index]


def zeros(file: object) -> None:
    file.create_dataset("a", data=np.zeros(10_000_000), compression="gzip", compression_opts=9)  # type: ignore[attr-defined]


def never_stored(file: object) -> None:
    file.create_dataset("a", (1 << 40,), "f8", chunks=(1024,))  # type: ignore[attr-defined]


def wide(file: object) -> None:
    file.create_dataset("a", (1 << 30, 1 << 29), "f8", chunks=(64, 64))  # type: ignore[attr-defined]


def groups(file: object) -> None:
    file.create_group("/".join(["a"] * 60))["x"] = np.zeros(9)  # type: ignore[attr-defined]


def written(content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content())


ULOG = (
    ("a format that holds itself", written(lambda: ulog(b"a:uint64_t timestamp;a x;")), "limit depth"),
    ("a format that doubles 20 times", written(lambda: ulog(*doubling(20))), "limit message_fields"),
    ("an array of 999,999", written(lambda: ulog(b"a:uint64_t timestamp;float[999999] x;")), "limit message_fields"),
    ("60,000 topics", written(lambda: ulog(b"a:uint64_t timestamp;float[4000] x;", topics=60_000)), "limit columns"),
    ("5 MB of formats", written(many_formats), "limit definition_bytes"),
)
HDF5 = (
    ("zeros, a thousandth of them", hdf5(zeros), "RTSYSID_LIMITS=growth="),
    ("2^40 values that are not stored", hdf5(never_stored), "RTSYSID_LIMITS=growth="),
    ("2^29 columns", hdf5(wide), "limit columns"),
    ("one array more than columns", hdf5(many_arrays), "limit columns"),
    ("60 groups in groups", hdf5(groups), "limit depth"),
)
BLACKBOX = (
    ("20,000 fields", written(lambda: blackbox(20_000, 1, 9)), "line of more than 65536"),
    ("5,000 fields", written(lambda: blackbox(5_000, 1, 9)), "limit message_fields"),
    ("1,500 fields of no byte", written(lambda: blackbox(1_500, 200_000, 9)), "RTSYSID_LIMITS=text_growth="),
    ("frames of 300 bytes", written(lambda: blackbox(300, 32, 0)), "more than 256"),
    ("an interval of 10^9", written(lambda: blackbox(2, 32, 0).replace(b"l:32", b"l:999999999")), "interval"),
)  # fmt: skip
LOGS: dict[str, tuple[tuple[str, Callable[[Path], object], str], ...]] = {
    ".ulg": ULOG,
    ".bin": (
        ("100 types of 96 values", written(many_values), "limit columns"),
        ("a million marks", written(lambda: b"\xa3\x95" * 1_000_000), "describes no message"),
    ),
    ".h5": HDF5,
    ".hdf5": HDF5,
    ".mat": (
        ("zeros, a thousandth of them", written(lambda: mat(compressed(bytes(MANY)))), "RTSYSID_LIMITS=growth="),
        ("2^30 structures", written(lambda: mat(structures(1 << 30))), "limit columns"),
        ("60 cells in cells", written(lambda: mat(cells(60))), "limit depth"),
        ("a wide array", written(lambda: mat(matrix(9, (9999, 9998), element(2, bytes(9999 * 9998)), name=b"x"))),
         "limit columns"),
        ("an array that claims more", written(lambda: mat(matrix(6, (1 << 30, 9), element(9, bytes(800))))), "size"),
    ),
    ".bbl": BLACKBOX,
    ".bfl": BLACKBOX,
}  # fmt: skip
