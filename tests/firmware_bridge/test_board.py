"""The channel table as a C header, and the page on porting."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.board import channel_header, read_table
from firmware_bridge.build import APP, FIRMWARE, SANITIZERS, compile_c
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.errors import SpecError

SCHEMA = Schema(
    (
        WireChannel("motor 1", "V", "input", kind="i16", scale=0.001, offset=5.0),
        WireChannel("motor-1", "*/ m"),
        WireChannel("mode", kind="u8"),
    ),
    500.0,
)
PROGRAM = """
#include <stdio.h>
int main(void)
{
    uint8_t sample[CHANNELS_SIZE];
    put_u16(sample + CHANNEL_MOTOR_1_AT, (uint16_t)(int16_t)-1000);
    put_f32(sample + CHANNEL_MOTOR_1_2_AT, 1.5f);
    put_u8(sample + CHANNEL_MODE_AT, 200);
    printf("%u %u %u %u\\n", CHANNELS_HASH, CHANNELS_COUNT, CHANNELS_PERIOD_US, CHANNELS_SIZE);
    for (size_t i = 0; i < sizeof sample; i++) printf("%02x", sample[i]);
    printf("\\n");
    for (size_t i = 0; i < sizeof CHANNELS_TABLE; i++) printf("%02x", CHANNELS_TABLE[i]);
    return 0;
}
"""


def test_a_board_packs_by_the_header_what_the_host_unpacks(tmp_path: Path) -> None:
    """A sample laid out in C by the generated offsets is the host's, and so are hash, sizes and table."""
    source = tmp_path / "main.c"
    source.write_text(channel_header(SCHEMA) + PROGRAM)
    done = subprocess.run([compile_c("channels", [source], SANITIZERS)], capture_output=True, text=True, check=True)
    numbers, sample, table = done.stdout.splitlines()
    assert numbers.split() == [str(x) for x in (SCHEMA.hash, 3, 2000, 7)]
    assert bytes.fromhex(sample) == SCHEMA.pack(np.array([4.0, 1.5, 200.0], np.float32))
    assert Schema.decompress(bytes.fromhex(table)) == SCHEMA


def test_the_header_is_written_from_json(tmp_path: Path) -> None:
    """The module makes the header of a table in a file, and a file that is none is one line."""
    path = tmp_path / "channels.json"
    path.write_bytes(SCHEMA.json)
    assert read_table(path) == SCHEMA
    command = [sys.executable, "-m", "firmware_bridge.board", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == channel_header(SCHEMA)
    for text in ("{", '{"rate_hz": 5}', '{"rate_hz": 5, "channels": [{"name": "a", "kind": "i64"}]}'):
        path.write_text(text)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    with pytest.raises(SpecError, match="No such file"):
        read_table(tmp_path / "nothing")


def test_the_porting_page_names_what_a_board_supplies() -> None:
    """The page names each of the five functions of port.h, and each source that is to be compiled."""
    page = (FIRMWARE / "README.md").read_text()
    functions = re.findall(r"^\w+ (port_\w+)\(", (FIRMWARE / "port.h").read_text(), re.MULTILINE)
    assert len(functions) == 5
    assert all(f"`{name}`" in page for name in functions)
    assert all(name in page for name in ("messages.h", "wire.{c,h}", "tx.{c,h}", "app.{c,h}", "capture.h"))
    assert all(path.with_suffix(".o").name in page for path in APP)
