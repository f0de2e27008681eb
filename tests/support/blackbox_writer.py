"""Write Blackbox logs by the documented encodings and predictors, one number at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

SETTINGS = {
    "Firmware revision": "Betaflight 4.4.2 (0) X", "gyro_scale": "0x3f800000", "acc_1G": "2048", "minthrottle": "1070",
    "vbatref": "1257", "motorOutput": "158,2047",
}  # fmt: skip
PRODUCT = "H Product:Blackbox flight data recorder by Nicholas Sherlock\nH Data version:2\n"
LOG_END = b"E\xffEnd of log\0"


def variable(value: int) -> bytes:
    value &= 0xFFFFFFFF
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + variable(rest) if rest else bytes([low])


def zigzag(value: int) -> bytes:
    value = (value + (1 << 31)) % (1 << 32) - (1 << 31)
    return variable((value << 1) ^ (value >> 31))


def fits(value: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def low(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def tag8_8svb(values: Sequence[int]) -> bytes:
    if len(values) == 1:
        return zigzag(values[0])
    tag = sum(1 << k for k, value in enumerate(values) if value)
    return bytes([tag]) + b"".join(zigzag(value) for value in values if value)


def whole_bytes(values: Sequence[int]) -> bytes:
    tag, out = 3 << 6, b""
    for k, value in enumerate(values):
        size = next(n for n in (1, 2, 3, 4) if fits(value, 8 * n))
        tag |= (size - 1) << 2 * k
        out += low(value, 8 * size).to_bytes(size, "little")
    return bytes([tag]) + out


def tag2_3s32(values: Sequence[int]) -> bytes:
    a, b, c = values
    if all(fits(value, 2) for value in values):
        return bytes([low(a, 2) << 4 | low(b, 2) << 2 | low(c, 2)])
    if all(fits(value, 4) for value in values):
        return bytes([1 << 6 | low(a, 4), low(b, 4) << 4 | low(c, 4)])
    if all(fits(value, 6) for value in values):
        return bytes([2 << 6 | low(a, 6), low(b, 6), low(c, 6)])
    return whole_bytes(values)


def tag2_3svariable(values: Sequence[int]) -> bytes:
    a, b, c = values
    if all(fits(value, 2) for value in values):
        return bytes([low(a, 2) << 4 | low(b, 2) << 2 | low(c, 2)])
    if fits(a, 5) and fits(b, 5) and fits(c, 4):
        return (1 << 14 | low(a, 5) << 9 | low(b, 5) << 4 | low(c, 4)).to_bytes(2, "big")
    if fits(a, 8) and fits(b, 7) and fits(c, 7):
        return (2 << 22 | low(a, 8) << 14 | low(b, 7) << 7 | low(c, 7)).to_bytes(3, "big")
    return whole_bytes(values)


def tag8_4s16(values: Sequence[int]) -> bytes:
    """Write half bytes, the higher one first."""
    tag, halves = 0, []
    for k, value in enumerate(values):
        choice = 0 if not value else next(n for n, bits in ((1, 4), (2, 8), (3, 16)) if fits(value, bits))
        tag |= choice << 2 * k
        count = (0, 1, 2, 4)[choice]
        halves += [low(value, 16) >> 4 * n & 15 for n in reversed(range(count))]
    halves += [0] * (len(halves) % 2)
    return bytes([tag]) + bytes(a << 4 | b for a, b in zip(halves[::2], halves[1::2], strict=True))


GROUPED = {6: (8, tag8_8svb), 7: (3, tag2_3s32), 8: (4, tag8_4s16), 10: (3, tag2_3svariable)}
SINGLE = {0: zigzag, 1: variable, 3: lambda value: variable(low(-value, 14)), 9: lambda value: b""}


def encoded(numbers: Sequence[int], encodings: Sequence[int]) -> bytes:
    """Encode the numbers of a frame."""
    out, k = b"", 0
    while k < len(numbers):
        if encodings[k] in SINGLE:
            out += SINGLE[encodings[k]](numbers[k])
            k += 1
            continue
        most, write = GROUPED[encodings[k]]
        count = most
        if encodings[k] == 6:
            count = next((n for n in range(most) if encodings[k + n : k + n + 1] != (6,)), most)
        out += write(numbers[k : k + count])
        k += count
    return out


@dataclass
class Writer:
    """Describe the main frames of a log, and write rows of its fields."""

    names: tuple[str, ...]
    intra: tuple[tuple[int, ...], tuple[int, ...]]  # predictors and encodings of I frames
    inter: tuple[tuple[int, ...], tuple[int, ...]]  # the same of P frames
    signed: tuple[int, ...]
    interval: int = 8
    every: int = 1  # of the iterations is logged
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    more: str = ""  # header lines of other frames

    def header(self) -> bytes:
        lists = {
            "I name": self.names, "I signed": self.signed, "I predictor": self.intra[0], "I encoding": self.intra[1],
            "P predictor": self.inter[0], "P encoding": self.inter[1],
        }  # fmt: skip
        lines = [f"H Field {name}:{','.join(map(str, values))}" for name, values in lists.items()]
        settings = {"I interval": str(self.interval), "P interval": f"1/{self.every}"} | self.settings
        lines += [f"H {name}:{value}" for name, value in settings.items()]
        return (PRODUCT + "\n".join(lines) + "\n" + self.more).encode()

    def frames(self, rows: Sequence[Sequence[int]]) -> list[bytes]:
        """Encode rows; the first field counts iterations, and those that divide by the interval are I frames."""
        out, history = [], [rows[0]] * 2
        for row in rows:
            intra = row[0] % self.interval == 0
            predictors, encodings = self.intra if intra else self.inter
            numbers = [self.left(k, predictors[k], row, history) for k in range(len(row))]
            out.append((b"I" if intra else b"P") + encoded(numbers, encodings))
            history = [row, row] if intra else [row, history[0]]
        return out

    def left(self, k: int, predictor: int, row: Sequence[int], history: Sequence[Sequence[int]]) -> int:
        """Return what a prediction leaves of a value."""
        last, before = history[0][k], history[1][k]
        settings = {name: int(self.settings[name].split(",")[0]) for name in ("minthrottle", "vbatref", "motorOutput")}
        predicted = {
            0: 0, 1: last, 2: 2 * last - before, 3: int((last + before) / 2), 4: settings["minthrottle"],
            5: row[self.names.index("motor[0]")] if predictor == 5 else 0, 6: last + self.every, 8: 1500,
            9: settings["vbatref"], 11: settings["motorOutput"],
        }  # fmt: skip
        return row[k] - predicted[predictor]


def small(rows: int = 60, start_us: int = 1_000_000) -> tuple[Writer, list[list[int]]]:
    """Return a log at 100 Hz of two motors and a gyroscope, and its rows."""
    writer = Writer(
        ("loopIteration", "time", "gyroADC[0]", "gyroADC[1]", "gyroADC[2]", "motor[0]", "motor[1]", "vbatLatest"),
        ((0, 0, 0, 0, 0, 11, 5, 9), (1, 1, 0, 0, 0, 1, 0, 3)),
        ((6, 2, 3, 3, 3, 3, 3, 1), (9, 0, 7, 7, 7, 6, 6, 6)),
        (0, 0, 1, 1, 1, 0, 0, 0),
    )
    table = [
        [k, start_us + 10_000 * k, 7 * k % 41 - 20, -3 * k, 900 if k == 20 else k % 3, 300 + 5 * k, 320 + k, 1200 - k]
        for k in range(rows)
    ]
    return writer, table


def blackbox(rows: int = 60, start_us: int = 1_000_000) -> bytes:
    """Return a small log, complete with its end mark."""
    writer, table = small(rows, start_us)
    return writer.header() + b"".join(writer.frames(table)) + LOG_END
