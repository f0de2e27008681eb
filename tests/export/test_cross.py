"""Libraries for other machines: compiled here, by Debian's compilers and by zig, and run on an emulated processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from export.compile import CROSS, find_compiler
from export.retarget import retarget
from export.targets import parse_targets
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import golden_of, relative_error

DRIVER = """
#include <stdio.h>
#include "model.h"
static model_state robot;
int main(void)
{
    float sample[MODEL_CHANNELS];
    model_reset(&robot);
    while (fread(sample, sizeof sample, 1, stdin) == 1)
        fwrite(model_step(&robot, sample), sizeof(float), MODEL_OUTPUTS, stdout);
    return 0;
}
"""


class Machine(NamedTuple):
    """A target, as the kernel and ELF call it, and the emulator that runs its programs."""

    name: str
    elf: int
    emulator: str


MACHINES = {"aarch64": Machine("aarch64", 183, "qemu-aarch64"), "armv7": Machine("armv7l", 40, "qemu-arm")}


@pytest.fixture(params=["debian", "zig"])
def toolchain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Debian's cross compilers, or zig where they are not installed."""
    if request.param == "zig":
        if not find_spec("ziglang"):
            pytest.skip("wants zig: pip install ziglang")
        which = shutil.which
        monkeypatch.setattr(
            shutil, "which", lambda name, *a, **b: None if "-linux-gnu" in name else which(name, *a, **b)
        )
    return str(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("target", MACHINES)
def test_a_library_for_another_machine_predicts_there(
    target: str, toolchain: str, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is of that machine, and on its emulated processor it reproduces the golden trace of the bundle."""
    machine = MACHINES[target]
    linker = f"{CROSS[machine.name]}-gcc"
    command = find_compiler(machine.name)
    if command is None or (toolchain == "debian") != (Path(command[0]).name == linker):
        pytest.skip(f"wants {linker}")
    bundle, _ = retarget(Bundle.open(bundle_folder), tmp_path / "b", parse_targets(target))
    library = tmp_path / f"model-{machine.name}-linux.so"
    library.write_bytes(bundle.content(library.name))
    assert int.from_bytes(library.read_bytes()[18:20], "little") == machine.elf
    monkeypatch.undo()
    if not (shutil.which(linker) and shutil.which(machine.emulator)):
        pytest.skip(f"wants {linker} and {machine.emulator}, to run it")
    golden = golden_of(bundle)
    end = next((k for k in golden["starts"].tolist() if k), len(golden["y"]))  # the first sequence
    (tmp_path / "driver.c").write_text(DRIVER)
    program = [linker, "driver.c", "-I", bundle.folder, library, f"-Wl,-rpath,{tmp_path}", "-o", "driver"]
    subprocess.run(program, cwd=tmp_path, check=True)
    run = [machine.emulator, "-L", f"/usr/{CROSS[machine.name]}", tmp_path / "driver"]
    done = subprocess.run(run, input=golden["samples"][:end].tobytes(), capture_output=True, check=True)
    y = np.frombuffer(done.stdout, np.float32).reshape(-1, bundle.spec.n_outputs)
    assert len(y) == end
    assert relative_error(y, golden["y"][:end], bundle.spec) <= bundle.manifest.tolerance["step"]


def test_zig_is_named_with_its_own_flags() -> None:
    """zig knows neither -march=armv8-a nor -mfpu: each machine that it may serve has flags of its own."""
    from export.compile import MACHINE, ZIG_MACHINE, machine_flags

    assert set(ZIG_MACHINE) == set(CROSS)
    for machine in CROSS:
        assert (
            machine_flags(machine, [sys.executable, "-m", "ziglang", "cc"])[: len(ZIG_MACHINE[machine])]
            == ZIG_MACHINE[machine]
        )
        assert machine_flags(machine, ["/usr/bin/gcc"]) == MACHINE[machine]
