"""Read files that somebody else may have made: regular files of a bounded size, read once, and strict JSON."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import msgspec

from rtsysid.errors import RtsysidError
from rtsysid.guards.limits import VARIABLE, limit

Struct = TypeVar("Struct")
MOST_TEXT = 300  # letters of what was found: it may quote the file
# Opens neither what a link points to nor waits for the other end of a FIFO.
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Refusal(NamedTuple):
    """Make the error for a folder that is not what it claims: `raise refusal("weights.npz is missing")`."""

    error: type[RtsysidError]
    what: str
    remedy: str

    def __call__(self, found: str) -> RtsysidError:
        return self.error(self.what, found if len(found) <= MOST_TEXT else f"{found[:MOST_TEXT]}..", self.remedy)


def open_regular(path: Path, refusal: Refusal) -> IO[bytes]:
    """Open a file for reading. Raises the error of `refusal` where it is missing, a link, a device or a FIFO."""
    try:
        stream = os.fdopen(os.open(path, _FLAGS), "rb")
    except FileNotFoundError:
        raise refusal(f"{path.name} is missing") from None
    except OSError as error:  # a link is refused here, too
        raise refusal(f"{path.name} is not a regular file ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise refusal(f"{path.name} is not a regular file")
    return stream


def read_regular(path: Path, refusal: Refusal, name: str = "model_bytes", held: int = 0) -> bytes:
    """Read a whole file. Raises the error of `refusal` as `open_regular`, and above the limit `name`.

    `held`: bytes of other files that count towards the same limit.
    """
    with open_regular(path, refusal) as stream:
        size, most = os.fstat(stream.fileno()).st_size, limit(name)
        if held + size > most:
            remedy = f"if you trust it, set {VARIABLE}={name}={held + size}"
            raise refusal.error(refusal.what, f"{path.name} has {size} bytes, and {most - held} are allowed", remedy)
        content = stream.read(size + 1)
    if len(content) != size:
        raise refusal(f"{path.name} changed while it was read")
    return content


def parse_json(content: bytes, name: str, refusal: Refusal) -> dict[str, Any]:
    """Parse one JSON object. Raises the error of `refusal` for a key that occurs twice and a number that is not finite.

    `name` is that of the file.
    """
    try:
        found = json.loads(content, object_pairs_hook=_unique, parse_constant=_not_a_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise refusal(f"{name} is not readable: {reason}") from None
    if not isinstance(found, dict):
        raise refusal(f"{name} is not readable: no JSON object")
    return found


def structure_of(plain: Any, kind: type[Struct], name: str, refusal: Refusal) -> Struct:
    """Convert plain values to a structure of a type.

    `name` is that of the file. Raises the error of `refusal` where a field is missing, unknown, of another type or out
    of its range, and where fields contradict each other.
    """
    try:
        return msgspec.convert(plain, kind)
    except (msgspec.ValidationError, RtsysidError) as error:
        raise refusal(f"{name}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _not_a_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is too large")
    return value
