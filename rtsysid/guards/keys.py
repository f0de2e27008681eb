"""Say what to do about a refused configuration: which key or value was meant, or which table a key belongs to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import inspect

RENAMED = {  # keys of the first release
    "balance": "episode_weighting", "direct": "linear_path", "disturbance": "sensor_noise", "input_lead": "feedthrough",
    "memory": "forget_ticks", "powers": "degree", "refit": "train_on_validation",
}  # fmt: skip


class KeyTable(NamedTuple):
    """A table that a configuration may have: its path in messages of msgspec, its name in a file, and its keys."""

    path: str
    name: str
    keys: dict[str, Any]


def config_remedy(message: str, root: type) -> str:
    """Return a remedy for a message of msgspec, which refused to convert plain values to a `root` struct."""
    tables = list(_tables(inspect.type_info(root), "", ""))
    place = re.search(r" - at `\$\.?([^`]*)`", message)
    path = re.sub(r"\[\d+\]", "[...]", place[1]) if place else ""
    if unknown := re.search(r"unknown field `([^`]+)`", message):
        return _key_remedy(unknown[1], path, tables)
    if "missing required field" in message:
        return "add the key"
    if wrong := re.search(r"Invalid enum value '([^']*)'", message):
        return _choice_remedy(wrong[1], path, tables)
    if "of length >= 1" in message:
        return "name at least one"
    return 'write a list: [".."]' if "Expected `array`, got `str`" in message else "correct the value"


def _key_remedy(key: str, path: str, tables: list[KeyTable]) -> str:
    here = {name for table in tables if table.path == path for name in table.keys}
    if RENAMED.get(key) in here:
        return f"it is called {RENAMED[key]} now"
    if close := difflib.get_close_matches(key, sorted(here), 1):
        return f"did you mean {close[0]!r}?"
    everywhere = {RENAMED.get(key, key): table for table in reversed(tables) if RENAMED.get(key, key) in table.keys}
    everywhere = everywhere or {name: table for table in reversed(tables) for name in table.keys}
    if not (close := difflib.get_close_matches(RENAMED.get(key, key), sorted(everywhere), 1)):
        return "remove the key"
    shown = everywhere[close[0]].name
    where = f"in [{shown}]" if shown else "at the top of the file, before the first table"
    return f"move it: {key} belongs {where}" if close[0] == key else f"did you mean {close[0]!r}, {where}?"


def _choice_remedy(value: str, path: str, tables: list[KeyTable]) -> str:
    above, _, key = path.removesuffix("[...]").rpartition(".")
    kinds = [table.keys[key] for table in tables if table.path == above and key in table.keys]
    allowed = sorted({str(each) for kind in kinds for each in _choices(kind)})
    if close := difflib.get_close_matches(value, allowed, 1):
        return f"did you mean {close[0]!r}?"
    return f"choose among {', '.join(allowed)}" if allowed else "correct the value"


def _choices(kind: Any) -> Iterator[Any]:
    """Yield the words that a type allows."""
    match kind:
        case inspect.LiteralType():
            yield from kind.values
        case inspect.UnionType():
            for each in kind.types:
                yield from _choices(each)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _choices(kind.item_type)


def _tables(kind: Any, path: str, name: str) -> Iterator[KeyTable]:
    """Yield every table that a type allows."""
    match kind:
        case inspect.StructType():
            yield KeyTable(path, name, {field.encode_name: field.type for field in kind.fields})
            for field in kind.fields:
                below = (f"{each}.{field.encode_name}".lstrip(".") for each in (path, name.strip("[]")))
                yield from _tables(field.type, *below)
        case inspect.DictType():
            yield from _tables(kind.value_type, f"{path}[...]", f"{name}.NAME")
        case inspect.ListType() | inspect.VarTupleType():
            yield from _tables(kind.item_type, f"{path}[...]", f"[{name}]")
        case inspect.UnionType():
            for each in kind.types:
                yield from _tables(each, path, name)
