"""The C opens in an editor without errors: every file compiles alone with the flags of its compile_flags.txt."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from export.c_example import example_headers

ROOT = Path(__file__).parents[2]
FRAGMENTS = ROOT / "export" / "c"
FIRMWARE = ROOT / "firmware_bridge" / "firmware"
CORTEX = FIRMWARE / "ports" / "cortex_m4"  # Cortex-M instructions: its flags are for clang, which clangd is


def check_syntax(compiler: str, path: Path, folder: Path) -> None:
    """Compile one file with the flags of a folder, warnings as errors."""
    flags = (folder / "compile_flags.txt").read_text().split()
    command = [compiler, "-fsyntax-only", "-Werror", *flags, str(path.relative_to(folder))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_headers_are_what_the_command_writes() -> None:
    """`python -m export.c_example` would change nothing."""
    for path, text in example_headers().items():
        assert path.read_text() == text, f"{path}: run python -m export.c_example"


@pytest.mark.skipif(not shutil.which("cc"), reason="wants a C compiler: apt-get install gcc")
@pytest.mark.parametrize("path", sorted(FRAGMENTS.glob("*.[ch]")), ids=lambda path: path.name)
def test_a_fragment_of_the_model_compiles_alone(path: Path) -> None:
    """Each part of the generated C, with the parts that it builds on and the example model: no error, no warning."""
    check_syntax("cc", path, FRAGMENTS)


@pytest.mark.skipif(not shutil.which("cc"), reason="wants a C compiler: apt-get install gcc")
@pytest.mark.parametrize(
    "path", sorted(p for p in FIRMWARE.rglob("*.c") if p.parent != CORTEX), ids=lambda path: path.name
)
def test_a_file_of_the_firmware_compiles_alone(path: Path) -> None:
    """Each source of the firmware, around the example model and its channel table: no error, no warning."""
    check_syntax("cc", path, FIRMWARE)


@pytest.mark.parametrize("path", sorted(CORTEX.glob("*.c")), ids=lambda path: path.name)
def test_a_file_of_the_cortex_port_compiles_alone(path: Path) -> None:
    """The same for a Cortex-M4, with clang and the headers of the Debian package of newlib."""
    if not (shutil.which("clang") and Path("/usr/lib/arm-none-eabi/include").is_dir()):
        pytest.skip("wants clang and libnewlib-arm-none-eabi")
    check_syntax("clang", path, CORTEX)
