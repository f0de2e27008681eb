"""Compile the generated C to a shared library, for this machine or another."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from rtsysid.errors import BundleError
from rtsysid.model.backends.c_backend import machines
from rtsysid.storage import replacing
from rtsysid.storage.products import LIBRARY

Build: TypeAlias = Literal["fast", "strict"]

# Neither build may assume that numbers are finite: a NaN in a sample has to stay NaN.
COMMON = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Werror", "-fno-math-errno", "-fno-trapping-math")
# gcc 12 fuses products and sums where it packs straight code into vectors, in spite of -ffp-contract=off (seen with -O3
# -march=x86-64-v4); -fno-tree-slp-vectorize prevents it.
STRICT = ("-ffp-contract=off", "-fno-tree-slp-vectorize")
CONTRACTION = {"fast": ("-ffp-contract=fast",), "strict": STRICT}
SHARED = ("-shared", "-fPIC", "-s", "-Wl,--build-id=none")
MACHINE = {  # what a name in a bundle promises of the machine
    "x86_64-v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "x86_64-v3": ("-march=x86-64-v3",),
    "x86_64": ("-march=x86-64",),
    "aarch64": ("-march=armv8-a",),
    "armv7l": ("-march=armv7-a", "-mfpu=vfpv3-d16", "-mfloat-abi=hard"),
}
ZIG_MACHINE = {  # the same, as zig calls it: it takes neither -march of ARM nor -mfpu
    "aarch64": ("-mcpu=generic",),
    "armv7l": ("-mcpu=generic+v7a+vfp3d16", "-mfloat-abi=hard"),
}
ZIG_WARNINGS = ("-Wno-unused-function",)  # it names inline functions that a model has no use for
OUTER = ("model-casadi.c", "model-control.c", "model-int8.c", "model.c")  # each includes those after it, but for int8
CROSS = {"aarch64": "aarch64-linux-gnu", "armv7l": "arm-linux-gnueabihf"}


def outermost(sources: Mapping[str, str]) -> str:
    """Name the one file of these sources to compile: it includes the others."""
    return next(name for name in OUTER if name in sources)


def find_compiler(machine: str) -> list[str] | None:
    """Find the command of a C compiler for a machine: an installed one, or zig's where the package ziglang is.

    None where there is none.
    """
    if machine in machines():
        names = [os.environ.get("CC", "cc"), "gcc", "clang"]
    else:
        names = [f"{CROSS[machine]}-gcc"] if machine in CROSS else []
    for name in names:
        found = shutil.which(name)
        if found:
            return [found]
    if machine in CROSS and has_zig():
        return [sys.executable, "-m", "ziglang", "cc", "-target", CROSS[machine]]
    return None


def has_zig() -> bool:
    """Tell whether the package ziglang is installed, which compiles for every machine."""
    return importlib.util.find_spec("ziglang") is not None


def require_compiler(machine: str) -> list[str]:
    """Find the command of a C compiler for a machine. Raises BundleError where there is none."""
    command = find_compiler(machine)
    if command is None:
        name = f"{CROSS[machine]}-gcc" if machine in CROSS and machine not in machines() else "gcc or clang"
        raise BundleError(f"C for {machine}", "no compiler for it is installed", f"install {name}, or leave it out")
    return command


def machine_flags(machine: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the flags that choose a machine, for the compiler that `find_compiler` found."""
    return (*ZIG_MACHINE[machine], *ZIG_WARNINGS) if "ziglang" in command else MACHINE[machine]


def compile_library(sources: Mapping[str, str], out: Path, machine: str, build: Build = "fast") -> Path:
    """Compile the result of `c_sources` to the shared library `out`.

    Raises BundleError where there is no compiler or it fails, with its first line of output; StorageError where `out`
    exists.
    """
    command = require_compiler(machine)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            (Path(folder) / name).write_text(text)
        flags = [*COMMON, *CONTRACTION[build], *machine_flags(machine, command), *SHARED]
        # Relative names, so that no path of this machine travels with the library.
        names = [outermost(sources)]
        done = subprocess.run(
            [*command, *flags, *names, "-o", "model.so"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise _compiler_error(machine, command[0], done)
        with replacing(out, LIBRARY) as path:
            shutil.copyfile(Path(folder) / "model.so", path)
    return out


def _compiler_error(machine: str, compiler: str, done: subprocess.CompletedProcess[str]) -> BundleError:
    """Say what a compiler said; one that says nothing is no compiler."""
    what, name, words = f"C for {machine}", Path(compiler).name, done.stderr.strip().splitlines()
    if not words:
        silent = f"{name}: it ended with code {done.returncode} and said nothing"
        return BundleError(what, silent, "let CC name a C compiler, or leave CC unset")
    return BundleError(what, f"{name}: {words[0]}", "report this as a bug")
