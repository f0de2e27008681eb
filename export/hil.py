"""Hardware in the loop: build the image of a bundle, play recordings to the board, and compare with this machine.

Both models come from one source, built strictly: their predictions are the same bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.compile import compile_library
from export.firmware import Image, build_image, model_files, model_hash
from export.to_c import c_sources
from firmware_bridge import emulator
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.emulator import EmulatedDevice
from firmware_bridge.rig import Rig
from firmware_bridge.schema import Schema
from rtsysid.errors import LinkError, ParityError
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import relative_error
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Floats
from rtsysid.storage import sha256

COUNTED = 20  # rows after the delay line is full on which instructions are counted: each step takes the same


@dataclass(frozen=True)
class RigBoard:
    """The board under test. ``device``: its process or emulator, if any; ``image``: built here for it."""

    name: str
    port: str
    device: SimulatedDevice | EmulatedDevice | None = None
    image: Image | None = None
    image_sha256: str = ""


@dataclass(frozen=True)
class HilReport:
    """One piece of a recording on one board. ``compared``: rows with a prediction, all after the window was full.

    ``equal``: every bit of every row, with one row or more compared. ``error``: in standard deviations of the outputs.
    ``instructions``: of a step, where counted.
    """

    device: str
    firmware: str
    image: str
    bundle: str
    recording: str
    rows: int
    compared: int
    equal: bool
    error: float
    repeats: int
    step_us: int
    instructions: int | None
    flash: int | None
    ram: int | None


@contextmanager
def open_board(bundle: Bundle, which: str, *, int8: bool = False) -> Iterator[RigBoard]:
    """Open a board that runs the bundle's model: ``sim``, a process; ``qemu``, emulated; or a real one at a port.

    `int8`: with weights stored as int8. Raises BundleError where the image cannot be built, LinkError where the board
    does not answer.
    """
    files, called = model_files(bundle, int8=int8), model_hash(bundle)
    with tempfile.TemporaryDirectory(prefix="hil-") as name:
        folder = Path(name)
        if which == "sim":
            for file, text in files.items():
                (folder / file).write_text(text)
            schema = Schema.of(bundle.spec.channels, bundle.spec.rate_hz)
            idle = np.zeros((1, bundle.spec.width), np.float32)
            with SimulatedDevice(schema, idle, model=folder, model_hash=called) as process:
                yield RigBoard("simulated", process.port, process, image_sha256=sha256(process.program))
        elif which == "qemu":
            image = build_image("app", files, folder / "app.elf", model_hash=called)
            with EmulatedDevice(image.path) as emulated:
                yield RigBoard("STM32F405, emulated", emulated.port, emulated, image, sha256(image.path))
        else:
            yield RigBoard("real", which)


def greet(rig: Rig, bundle: Bundle) -> None:
    """Begin a session. Raises LinkError where the board runs another model or has other channels.

    Boards of earlier releases announce the id of the bundle instead of that of its model.
    """
    ack = rig.greet()
    if ack.model_hash not in (model_hash(bundle), int(bundle.id[:8], 16)):
        found = f"its model is {ack.model_hash:08x}, not {model_hash(bundle):08x}"
        raise LinkError(f"board {ack.firmware}", found, "build its firmware from this bundle")
    if rig.table() != Schema.of(bundle.spec.channels, bundle.spec.rate_hz):
        raise LinkError(f"board {ack.firmware}", "other channels than the bundle's", "build its firmware again")


def predictor_here(bundle: Bundle, *, int8: bool = False) -> Predictor:
    """Compile the bundle's model as strict C for this machine. Raises BundleError where there is no compiler."""
    files = c_sources(bundle.spec, bundle.arrays("weights.npz"), int8=int8)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.so"
        compile_library(files, out, machines()[-1], "strict")
        return Predictor(bundle.spec, CBackend(bundle.spec, out.read_bytes()))


def predictions_here(bundle: Bundle, rows: Floats) -> Floats:
    """Predict rows [n, C] with strict C on this machine, from a cold start: [n, ny].

    Raises BundleError where there is no compiler.
    """
    return _predictions(predictor_here(bundle), rows)


def _predictions(predictor: Predictor, rows: Floats) -> Floats:
    predictor.reset()
    return np.stack([predictor.step(row).copy() for row in rows])


def instructions(bundle: Bundle, rows: Floats, *, int8: bool = False) -> tuple[int, Image]:
    """Count the instructions of the longest step over rows [n, C] on an emulated STM32F405; return them with the image.

    Raises BundleError where the image cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = build_image("replay", model_files(bundle, int8=int8), Path(folder) / "replay.elf")
        rows = rows[: bundle.spec.taps + COUNTED]
        measured = np.zeros((len(rows), 1 if bundle.spec.age_changes else 0), np.float32)  # their age is 0
        found = emulator.replay_image(image.path, np.hstack((rows, measured)), bundle.spec.n_outputs)
        return int(found.instructions.max()), image


def play(
    board: RigBoard, bundle: Bundle, episodes: Sequence[Episode], *, live: bool = False, int8: bool = False
) -> Iterator[HilReport]:
    """Play each recording to the board, row by row; yield one report each. `live`: at the recording's own rate.
    `int8`: the board's weights are stored as int8.

    Raises LinkError where the board does not answer or is another one, ParityError where the line lost data.
    """
    spec, counted, predictor = bundle.spec, None, predictor_here(bundle, int8=int8)
    if isinstance(board.device, EmulatedDevice):
        counted = instructions(bundle, episodes[0].values, int8=int8)[0]
    with Rig(board.port) as rig:
        for episode in episodes:
            greet(rig, bundle)
            answers = rig.play(episode.values, 1.0 / spec.rate_hz if live else 0.0)
            y, here = np.stack([a.y for a in answers]), _predictions(predictor, episode.values)
            repeats, faults = rig.repeats, rig.faults()
            compared = int(np.isfinite(here).all(1).sum())
            if set(faults) - {"repeats"}:
                raise ParityError(f"line to {board.name}", str(faults), "check the cable; nothing may be lost here")
            yield HilReport(
                board.name, rig.board.firmware, board.image_sha256[:12], bundle.id, episode.name, len(y), compared,
                compared > 0 and y.tobytes() == here.tobytes(), relative_error(y, here, spec), repeats,
                max(a.spent_us for a in answers), counted, board.image.flash if board.image else None,
                board.image.ram if board.image else None,
            )  # fmt: skip
