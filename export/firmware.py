"""Images for boards: the model as C, and around it the firmware that replays a file or talks over a wire."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from export.compile import COMMON, CONTRACTION, Build, outermost
from export.to_c import c_sources
from export.to_c_control import control_sources
from firmware_bridge.board import channel_header
from firmware_bridge.build import APP, FIRMWARE
from firmware_bridge.schema import Schema
from rtsysid.errors import BundleError
from rtsysid.model.bundle import Bundle
from rtsysid.storage import replacing
from rtsysid.storage.products import IMAGE

Kind: TypeAlias = Literal["replay", "app", "gradient", "sample"]

CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
LEAN = ("-ffunction-sections", "-fdata-sections")
LINK = ("-nostartfiles", "-specs=nano.specs", "-Wl,--gc-sections", "-Wl,--fatal-warnings", "-Wl,--build-id=none")
PORTS = FIRMWARE / "ports"
SOURCES: dict[Kind, tuple[Path, ...]] = {
    "replay": (PORTS / "cortex_m4" / "replay.c",),
    "gradient": (PORTS / "cortex_m4" / "gradient.c",),  # around a model with model-control.c
    "sample": (PORTS / "cortex_m4" / "sample.c",),  # around a model with a distribution
    "app": (PORTS / "cortex_m4" / "main.c", *APP),
}
COMPILER = "arm-none-eabi-gcc"


@dataclass(frozen=True)
class Image:
    """An ELF file. ``flash``: bytes of code, tables and initial values; ``ram``: bytes of all data but the stack."""

    path: Path
    flash: int
    ram: int


def available() -> bool:
    """Tell whether images can be built on this machine."""
    return shutil.which(COMPILER) is not None


def model_files(bundle: Bundle, *, control: bool = False) -> dict[str, str]:
    """Generate model.c, model.h and channels.h of a bundle; with `control` also model-control.c and .h.

    Raises BundleError where it has no weights.
    """
    spec, weights = bundle.spec, bundle.arrays("weights.npz")
    table = channel_header(Schema.of(spec.channels, spec.rate_hz))
    more = control_sources(spec, weights) if control else {}
    return {**c_sources(spec, weights), **more, "channels.h": table}


def model_hash(bundle: Bundle) -> int:
    """Return the number that a board announces for a bundle: the first 8 hex digits of its id."""
    return int(bundle.id[:8], 16)


def build_image(
    kind: Kind, model: Mapping[str, str], out: Path, *, port: str = "stm32f405", build: Build = "strict",
    model_hash: int = 1, horizon: int = 10, overwrite: bool = False,
) -> Image:  # fmt: skip
    """Compile an image for a port around `model`, the result of `model_files`, to the file `out`.

    A "gradient" or "sample" image has room for `horizon` ticks. The board announces `model_hash`. Raises BundleError
    where there is no compiler or it fails, StorageError where `out` exists and `overwrite` is not given.
    """
    if not available():
        raise BundleError(f"image {kind}", f"{COMPILER} is not installed", "run make hil, which installs it")
    with replacing(out, IMAGE, overwrite=overwrite) as path, tempfile.TemporaryDirectory() as folder:
        for name, text in model.items():
            (Path(folder) / name).write_text(text)
        folders = [f"-I{path}" for path in (folder, FIRMWARE, PORTS / "cortex_m4", PORTS / port)]
        sources = [*SOURCES[kind], PORTS / "cortex_m4" / "startup.c", Path(folder) / outermost(model)]
        flags = [*CORTEX_M4, *COMMON, *CONTRACTION[build], *LEAN, *LINK, *folders, f"-T{PORTS / port / port}.ld"]
        flags += [f"-DONBOARD_HASH=0x{model_hash:08x}u", f"-DHORIZON={horizon}"]
        flags += ["-DMODEL_LANES=1"] if kind == "sample" else []  # a sixteenth of the memory
        _run_tool([COMPILER, *flags, *map(str, sources), "-o", str(path)])
    return Image(out, *_elf_sizes(out))


def _run_tool(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise BundleError("image", f"{command[0]}: {words}", "report this as a bug")
    return done.stdout


def _elf_sizes(elf: Path) -> tuple[int, int]:
    """Read flash and RAM from `arm-none-eabi-size -A`, without the room for the stack."""
    lines = [line.split() for line in _run_tool(["arm-none-eabi-size", "-A", str(elf)]).splitlines()]
    size = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[1].isdigit()}
    text, data, bss = (size.get(name, 0) for name in (".text", ".data", ".bss"))
    return text + size.get(".ARM.exidx", 0) + data, data + bss
