"""Parse the cells of a CSV: numbers with a decimal point or comma, truth values, and time stamps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["number", "bool", "stamp", "text"]

EMPTY = frozenset(("", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "null", "NULL", "None"))
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_VALUES = dict.fromkeys(EMPTY, float("nan")) | dict.fromkeys(TRUE, 1.0) | dict.fromkeys(FALSE, 0.0)
_CLOCK = r"(?P<h>\d{1,4}):(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:[.,]\d*)?)"
_DATE = r"(?P<year>\d{4})(?P<dash>[-/])(?P<month>\d\d?)(?P=dash)(?P<day>\d\d?)"
_GERMAN = r"(?P<day2>\d\d?)\.(?P<month2>\d\d?)\.(?P<year2>\d{4})"
_ZONE = r"(?P<zone>Z|[+-]\d\d:?(?:\d\d)?)?"
_STAMP = re.compile(rf"(?:(?P<date>(?:{_DATE}|{_GERMAN}))(?:[T_]|\s+))?{_CLOCK}\s*{_ZONE}", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:([,.' \u00a0\u202f\u2019])\d{3})(?:\1\d{3})*(?:[.,]\d*)?")
_SHOWN = 40  # characters of a cell in an error


def parse_number(cell: str, decimal: str = ".") -> float:
    """Parse a number or a truth value; an empty cell is NaN. Raises ValueError for anything else."""
    text = cell.strip()
    if text in _VALUES:
        return _VALUES[text]
    if "_" in text or not text.isascii():  # Python's float accepts 1_000 and digits of other scripts
        raise ValueError(text)
    if decimal == ",":
        if "." in text:
            raise ValueError(text)
        text = text.replace(",", ".")
    return float(text)


def is_number(cell: str, decimal: str = ".") -> bool:
    """Tell whether `parse_number` accepts a cell."""
    try:
        parse_number(cell, decimal)
    except ValueError:
        return False
    return True


def parse_stamp(cell: str) -> float:
    """Parse a time stamp to seconds: ISO 8601 and d.m.y to Unix time, in UTC unless it states a zone; h:m:s from 0 h.

    An empty cell is NaN. Raises ValueError for anything else.
    """
    text = cell.strip()
    if text in EMPTY:
        return float("nan")
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(text)
    clock = int(match["h"]) * 3600 + int(match["m"]) * 60 + float(match["s"].replace(",", "."))
    day = _day(match["date"]) if match["date"] else 0.0
    return day + clock - (_zone(match["zone"]) if match["zone"] else 0.0)


def is_stamp(cell: str) -> bool:
    """Tell whether `parse_stamp` accepts a cell that is not empty."""
    try:
        return cell.strip() not in EMPTY and parse_stamp(cell) is not None
    except ValueError:
        return False


@lru_cache(64)
def _day(text: str) -> float:
    """Return the Unix time of midnight. Raises ValueError for a day that does not exist."""
    parts = [int(part) for part in re.split(r"[-/.]", text)]
    day = date(*(parts if "." not in text else parts[::-1]))
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@lru_cache(64)
def _zone(text: str) -> float:
    digits = text.replace(":", "")[1:].ljust(4, "0")
    return 0.0 if text == "Z" else float(f"{text[0]}1") * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def is_value(cell: str, decimals: str) -> bool:
    """Tell whether a cell is a number, with one of these decimal signs, or a time stamp; an empty cell is neither."""
    text = cell.strip()
    return text not in EMPTY and (any(is_number(text, sign) for sign in decimals) or is_stamp(text))


def kind_of(cells: Sequence[str], decimal: str) -> Kind:
    """Return what the cells of a column are; "number" where all are empty."""
    filled = [cell.strip() for cell in cells if cell.strip() not in EMPTY]
    if filled and all(cell in (*TRUE, *FALSE) for cell in filled):
        return "bool"
    if all(is_number(cell, decimal) for cell in filled):
        return "number"
    return "stamp" if all(map(is_stamp, filled)) else "text"


def decimal_of(cells: Sequence[str]) -> str:
    """Return the decimal sign of cells: a comma where more of them have one than a point; "" where none has one."""
    commas = sum(_COMMA.fullmatch(cell.strip()) is not None for cell in cells)
    points = sum(_POINT.fullmatch(cell.strip()) is not None for cell in cells)
    return "," if commas > points else "." if points else ""


def not_a_number(cell: str, decimal: str) -> str:
    """Say why a cell is not a number."""
    text = cell.strip()
    shown = repr(text[:_SHOWN])
    if decimal == "." and _COMMA.fullmatch(text) and not _GROUPED.fullmatch(text):
        return f"{shown} has a decimal comma"
    if _GROUPED.fullmatch(text):
        return f"{shown} has a thousands separator"
    return f"{shown} is not a number"
