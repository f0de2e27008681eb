"""Name what differs between what a run was begun with and what is asked for now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 3  # names in a message


def differing_keys(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Name the parts that differ; of a configuration at most three of its keys, as ``train.seed``."""
    found: list[str] = []
    for name in (each for each in wanted if each != "versions" and wanted[each] != stored.get(each)):
        ours, theirs = _flat_keys(wanted[name]), _flat_keys(stored.get(name))
        found += [key for key in ours if ours[key] != theirs.get(key)][:MOST] or [name]
    return list(dict.fromkeys(found))


def _flat_keys(value: Any) -> dict[str, Any]:
    """Flatten the tables of a configuration; anything else has no keys."""
    if not isinstance(value, Mapping):
        return {}
    tables = ((name, each if isinstance(each, Mapping) else {"": each}) for name, each in value.items())
    return {f"{name}.{key}".rstrip("."): inner for name, each in tables for key, inner in each.items()}
