"""Compile C programs with the firmware for this machine, and cache them by the content of their sources."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rtsysid.errors import LinkError, StorageError

FIRMWARE = Path(__file__).parent / "firmware"
_APP = ("app.c", "app_state.c", "send.c", "session.c", "tx.c", "wire.c")  # without a port
APP = tuple(FIRMWARE / name for name in _APP)
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_c(name: str, sources: Sequence[Path], flags: Sequence[str] = ("-O2",), model: Path | None = None) -> Path:
    """Compile `sources`, which may include the firmware's headers, and return the executable, from a cache if possible.

    `model`: folder with a generated model.c and model.h to compile with it. The cache is ``$XDG_CACHE_HOME/rtsysid`` or
    ``~/.cache/rtsysid``, and may be deleted at any time. Raises LinkError where there is no compiler or it fails,
    StorageError where the cache cannot be written.
    """
    around = [] if model is None else [model / "model.c", model / "model.h"]
    command = [*compiler(), *WARNINGS, *flags, f"-I{FIRMWARE}", *map(str, sources)]
    command += [] if model is None else [f"-I{model}", str(around[0]), "-lm"]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtsysid"
    built = folder / f"{name}-{_fingerprint([*sources, *around], [*compiler(), *WARNINGS, *flags])}"
    if built.exists():
        return built
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _compile([*command, "-o", f"{scratch}/{name}"])
            os.replace(f"{scratch}/{name}", built)
    except OSError as error:
        raise StorageError(f"cannot build in {folder}", str(error), "free space or set XDG_CACHE_HOME") from error
    return built


def compiler() -> list[str]:
    """Return the C compiler as the start of a command: ``$CC``, or the first of cc, gcc, clang.

    Raises LinkError where there is none.
    """
    if chosen := shlex.split(os.environ.get("CC", "")):
        found = shutil.which(chosen[0])
        wanted = f"CC={chosen[0]}"
    else:
        chosen = ["cc"]
        found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        wanted = "none of cc, gcc, clang"
    if found is None:
        raise LinkError("C compiler", f"{wanted} is not on the PATH", "install one: apt install gcc libc6-dev")
    return [found, *chosen[1:]]


def _fingerprint(sources: Sequence[Path], options: Sequence[str]) -> str:
    seen = hashlib.sha256("\0".join(options).encode())
    for path in sorted({*FIRMWARE.rglob("*.[ch]"), *sources}):
        seen.update(path.read_bytes())
    return seen.hexdigest()[:16]


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise LinkError(
            "compiling the firmware", complaint, f"fix the source, or choose another compiler than {command[0]} by CC"
        )
