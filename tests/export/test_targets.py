"""What a bundle is exported for, and a library that is loaded as it was verified or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.robots import make_spec

from export.bundle import export
from export.compile import compile_library, find_compiler
from export.targets import parse_targets, write_c
from rtsysid.cli import cli as command_line
from rtsysid.errors import BackendError, BundleError, ConfigError
from rtsysid.model.backends.c_backend import CBackend, library_of, machines
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import run_golden
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor

pytestmark = pytest.mark.skipif(
    not machines() or find_compiler(machines()[0]) is None, reason="wants a C compiler: apt-get install gcc"
)


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def cli(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a process, on a search path of its own."""
    command = [sys.executable, "-m", "rtsysid", *map(str, arguments)]
    environment = {**os.environ, "PATH": os.environ["PATH"] if path is None else path, "CC": "cc"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[2]
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_auto_takes_the_library_of_this_machine(bundle_folder: Path) -> None:
    """A default export has a library for this machine, and `auto` prefers it to onnxruntime and NumPy."""
    assert backends_of(Bundle.open(bundle_folder)) == ("c", "onnx", "numpy")
    assert Predictor.load(bundle_folder).backend.name == "c"


def test_a_tampered_library_is_refused(copy: Path) -> None:
    """One flipped bit in the library, and the bundle does not open."""
    flip(copy / str(library_of(Bundle.open(copy))))
    with pytest.raises(BundleError, match=r"\.so was changed"):
        Predictor.load(copy)


def test_files_changed_after_opening_are_not_read_again(copy: Path, bundle_folder: Path) -> None:
    """The hashed bytes are the ones that are loaded: every file is overwritten afterwards, and nothing changes."""
    bundle, rows = Bundle.open(copy), np.ones((20, 3), np.float32)
    for path in copy.iterdir():
        path.write_bytes(b"changed")
    for backend in backends_of(bundle):
        found, expected = Predictor.load(bundle, backend), Predictor.load(bundle_folder, backend)  # type: ignore[arg-type]
        steps = [np.stack([each.step(row).copy() for row in rows]) for each in (found, expected)]
        assert np.array_equal(*steps, equal_nan=True)


def test_a_library_of_another_model_is_refused(bundle_folder: Path) -> None:
    """A library says which specification it was generated from, and serves no other."""
    bundle = Bundle.open(bundle_folder)
    with pytest.raises(BundleError, match="fingerprint"):
        CBackend(make_spec(), bundle.content(str(library_of(bundle))))


def test_a_file_that_is_no_library_is_refused() -> None:
    """What the loader cannot read is one line of ours, not its exception."""
    with pytest.raises(BackendError, match="use another backend"):
        CBackend(make_spec(), b"no library")


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path without a compiler, and no zig."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr("export.compile.has_zig", lambda: False)


def test_a_compiler_that_says_nothing_is_told_from_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC names a program that fails without a word: the line says so, and what to set."""
    monkeypatch.setenv("CC", "false")
    with pytest.raises(BundleError, match="code 1 and said nothing; let CC name"):
        compile_library({"model.c": "int x;"}, tmp_path / "model.so", machines()[0])


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_export_goes_on_with_onnx(run_folder: Path, tmp_path: Path) -> None:
    """No compiler on the path: one line says so, and the bundle runs on ONNX."""
    done = CliRunner().invoke(command_line, ["export", str(run_folder), "-o", str(tmp_path / "b"), "--json"])
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rtsysid:")]
    assert "no C compiler" in line
    assert [row["backend"] for row in json.loads(done.stdout)["backends"]] == ["onnx", "numpy"]


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("target", ["c", "armv7", "int8", "casadi"])
def test_a_target_that_was_asked_for_and_cannot_be_made_is_an_error(
    run_folder: Path, tmp_path: Path, target: str
) -> None:
    """Asked for by name, a target without its compiler is an error with a remedy, and nothing is written."""
    with pytest.raises(BundleError, match="install"):
        export(run_folder, tmp_path / "b", parse_targets(f"onnx,{target}"))
    assert not (tmp_path / "b").exists()


def test_a_target_without_its_compiler_is_one_line(run_folder: Path, tmp_path: Path) -> None:
    """The same on the command line, as a process: one line after the stages, exit code 2, and nothing is written."""
    done = cli("export", run_folder, "-o", tmp_path / "b", "--target", "c", path=str(tmp_path))
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("rtsysid: ")]) == 1
    assert "install" in done.stderr
    assert not (tmp_path / "b").exists()


def test_an_unknown_target_is_named() -> None:
    """The refusal lists what there is."""
    with pytest.raises(ConfigError, match=r"'cpp'.*onnx, c, int8, gradient, casadi, acados, aarch64, armv7"):
        parse_targets("onnx,cpp")


def test_int8_is_printed_beside_float32(run_folder: Path, tmp_path: Path) -> None:
    """`--target c,int8` leaves ONNX out, writes both sources, and states bytes and error of int8."""
    options = ["-o", str(tmp_path / "b"), "--target", "c,int8"]
    done = CliRunner().invoke(command_line, ["export", str(run_folder), *options])
    assert done.exit_code == 0, done.output
    assert "C float32: weights" in done.stdout
    assert "C int8: weights" in done.stdout
    assert "step error" in done.stdout.splitlines()[-2]
    bundle = Bundle.open(tmp_path / "b")
    assert backends_of(bundle) == ("c", "numpy")
    assert {"model.c", "model.h", "model-int8.c", "model-int8.h"} <= set(bundle.manifest.files)
    assert bundle.manifest.c["int8"].weight_bytes < bundle.manifest.c["float32"].weight_bytes


def test_int8_is_refused_where_eight_bits_are_too_few(bundle_folder: Path, tmp_path: Path) -> None:
    """A model whose linear path takes nearly the difference of two rows, with large weights, loses what is left."""
    bundle = Bundle.open(bundle_folder)
    weights, golden = bundle.arrays("weights.npz"), bundle.arrays("golden.npz")
    linear, newest = weights["linear_path.weight"].copy(), -bundle.spec.width
    linear[:, newest] += 3e6
    linear[:, newest - bundle.spec.width] -= 2.99e6
    steep = {**weights, "linear_path.weight": linear}
    exact = {**golden, **run_golden(Predictor(bundle.spec, NumpyBackend(bundle.spec, steep)), golden)}
    write_c(bundle.spec, weights, golden, tmp_path, ["int8"])
    with pytest.raises(BundleError, match=r"int8 weights change one step by .* standard deviations"):
        write_c(bundle.spec, steep, exact, tmp_path, ["int8"])


def test_no_path_of_this_machine_travels_with_a_library(bundle_folder: Path) -> None:
    """Neither the library nor the sources hold a folder of the machine that exported."""
    bundle = Bundle.open(bundle_folder)
    for name in (str(library_of(bundle)), "model.c", "model.h"):
        content = bundle.content(name)
        assert not [path for path in (b"/tmp", bytes(Path.cwd()), bytes(Path.home())) if path in content]


@pytest.mark.parametrize(("target", "machine"), [("aarch64", "aarch64"), ("armv7", "armv7l")])
def test_cross_compiled(run_folder: Path, tmp_path: Path, target: str, machine: str) -> None:
    """With a cross compiler at hand the bundle carries a library for that machine, and names it."""
    if find_compiler(machine) is None:
        pytest.skip(f"wants a compiler for {machine}: pip install ziglang, or the Debian cross compiler")
    bundle, _ = export(run_folder, tmp_path / "b", parse_targets(target))
    content = bundle.content(f"model-{machine}-linux.so")
    assert content[:4] == b"\x7fELF"
    assert int.from_bytes(content[18:20], "little") == {"aarch64": 183, "armv7l": 40}[machine]
