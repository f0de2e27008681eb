"""Recognise the text of a unit, as in the header ``speed (m/s)`` or in a row of units under a header."""

from __future__ import annotations

import re

SECONDS = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "usec": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
    "ns": 1e-9, "nsec": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9,
}  # fmt: skip
# Units of no quantity of physics, and abbreviations that are no product of symbols.
_WORDS = {
    "-", "1", "%", "pct", "percent", "bool", "boolean", "flag", "flags", "enum", "count", "counts", "tick", "ticks",
    "raw", "lsb", "int", "integer", "float", "double", "str", "string", "text", "none", "n/a", "na", "unitless",
    "rpm", "erpm", "r/min", "mph", "kph", "knots", "quat", "degc", "degf", "utc", "norm", "normalized",
}  # fmt: skip
_NAMES = (
    "meters?|metres?|radians?|degrees?|deg|rad|rev|minutes?|hours?|volts?|amps?|amperes?|newtons?|gauss|bytes?|inch"
)
_SYMBOLS = "m|g|s|sec|min|h|hr|A|V|W|N|Nm|J|Hz|Pa|bar|psi|K|C|F|T|G|Gs|H|ohm|Ω|Ah|Wh|B|ft|lb|kt|°C|°F|°|kg|dB|dBm"
_TERM = rf"(?:1|%|{_NAMES}|[numµμkMcdhG]?(?:{_SYMBOLS}))(?:(?:\^|\*\*)?-?[1-4]|[²³])?"
_PRODUCT = re.compile(rf"{_TERM}(?:\s*[*·⋅/ ]\s*{_TERM})*")
_LONGEST = 24  # characters; the pattern looks at nothing longer


def is_unit(text: str) -> bool:
    """Tell whether a text is a unit: a product of known symbols with prefixes and powers, or a word such as "rpm"."""
    bare = text.strip()
    if not bare or len(bare) > _LONGEST:
        return False
    inner = bare[1:-1].strip() if bare[0] + bare[-1] in ("[]", "()") else bare
    known = inner.lower() in _WORDS or inner in SECONDS
    return known or _PRODUCT.fullmatch(inner.replace("(", "").replace(")", "")) is not None
