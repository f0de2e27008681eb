"""Write a configuration as the text of a TOML file, which `rtsysid.config.parse_config` reads back to the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from rtsysid.config import Config


def toml_text(config: Config) -> str:
    """Return the text: all of `[data]`, `[model]` and `[train]`, and one table for each stage that is not chosen."""
    chosen_later = config.auto and not config.stage
    built = msgspec.to_builtins(config if chosen_later else msgspec.structs.replace(config, stage=config.stages))
    stages = built.pop("stage")
    lines = [line for name, table in built.items() for line in _toml_table(f"[{name}]", table)]
    lines += [line for stage in stages for line in _toml_table("[[stage]]", stage)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml_table(heading: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Write a heading and a line for each key; what is None is left out, since that is its default."""
    yield f"\n{heading}"
    yield from (f"{_toml_key(key)} = {_toml_value(each)}" for key, each in table.items() if each is not None)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(key)} = {_toml_value(each)}" for key, each in value.items() if each is not None)
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else repr(value)


def _toml_key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").isalnum() else _quoted(key)


def _quoted(text: str) -> str:
    """Quote a text: the escapes of JSON are those of TOML, but for the last control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
