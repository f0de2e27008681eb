"""Run firmware images on QEMU: replay a file, or simulate a board on a pseudo-terminal.

Instructions are counted exactly; they are not cycles. Not modelled: speed and line errors of the UART, and DMA.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import LinkError
from rtsysid.spec import Floats

QEMU = "qemu-system-arm"
MACHINES = {"stm32f405": "netduinoplus2", "mps2-an386": "mps2-an386", "mps2-an385": "mps2-an385"}  # port -> machine
_LIMIT_S = 120.0  # time limit of a replay
_START_S = 60.0
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # the emulator ends with this process


class Replayed(NamedTuple):
    """Predictions ``y`` [n, ny], float32, and the instructions of each step [n]: exact, the same on every run."""

    y: Floats
    instructions: NDArray[np.uint32]


def emulator_available() -> bool:
    """Return whether the emulator is installed."""
    return shutil.which(QEMU) is not None


class EmulatedDevice:
    """Run an image as a board: ``with EmulatedDevice(image) as device:``; `device.port` is its serial port.

    Entering raises LinkError where the emulator is missing or does not start.
    """

    def __init__(self, image: Path, port: str = "stm32f405") -> None:
        self._image, self._board = image.resolve(), port

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hil-")))
            self.port, board_end = str(folder / "host"), str(folder / "mcu")
            ends = [f"pty,raw,echo=0,link={end}" for end in (self.port, board_end)]
            self._cable = stack.enter_context(_Process(["socat", *ends], folder))
            _wait_for(self._cable, Path(self.port), Path(board_end))
            self._boot(stack, folder, ["-chardev", f"serial,id=s0,path={board_end}", "-serial", "chardev:s0"])
            self._stack = stack.pop_all()
        return self

    def _boot(self, stack: ExitStack, folder: Path, line: list[str]) -> None:
        self._control, theirs = socket.socketpair()  # connected before the emulator starts: nothing to wait for
        stack.enter_context(self._control).settimeout(_START_S)
        with theirs:
            control = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
            machine = [*command(self._board, line), *control, "-kernel", str(self._image)]
            self._qemu = stack.enter_context(_Process(machine, folder, theirs.fileno()))
        self._replies = stack.enter_context(self._control.makefile("r"))
        if not self._replies.readline():  # its greeting
            raise _did_not_start(self._qemu)
        self._order("qmp_capabilities")

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pids(self) -> tuple[int, int]:
        """Process ids of the emulator and of the cable."""
        return self._qemu.pid, self._cable.pid

    def reset(self) -> None:
        """Reset the board. Raises LinkError where the emulator does not answer."""
        self._order("system_reset")

    def pause(self) -> None:
        """Stop the whole board until `resume`. Raises LinkError where the emulator does not answer."""
        self._order("stop")

    def resume(self) -> None:
        """Continue after `pause`. Raises LinkError where the emulator does not answer."""
        self._order("cont")

    def unplug(self) -> None:
        """Pull the cable; it cannot be plugged in again."""
        self._cable.send_signal(signal.SIGKILL)

    def _order(self, name: str) -> None:
        self._control.sendall(json.dumps({"execute": name}).encode())
        for line in self._replies:
            reply: dict[str, Any] = json.loads(line)
            if "return" in reply:
                return
            if "error" in reply:
                break
        raise LinkError("emulator", f"it refused {name}", "report this as a bug")


class Differentiated(NamedTuple):
    """Forecast ``y`` [N, ny] and gradient ``du`` [N, nu], float32; instructions of both, exact."""

    y: Floats
    du: Floats
    forecast: int
    gradient: int


def replay_image(image: Path, rows: Floats, outputs: int, port: str = "stm32f405") -> Replayed:
    """Feed `rows` [n, C] to the model of a replay image, from a cold start, and return predictions [n, ny] and costs.

    Where the model depends on the age of a row, the rows are [n, C + 1] and end with it.
    Raises LinkError where there is no emulator, or the image does not finish.
    """
    record = np.dtype([("y", "<f4", (outputs,)), ("ticks", "<u4")])
    found = np.frombuffer(_answer(image, [rows], port), record)
    if len(found) != len(rows):
        raise LinkError(f"image {image}", f"{len(found)} answers to {len(rows)} samples", "build it from this bundle")
    return Replayed(found["y"].astype(np.float32), found["ticks"].astype(np.uint32))


def differentiate_image(image: Path, rows: Floats, u: Floats, dy: Floats, port: str = "stm32f405") -> Differentiated:
    """Step a gradient image through `rows` [L, C], then differentiate a plan `u` [N, nu].

    `dy` [N, ny] is the derivative of a cost by each output.
    Raises LinkError where there is no emulator, or the image does not finish.
    """
    answer = _answer(image, [rows, u, dy], port)
    if len(answer) != 4 * (dy.size + u.size + 2):
        raise LinkError(f"image {image}", f"{len(answer)} bytes for {len(u)} ticks", "build it for this horizon")
    y, du = np.split(np.frombuffer(answer, "<f4", dy.size + u.size).astype(np.float32), [dy.size])
    return Differentiated(y.reshape(dy.shape), du.reshape(u.shape), *map(int, np.frombuffer(answer[-8:], "<u4")))


def sample_image(image: Path, rows: Floats, u: Floats, outputs: int, port: str = "stm32f405") -> Floats:
    """Step a sample image through `rows` [L, C], then sample futures under a plan `u` [N, nu]: [F, N, ny].

    Raises LinkError where there is no emulator, or the image does not finish.
    """
    found = np.frombuffer(_answer(image, [rows, u], port), "<f4").astype(np.float32)
    return found.reshape(-1, len(u), outputs)


def _answer(image: Path, sent: list[Floats], port: str) -> bytes:
    """Give an image arrays of floats as a file, run it to its end, and return the file that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trace.bin").write_bytes(b"".join(np.ascontiguousarray(each, "<f4").tobytes() for each in sent))
        _run_emulator(
            [*command(port, ["-serial", "none"]), "-icount", "shift=0", *_SEMIHOSTING, "-kernel", str(image.resolve())],
            folder,
        )
        return (Path(folder) / "pred.bin").read_bytes()


def command(port: str, line: list[str]) -> list[str]:
    """Return the command that starts the emulator with a machine and a serial line, without display and monitor.

    Raises LinkError where the emulator is not installed.
    """
    if not emulator_available():
        raise LinkError("emulator", f"{QEMU} is not installed", "run make hil, which installs it")
    return [QEMU, "-machine", MACHINES[port], "-nodefaults", "-display", "none", "-monitor", "none", *line]


_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")


def _run_emulator(arguments: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_S, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise LinkError("emulator", f"no end after {_LIMIT_S:g} s", "use fewer rows, or report this") from None
    if done.returncode:
        raise LinkError("emulator", f"status {done.returncode} {done.stderr.strip()[-200:]}", "report this as a bug")


class _Process(subprocess.Popen[bytes]):
    """A process in its own session, which ends with the block."""

    def __init__(self, arguments: list[str], folder: Path, *sockets: int) -> None:
        if shutil.which(arguments[0]) is None:
            raise LinkError("emulator", f"{arguments[0]} is not installed", "run make hil, which installs it")
        quiet, self.name, self.log = subprocess.DEVNULL, arguments[0], folder / f"{arguments[0]}.log"
        with self.log.open("wb") as log:
            line = [*_DIES_WITH_US, *arguments]
            super().__init__(line, stdin=quiet, stdout=quiet, stderr=log, pass_fds=sockets, start_new_session=True)

    def __exit__(self, *_: object) -> None:
        self.terminate()
        try:
            self.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()


def _wait_for(process: _Process, *paths: Path) -> None:
    end = time.monotonic() + _START_S
    while not all(path.exists() for path in paths):
        if process.poll() is not None or time.monotonic() > end:
            raise _did_not_start(process)
        time.sleep(0.01)


def _did_not_start(process: _Process) -> LinkError:
    output = process.log.read_text()[-200:] or "no output"
    return LinkError("emulator", f"{process.name} did not start: {output}", "check whether another one is running")
