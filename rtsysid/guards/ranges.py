"""Name the ranges of numbers that come from outside: options of commands, keys of configurations and bundles.

msgspec checks a key when it is read, click an option before its command runs (`rtsysid.cli.options.within`). No range
contains NaN or infinity. The upper ends are far above any use; they keep a slip of the keyboard from running for days.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from rtsysid.errors import SpecError

RateHz: TypeAlias = Annotated[float, Meta(ge=1e-6, le=1e7)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e8)]
SomeSeconds: TypeAlias = Annotated[float, Meta(ge=1e-6, le=1e8)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=1e-3, le=1e8)]
Offset: TypeAlias = Annotated[float, Meta(ge=-1e15, le=1e15)]  # between clocks, s; or of values, in their unit
Moment: TypeAlias = Annotated[float, Meta(ge=-1e15, le=1e15)]  # a time in a recording, s
Speed: TypeAlias = Annotated[float, Meta(ge=1e-6, le=1e6)]  # times the recorded pace
PerHour: TypeAlias = Annotated[float, Meta(ge=1e-6, le=1e7)]
Effort: TypeAlias = Annotated[float, Meta(gt=0, le=1000)]

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
ShareBelowOne: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
InnerShare: TypeAlias = Annotated[float, Meta(gt=0, lt=1)]
Weight: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, le=1e9)]
Exponent: TypeAlias = Annotated[float, Meta(ge=0, le=100)]
Finite: TypeAlias = Annotated[float, Meta(ge=-1e30, le=1e30)]
Positive: TypeAlias = Annotated[float, Meta(ge=1e-30, le=1e30)]
Minutes: TypeAlias = Annotated[float, Meta(ge=0.1, le=100_000)]

Seed: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
OLDEST = 1_000_000  # ticks since the newest measurement
Age: TypeAlias = Annotated[int, Meta(ge=0, le=OLDEST)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrNone: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Width: TypeAlias = Annotated[int, Meta(ge=1, le=65_535)]  # of a layer, or of the delay line in samples
Futures: TypeAlias = Annotated[int, Meta(ge=2, le=1000)]
LossFutures: TypeAlias = Annotated[int, Meta(ge=2, le=100)]  # every pair of them is compared
Few: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]  # models, flights, threads of a training
Threads: TypeAlias = Annotated[int, Meta(ge=0, le=1000)]  # of a forecast; 0: one for each core
Layer: TypeAlias = Annotated[int, Meta(ge=0, le=1000)]
Degree: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
Top: TypeAlias = Annotated[int, Meta(ge=1, le=100)]
MaxGap: TypeAlias = Annotated[int, Meta(ge=0, le=10_000)]
Divider: TypeAlias = Annotated[int, Meta(ge=1, le=65_535)]
Baud: TypeAlias = Annotated[int, Meta(ge=300, le=50_000_000)]
Priority: TypeAlias = Annotated[int, Meta(ge=0, le=98)]
Processor: TypeAlias = Annotated[int, Meta(ge=0, le=1023)]

LONG_NUMBER, LONGEST_TEXT = 10**30, 60


def require(name: str, value: Any, range_: Any) -> None:
    """Check a number that a caller of the library gives. Raises SpecError where it is outside its range, or none."""
    try:
        scalar = hasattr(value, "item") and not value.ndim
        msgspec.convert(value.item() if scalar else value, range_)
    except (ValueError, msgspec.ValidationError) as error:
        raise SpecError(name, _short_text(value), f"give another number: {error}") from None


def _short_text(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= LONG_NUMBER:
        return "a number of more than 30 digits"
    return str(value)[:LONGEST_TEXT]
