"""Whatever channels are called, the C that is made from them compiles without a warning."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from export.to_c import size_definitions
from firmware_bridge.board import channel_header
from firmware_bridge.build import compile_c
from firmware_bridge.messages import MAX_PAYLOAD
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.spec import ModelSpec

NAMES = int(os.environ.get("RTSYSID_FUZZ_NAMES", "100"))
PARTS = ("*/", "/*", "//", "??/", "??/\n", "\\", "\\\n", '"', "'", "#include", "%s", "\n", "\r", "\x1b[2J", "\x00", "é",
         "\u202e", "a", "A", "_", "1", " ", "CHANNEL_", "x" * 255, "*", "/")  # fmt: skip
MAIN = "\nint main(void)\n{\n    return (int)CHANNELS_TABLE[0] * 0 + (int)sizeof(uint8_t) - 1;\n}\n"


def hostile(draw: random.Random) -> str:
    """A name of parts that mean something to C, and of any characters."""
    parts = [
        draw.choice(PARTS) if draw.random() < 0.8 else chr(draw.randrange(1, 0xD800)) for _ in range(draw.randint(1, 8))
    ]
    return "".join(parts)


@pytest.mark.parametrize("first", range(0, NAMES, MAX_PAYLOAD))
def test_any_name_compiles(first: int, tmp_path: Path) -> None:
    """As a macro of the channel table, in its comments, and in the usage of the model's header, with all warnings."""
    draw = random.Random(first)
    names = dict.fromkeys(hostile(draw) for _ in range(min(NAMES - first, MAX_PAYLOAD)))
    schema = Schema(tuple(WireChannel(name, hostile(draw), kind="u8") for name in names), 100.0)
    spec = ModelSpec(channels=schema.spec_channels, rate_hz=100.0, encoder=(), taps=1)
    source = tmp_path / "names.c"
    source.write_text(channel_header(schema) + size_definitions(spec, [], False) + "#endif\n" + MAIN)
    assert compile_c("names", [source], ("-O0",)).exists()
