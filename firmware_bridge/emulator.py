"""QEMU's STM32F405: an image of ours on an emulated Cortex-M4F. It counts instructions, which are not cycles."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import LinkError
from rtsysid.spec import Floats

QEMU = "qemu-system-arm"
MACHINES = {"stm32f405": "netduinoplus2"}  # port -> machine
_LIMIT_S = 120.0


class Replayed(NamedTuple):
    """``y`` [n, ny], float32, and of each row how many instructions the step took: exact, the same on every run."""

    y: Floats
    instructions: NDArray[np.uint32]


def available() -> bool:
    """Whether the emulator is installed."""
    return shutil.which(QEMU) is not None


def replay(image: Path, rows: Floats, outputs: int, port: str = "stm32f405") -> Replayed:
    """Step the model of a replay image through `rows` [n, C], from its cold start on.

    Raises LinkError where there is no emulator, or the image does not come to its end.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trace.bin").write_bytes(np.ascontiguousarray(rows, "<f4").tobytes())
        _run([*command(port), "-icount", "shift=0", *_SEMIHOSTING, "-kernel", str(image.resolve())], folder)
        record = np.dtype([("y", "<f4", (outputs,)), ("ticks", "<u4")])
        found = np.fromfile(Path(folder) / "pred.bin", record)
    if len(found) != len(rows):
        raise LinkError(f"image {image}", f"{len(found)} answers to {len(rows)} samples", "build it from this bundle")
    return Replayed(found["y"].astype(np.float32), found["ticks"].astype(np.uint32))


def command(port: str) -> list[str]:
    """The emulator, its machine and nothing else: no display, no monitor, no serial port."""
    if not available():
        raise LinkError("emulator", f"{QEMU} is not installed", "run make hil, which installs it")
    return [QEMU, "-machine", MACHINES[port], "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none"]


_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")


def _run(arguments: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_S, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise LinkError("emulator", f"no end after {_LIMIT_S:g} s", "use fewer rows, or report this") from None
    if done.returncode:
        raise LinkError("emulator", f"status {done.returncode} {done.stderr.strip()[-200:]}", "report this as a bug")
