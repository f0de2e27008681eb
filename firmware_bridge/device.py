"""SimulatedDevice: the real firmware as a process on a pseudo-terminal, with a recording as its sensors."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from firmware_bridge.build import APP, FIRMWARE, compile_c
from firmware_bridge.schema import Schema
from rtsysid.errors import LinkError
from rtsysid.spec import Floats
from rtsysid.storage import require_output
from rtsysid.storage.claim import storage_errors
from rtsysid.storage.products import PORT

SOURCES = (*APP, FIRMWARE / "ports/posix/image.c", FIRMWARE / "ports/posix/main.c")
_HEAD = struct.Struct("<8sIQIBBH")


class SimulatedDevice:
    """Run a board as a process: ``with SimulatedDevice(schema, rows) as device:``; `device.port` is its serial port.

    From START on it sends `rows` [n, C], float32, in engineering units, at `schema.rate_hz`. After the last row it
    sends BYE, or starts again with `repeat`. The system's C compiler builds it at the first use. Entering raises
    LinkError where it cannot be built or does not start.

    `port`: name of the port, a symbolic link that follows `plug`; by default a temporary name. Entering raises
    StorageError where something is there, other than the link of a device that has ended. `boot_id`: the first
    boot id; each `reset` adds 1. `clock_us`: start value of the device's clock. To simulate faults: `reported_hash` is
    a wrong schema hash, `major` another protocol version. `flags`: for the compiler. `model`: a folder with a generated
    model.c and model.h to run on the board, compiled with `-ffp-contract=off`; `model_hash`: its reported hash. Raises
    LinkError where the rows do not fit the schema.

    ``program``: the executable.
    """

    def __init__(
        self,
        schema: Schema,
        rows: Floats,
        *,
        repeat: bool = False,
        port: Path | str | None = None,
        boot_id: int = 1,
        clock_us: int = 0,
        reported_hash: int | None = None,
        major: int | None = None,
        flags: tuple[str, ...] = ("-O2",),
        model: Path | None = None,
        model_hash: int = 0,
    ) -> None:
        if rows.ndim != 2 or rows.shape[1] != schema.width:
            raise LinkError("trace of the device", f"shape {rows.shape}", f"give rows of {schema.width} values")
        self.schema, self._rows = schema, rows
        self._hash = schema.hash if reported_hash is None else reported_hash
        self._options = [f"--boot-id={boot_id}", f"--clock={clock_us}", *(["--repeat"] if repeat else [])]
        self._flags = flags if major is None else (*flags, f"-DWIRE_MAJOR=0x{major:08x}u")
        self._model = model
        if model is not None:
            self._flags += ("-ffp-contract=off", "-fno-tree-slp-vectorize", f"-DONBOARD_HASH=0x{model_hash:08x}u")
        self._named = None if port is None else Path(port)
        self._terminal = ""

    def __enter__(self) -> Self:
        if self._named is not None:
            _free_name(self._named)
        self.program = compile_c("device", SOURCES, self._flags, self._model)
        self._folder = tempfile.TemporaryDirectory(prefix="rtsysid-device-")
        self._link = self._named or Path(self._folder.name) / "port"
        image = Path(self._folder.name) / "image"
        image.write_bytes(self._image())
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # in its own session, where ^C does not reach it; the end of stdin ends it
            [self.program, *self._options, image], stdin=pipe, stdout=pipe, start_new_session=True, bufsize=0
        )
        try:
            self._connect(self._answer())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        image.unlink()  # it is mapped
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.resume()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # in the middle of a long stall
            self._process.kill()
            self._process.wait()
        self._disconnect()
        self._folder.cleanup()

    @property
    def port(self) -> str:
        """Path of the serial port; the same after `unplug` and `plug`."""
        return str(self._link)

    @property
    def pid(self) -> int:
        """Process id of the board."""
        return self._process.pid

    def unplug(self) -> None:
        """Pull the cable: the port hangs up and its name disappears; the board keeps running.

        Raises LinkError where the process does not answer.
        """
        self._order("unplug")
        self._disconnect()

    def plug(self) -> None:
        """Plug the cable in again, at the port of the same name.

        Raises LinkError where the process does not answer.
        """
        self._connect(self._order("plug"))

    def reset(self) -> None:
        """Reset the board: a new boot id, the clock at 0, the recording at its first row.

        Raises LinkError where the process does not answer.
        """
        self._order("reset")

    def stall(self, seconds: float) -> None:
        """Stop the main loop for a time, and return after it; samples that cannot be stored meanwhile are missed.

        Raises LinkError where the process does not answer.
        """
        self._order(f"stall {round(seconds * 1000)}")

    def pause(self) -> None:
        """Stop the whole process until `resume`; it then sends every sample that was due, late."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the board, as if its power failed."""
        self._signal(signal.SIGKILL)

    def status(self) -> str:
        """Return ``state safes [ref_seq status y ...]``: state, number of safe stops, and the latest prediction if any.

        Raises LinkError where the board has ended.
        """
        return self._order("status")

    def captured(self) -> int:
        """Return the number of samples that the board gave to a stream, over all boots.

        Raises LinkError where the board has ended.
        """
        return int(self._order("captured"))

    def _image(self) -> bytes:
        schema, table = self.schema, self.schema.compressed
        counts = len(self._rows), schema.width, schema.size, len(table)
        head = _HEAD.pack(b"RTSIMAGE", self._hash, round(1e9 / schema.rate_hz), *counts)
        return head + table + schema.pack(np.asarray(self._rows, np.float32))

    def _connect(self, terminal: str) -> None:
        with storage_errors(self._link):
            self._link.symlink_to(terminal)
        self._terminal = terminal

    def _disconnect(self) -> None:
        """Remove the link, unless another has taken its place."""
        with suppress(OSError):
            if os.readlink(self._link) == self._terminal:
                self._link.unlink()

    def _order(self, order: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{order}\n".encode())
        except BrokenPipeError:
            raise LinkError("simulated device", "it has ended", "start another") from None
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LinkError("simulated device", f"ended with status {self._process.wait()}", "see its line above")
        return line.decode().strip()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


def _free_name(link: Path) -> None:
    """Make room for a link: remove that of a device that has ended. Raises StorageError for anything else."""
    require_output(link, PORT)
    with storage_errors(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
