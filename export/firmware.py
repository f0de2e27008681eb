"""Images for boards: the model as C, and around it the firmware that replays a file or talks over a wire."""

from __future__ import annotations

import re
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

Kind: TypeAlias = Literal["replay", "app", "gradient", "sample", "sensors"]

LEAN = ("-ffunction-sections", "-fdata-sections")
LINK = ("-nostartfiles", "-specs=nano.specs", "-Wl,--gc-sections", "-Wl,--fatal-warnings", "-Wl,--build-id=none")
PORTS = FIRMWARE / "ports"
SOURCES: dict[Kind, tuple[Path, ...]] = {
    "replay": (PORTS / "cortex_m4" / "replay.c",),
    "gradient": (PORTS / "cortex_m4" / "gradient.c",),  # around a model with model-control.c
    "sample": (PORTS / "cortex_m4" / "sample.c",),  # around a model with a distribution
    "app": (PORTS / "cortex_m4" / "main.c", *APP),
    "sensors": (PORTS / "cortex_m4" / "sensors.c", *APP),
}
COMPILER = "arm-none-eabi-gcc"
_OVERFLOW = re.compile(r"region [`']([\w.]+)' overflowed by (\d+) bytes")


@dataclass(frozen=True)
class Image:
    """An ELF file. ``flash``: bytes of code, tables and initial values; ``ram``: bytes of all data but the stack."""

    path: Path
    flash: int
    ram: int


def available() -> bool:
    """Tell whether images can be built on this machine."""
    return shutil.which(COMPILER) is not None


def model_files(bundle: Bundle, *, control: bool = False, int8: bool = False) -> dict[str, str]:
    """Generate model.c, model.h and channels.h of a bundle; with `control` also model-control.c and .h.

    `int8` stores the weights as int8, in files of the same names. Raises BundleError where it has no weights.
    """
    spec, weights = bundle.spec, bundle.arrays("weights.npz")
    table = channel_header(Schema.of(spec.channels, spec.rate_hz))
    more = control_sources(spec, weights) if control else {}
    return {**renamed(c_sources(spec, weights, int8=int8)), **more, "channels.h": table}


def renamed(sources: Mapping[str, str]) -> dict[str, str]:
    """Call the files of an int8 model `model.c` and `model.h`, as the firmware includes them."""
    return {name.replace("-int8", ""): text.replace('"model-int8.h"', '"model.h"') for name, text in sources.items()}


def model_hash(bundle: Bundle) -> int:
    """Return the number that a board announces for a bundle: the first 8 hex digits of the id of its model."""
    return int(bundle.model_id[:8], 16)


def build_image(
    kind: Kind, model: Mapping[str, str], out: Path, *, port: str = "stm32f405", build: Build = "strict",
    model_hash: int = 1, horizon: int = 10, overwrite: bool = False,
) -> Image:  # fmt: skip
    """Compile an image for a port around `model`, the result of `model_files`, to the file `out`.

    `port`: a folder of `firmware_bridge/firmware/ports`, or the path of another one, with chip.h, flags.txt for the
    compiler, and a linker script with the folder's name. A "gradient" or "sample" image has room for `horizon` ticks.
    The board announces `model_hash`. Raises BundleError where there is no compiler, it fails, or the image does not
    fit; StorageError where `out` exists and `overwrite` is not given.
    """
    if not available():
        raise BundleError(f"image {kind}", f"{COMPILER} is not installed", "run make hil, which installs it")
    with replacing(out, IMAGE, overwrite=overwrite) as path, tempfile.TemporaryDirectory() as folder:
        for name, text in model.items():
            (Path(folder) / name).write_text(text)
        place = PORTS / port  # an absolute path stays what it is
        script = place / f"{place.name}.ld"
        folders = [f"-I{path}" for path in (folder, FIRMWARE, PORTS / "cortex_m4", place)]
        sources = [*SOURCES[kind], PORTS / "cortex_m4" / "startup.c", Path(folder) / outermost(model)]
        flags = [*port_flags(place), *COMMON, *CONTRACTION[build], *LEAN, *LINK, *folders, f"-T{script}"]
        flags += [f"-DONBOARD_HASH=0x{model_hash:08x}u", f"-DHORIZON={horizon}"]
        flags += ["-DMODEL_LANES=1"] if kind == "sample" else []  # a sixteenth of the memory
        # libm: sqrtf, where the processor has none
        _run_tool([COMPILER, *flags, *map(str, sources), "-lm", "-o", str(path)], script)
    return Image(out, *_elf_sizes(out))


def port_flags(place: Path) -> list[str]:
    """Read the compiler's flags of a port. Raises BundleError where its folder has none."""
    try:
        return (place / "flags.txt").read_text().split()
    except OSError:
        known = ", ".join(sorted(path.parent.name for path in PORTS.glob("*/flags.txt")))
        raise BundleError(f"port {place}", "it has no flags.txt", f"choose among {known}, or write one") from None


def _run_tool(command: list[str], script: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if script is not None and (over := _OVERFLOW.search(done.stderr)):
            raise _does_not_fit(over[1], int(over[2]), script)
        words = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise BundleError("image", f"{command[0]}: {words}", "report this as a bug")
    return done.stdout


def _does_not_fit(region: str, over: int, script: Path) -> BundleError:
    """Say how much an image needs of a region of its linker script, and how much there is."""
    length = re.search(rf"^\s*{region}\b.*LENGTH\s*=\s*(\d+)([KM]?)", script.read_text(), re.MULTILINE)
    size = int(length[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[length[2]] if length else 0
    there = f"{size / 2**20:g} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
    found = f"it does not fit: {(size + over) / 1e6:.1f} MB of {there} ({region})"
    return BundleError(f"image for {script.stem}", found, "use int8 weights, a smaller model, or a larger chip")


def _elf_sizes(elf: Path) -> tuple[int, int]:
    """Read flash and RAM from `arm-none-eabi-size -A`, without the room for the stack."""
    lines = [line.split() for line in _run_tool(["arm-none-eabi-size", "-A", str(elf)]).splitlines()]
    size = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[1].isdigit()}
    text, data, bss = (size.get(name, 0) for name in (".text", ".data", ".bss"))
    return text + size.get(".ARM.exidx", 0) + data, data + bss
