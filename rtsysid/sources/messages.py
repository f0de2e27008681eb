"""A message of a live source: a topic, a time and numbers by name; and how nested values become flat names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LARGEST = 65_536  # bytes of one datagram or message of text
MOST_VALUES = 4_096  # numbers of one message
DEEPEST = 16  # levels of nested values
LONGEST_NAME = 200  # characters of a topic or of a field
MOST_TOPICS = 256  # topics of a source
NO_STAMPS: Mapping[str, float] = {}


class TopicMessage(NamedTuple):
    """One message. ``t``: its time in s, on the clock of the device. ``values``: numbers by the name of their field.

    ``stamps``: other times in s that it carries, by name.
    """

    topic: str
    t: float
    values: Mapping[str, float]
    stamps: Mapping[str, float] = NO_STAMPS


def flat_numbers(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield the numbers of nested tables and lists with joined names: ``a.b``, ``c[0]``. Texts are left out.

    None is a number that is not known: NaN.

    Raises ValueError where a name is too long or the nesting too deep.
    """
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    if value is None or isinstance(value, (int, float)):
        yield _checked_name(prefix), math.nan if value is None else as_number(value)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat_numbers(inner, f"{prefix}.{name}" if prefix else str(name), depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from flat_numbers(inner, f"{prefix}[{index}]", depth + 1)


def as_number(value: float) -> float:
    """Return a number as float; NaN for an integer that no float holds."""
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _checked_name(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters")
    return name
