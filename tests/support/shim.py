"""Shim: a cable between a board and its host that does wrong what it is told to, and counts what it did.

It owns a pseudo-terminal for the host and opens the board's, and carries bytes between them in a thread.
"""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Literal, Self, TypeAlias

from cobs import cobs

from firmware_bridge.messages import Prediction, Sample
from rtsysid.source.port import Port

Fault: TypeAlias = Literal["flip bit", "drop byte", "add byte", "join", "drop", "double", "swap"]
FAULTS: tuple[Fault, ...] = ("flip bit", "drop byte", "add byte", "join", "drop", "double", "swap")
_END = b"\0"


class Mangler:
    """One direction. `fault` befalls each `every`-th frame of type `code` while `on`; ``done`` counts them.

    Which bit or byte is drawn from a seeded generator, so that a fault is the same in every run.
    """

    def __init__(self, code: int, seed: int = 0) -> None:
        self.code, self.every, self.fault, self.on = code, 7, "drop", False
        self.done = 0
        self._random = Random(seed)
        self._rest = self._held = b""
        self._seen = 0

    def start(self, fault: Fault, every: int = 7) -> None:
        self.fault, self.every, self.on = fault, every, True

    def carry(self, data: bytes) -> bytes:
        *pieces, self._rest = (self._rest + data).split(_END)
        return b"".join(self._frame(piece) for piece in pieces)

    def _frame(self, piece: bytes) -> bytes:
        held, self._held = self._held, b""
        if not self.on or not self._hit(piece):
            return piece + _END + held
        self.done += 1
        if self.fault == "swap":
            self._held = piece + _END
            return held
        return self._mangled(piece) + held

    def _hit(self, piece: bytes) -> bool:
        try:
            mine = cobs.decode(piece)[:1] == bytes([self.code])
        except cobs.DecodeError:
            return False
        self._seen += mine
        return mine and self._seen % self.every == 0

    def _mangled(self, piece: bytes) -> bytes:
        at = self._random.randrange(len(piece))
        if self.fault == "flip bit":  # never into a delimiter, which would make two pieces of one
            bits = [1 << k for k in range(8) if piece[at] != 1 << k]
            return piece[:at] + bytes([piece[at] ^ self._random.choice(bits)]) + piece[at + 1 :] + _END
        if self.fault == "drop byte":
            return piece[:at] + piece[at + 1 :] + _END
        if self.fault == "add byte":
            return piece[:at] + bytes([self._random.randrange(1, 256)]) + piece[at:] + _END
        return {"join": piece, "drop": b"", "double": (piece + _END) * 2}[self.fault]


class Shim:
    """`with Shim(device.port) as shim`: a host finds the board at `shim.port`, through this cable."""

    def __init__(self, board: str, folder: Path) -> None:
        self._board, self._path = board, folder / "cable"
        self.to_host, self.to_board = Mangler(Sample.CODE), Mangler(Prediction.CODE)
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="shim", daemon=True)
        self.carried: Counter[str] = Counter()

    @property
    def port(self) -> str:
        return str(self._path)

    def __enter__(self) -> Self:
        self.plug()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join()
        self.cut()

    def plug(self) -> None:
        """Make a new port for the host, under the same name."""
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        with self._lock:
            self._master, self._slave = master, slave
            self._path.unlink(missing_ok=True)
            self._path.symlink_to(os.ttyname(slave))

    def cut(self) -> None:
        """The host's port hangs up and is gone; what the board says meanwhile falls on the floor."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            for end in {self._master, self._slave} - {-1}:
                os.close(end)
            self._master = self._slave = -1

    def _run(self) -> None:
        with Port(self._board) as board:
            while not self._closing:
                ends = [board.fd] + ([self._master] if self._master >= 0 else [])
                with suppress(OSError):  # `cut` may have closed an end meanwhile
                    select.select(ends, [], [], 0.002)
                with self._lock:
                    self._carry(board)

    def _carry(self, board: Port) -> None:
        said = board.read(0.0)
        if said:
            self._give(self.to_host.carry(said))
        heard = self._take()
        if heard:
            board.write(self.to_board.carry(heard))

    def _give(self, data: bytes) -> None:
        try:
            if self._master >= 0 and os.write(self._master, data) < len(data):
                self.carried["overflow"] += 1
        except BlockingIOError:
            self.carried["overflow"] += 1

    def _take(self) -> bytes:
        try:
            return os.read(self._master, 65536) if self._master >= 0 else b""
        except (BlockingIOError, OSError):
            return b""
