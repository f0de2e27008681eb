"""A backend that cannot run here gives way to another one, in one line, and a library that is not whole is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.hostile import rehashed
from support.shell import command

from export.compile import MACHINE, find_compiler
from export.targets import default_targets, without_c
from rtsysid.errors import BackendError, BundleError
from rtsysid.model import trust
from rtsysid.model.backends import c_backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor

pytestmark = pytest.mark.skipif(
    not c_backend.machines() or find_compiler(c_backend.machines()[0]) is None, reason="wants a C compiler"
)


@pytest.fixture
def unloadable(bundle_folder: Path, tmp_path: Path, own: Path) -> Path:
    """A bundle of this machine whose library does not load, as one for another libc or another width."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        (library,) = folder.glob("model-*.so")
        library.write_bytes(b"\x7fELF of another kind")

    folder = rehashed(bundle_folder, tmp_path / "b", change)
    trust.sign(folder, Bundle.open(folder).manifest.digest)
    return folder


def test_a_library_that_does_not_load_gives_way(unloadable: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`auto` passes it over with one line, `verify` shows why and goes on, and `c` insists."""
    assert Predictor.load(unloadable).backend.name == "onnx"
    (line,) = caplog.messages
    assert "backend c is passed over: it does not load here" in line
    rows = json.loads(command("verify", unloadable, "--json").stdout)["backends"]
    assert [row["passed"] for row in rows] == [None, True, True]
    assert "not loaded: " in command("verify", unloadable).stdout
    with pytest.raises(BackendError, match="use another backend"):
        Predictor.load(unloadable, "c")


@pytest.mark.parametrize("kept", [0, 3, 64, 4096, 0.5, 0.9])
def test_a_library_that_is_cut_off_is_refused(kept: float, bundle_folder: Path) -> None:
    """The loader would map the missing end, and the process would die where it is touched."""
    bundle = Bundle.open(bundle_folder)
    content = bundle.content(str(c_backend.library_of(bundle)))
    cut = content[: int(kept * len(content)) if isinstance(kept, float) else kept]
    with pytest.raises(BackendError, match="use another backend"):
        c_backend.CBackend(bundle.spec, cut)


@pytest.mark.parametrize("lacking", ["fingerprint", "state_bytes", "lanes_bytes", *c_backend.FUNCTIONS])
def test_a_library_of_another_release_is_refused(lacking: str, bundle_folder: Path) -> None:
    """Every symbol that the backend needs is looked up before anything is called."""
    bundle = Bundle.open(bundle_folder)
    content = bundle.content(str(c_backend.library_of(bundle)))
    name = f"model_{lacking}\0".encode()
    assert name in content
    with pytest.raises(BundleError, match="export again"):
        c_backend.CBackend(bundle.spec, content.replace(b"\0" + name, b"\0X" + name[1:]))


def test_onnxruntime_that_does_not_load_gives_way(
    bundle_folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where onnxruntime is installed and cannot be imported, `auto` takes NumPy, and `onnx` insists."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setattr("rtsysid.model.loading.onnx_runs_here", lambda: True)
    assert Predictor.load(bundle_folder).backend.name == "numpy"
    with pytest.raises(BackendError):
        Predictor.load(bundle_folder, "onnx")


def test_a_library_loads_without_memory_files(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is not mounted, a private file serves; it is gone afterwards."""
    bundle = Bundle.open(bundle_folder)
    content = bundle.content(str(c_backend.library_of(bundle)))

    def refuse(name: str) -> int:
        raise OSError(0, "no files in memory")

    monkeypatch.setattr(os, "memfd_create", refuse)
    c_backend._library_from.cache_clear()
    library = c_backend._library_from(content)
    assert not Path(library._name).exists()
    c_backend._library_from.cache_clear()


@pytest.mark.parametrize(
    ("machine", "bits", "expected"),
    [("aarch64", 8, ("aarch64",)), ("aarch64", 4, ("armv7l",)), ("armv8l", 4, ("armv7l",)), ("armv7l", 4, ("armv7l",)),
     ("x86_64", 4, ()), ("i686", 4, ()), ("riscv64", 8, ()), ("armv6l", 4, ()), ("x86_64", 8, ("x86_64",))],
)  # fmt: skip
def test_machines_are_those_of_the_process(
    machine: str, bits: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The width of the process counts, not that of the kernel; without /proc/cpuinfo it is the plainest level."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("struct.calcsize", lambda text: bits)
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    assert c_backend.machines.__wrapped__() == expected


def test_an_unknown_machine_has_no_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export leaves C out on a machine that no library is made for, and says which one that is."""
    monkeypatch.setattr("export.targets.machines", tuple)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert default_targets() == ("onnx",)
    assert "riscv64" in without_c()


def test_every_machine_has_flags_and_a_width() -> None:
    """The compiler's table and the loader's name the same machines."""
    assert set(MACHINE) == set(c_backend.LEVELS) | set(c_backend.POINTER_BITS)


def test_a_bundle_without_a_named_backend_says_what_there_is(bundle_folder: Path, tmp_path: Path) -> None:
    """Asked for a backend that the bundle does not have, the error lists those of this machine."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        for path in [*folder.glob("model*"), *folder.glob("*.onnx")]:
            path.unlink()

    bundle = Bundle.open(rehashed(bundle_folder, tmp_path / "b", change))
    assert backends_of(bundle) == ("numpy",)
    with pytest.raises(BundleError, match="runs on numpy"):
        Predictor.load(bundle, "c")
