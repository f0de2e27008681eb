"""State the largest sizes that a file may claim, and check a claim before anything is allocated.

Every number in a file from outside is a claim. Code that allocates, loops or recurses by it checks it here first. The
environment variable `RTSYSID_LIMITS` raises limits of this table by name: ``RTSYSID_LIMITS="columns=200000 depth=64"``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from rtsysid.errors import RtsysidError, TraceError

VARIABLE = "RTSYSID_LIMITS"
LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "free_bytes": 64 << 20,  # what any file may decode to, however small it is
        "growth": 10,  # bytes of arrays in memory for each byte of a file, beyond `free_bytes`
        "text_growth": 100,  # bytes of text for each byte of a compressed file, beyond `free_bytes`
        "line_bytes": 16 << 20,  # one line of text
        "definition_bytes": 4 << 20,  # one definition of messages, one table of channels, one group of texts
        "rows": 1 << 32,  # rows of one recording
        "columns": 100_000,  # columns of a table, arrays of an archive
        "chunk_bytes": 64 << 20,  # one compressed part of a file, unpacked
        "message_fields": 4_096,  # fields of a message definition, nested ones expanded
        "message_values": 1 << 20,  # values of the arrays in one message
        "depth": 32,  # levels of nested definitions, and of JSON
        "json_bytes": 8 << 20,  # a manifest, or any other JSON file of a bundle, a run or an index
        "config_bytes": 256 << 10,  # a configuration file
        "model_bytes": 256 << 20,  # all weights of a model, and any one file of a bundle or a run
        "channels": 4_096,  # channels of a model
    }
)


def limit(name: str) -> int:
    """Return a limit of the table, as the environment sets it. Raises RtsysidError for a setting that is no limit."""
    return _limits_of(os.environ.get(VARIABLE, ""))[name]


@lru_cache(maxsize=8)
def _limits_of(settings: str) -> Mapping[str, int]:
    changed = dict(LIMITS)
    for setting in settings.replace(",", " ").split():
        key, _, value = setting.partition("=")
        if key not in LIMITS or not value.isdecimal():
            remedy = f"write NAME=NUMBER with a whole number; names are {', '.join(LIMITS)}"
            raise RtsysidError(f"environment variable {VARIABLE}", repr(setting), remedy)
        changed[key] = int(value)
    return changed


def checked_size(what: str, claimed: int, name: str, error: type[RtsysidError] = TraceError) -> int:
    """Return a claimed size that is within the limit `name`. Raises `error` where it is negative or above."""
    largest = limit(name)
    if claimed < 0:
        raise error(what, f"it claims a size of {claimed}", "copy or record it again")
    if claimed > largest:
        found = f"{claimed} exceeds the limit {name} = {largest}"
        raise error(what, found, f"if you trust the file, set {VARIABLE}={name}={claimed}")
    return claimed


def checked_growth(
    what: str, claimed: int, held: int, name: str = "growth", error: type[RtsysidError] = TraceError
) -> int:
    """Return a claimed size in bytes that `held` bytes of a file may become: `free_bytes` + `held` times a factor.

    Raises `error` where it is negative or above.
    """
    most = limit("free_bytes") + limit(name) * held
    if claimed < 0:
        raise error(what, f"it claims {claimed} bytes", "copy or record it again")
    if claimed > most:
        found = f"{held} bytes in the file become {claimed}, and the limit is {most}"
        needed = -(-(claimed - limit("free_bytes")) // max(held, 1))
        raise error(what, found, f"if you trust the file, set {VARIABLE}={name}={needed}")
    return claimed
