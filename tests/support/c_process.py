"""A C program under test: a process with sanitizers that takes requests on stdin and answers on stdout."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from firmware_bridge.build import SANITIZERS, compile_c

HERE = Path(__file__).parents[1] / "c"


class CProcess:
    """Each request and each answer is a u32 size and so many bytes. Whatever a sanitizer finds fails the test."""

    def __init__(self, driver: str, sources: Sequence[Path]) -> None:
        program = compile_c(driver, [*sources, HERE / f"{driver}.c"], SANITIZERS)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _, complaint = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, complaint.decode()

    def tell(self, letter: bytes, content: bytes = b"") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<I", 1 + len(content)) + letter + content)
        self._process.stdin.flush()

    def ask(self, letter: bytes, content: bytes = b"") -> bytes:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.tell(letter, content)
        head = self._process.stdout.read(4)
        if len(head) < 4:
            pytest.fail(self._process.stderr.read().decode())
        return self._process.stdout.read(int.from_bytes(head, "little"))
