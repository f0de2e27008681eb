"""The library of a bundle is code: it is loaded where this machine made it, or where somebody asks for it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hostile import rehashed
from support.robots import plant
from support.shell import command

from export.compile import MACHINE, find_compiler
from export.firmware import model_files
from export.targets import default_targets, without_c
from firmware_bridge.mcap_file import McapFile
from rtsysid.errors import BackendError, BundleError
from rtsysid.live.reproduce import Settings
from rtsysid.model import loading, trust
from rtsysid.model.backends import c_backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor

pytestmark = pytest.mark.skipif(
    not c_backend.machines() or find_compiler(c_backend.machines()[0]) is None, reason="wants a C compiler"
)
DIGEST = "0" * 64
PAYLOAD = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) { close(open("%s", O_CREAT | O_WRONLY, 0600)); }
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own, in which nothing is noted; what was logged before is forgotten."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    loading._log_once.cache_clear()
    return tmp_path / "state" / "rtsysid" / "trusted"


@pytest.fixture
def evil(bundle_folder: Path, tmp_path: Path, state: Path) -> Path:
    """A stranger's bundle, whole and hashed, whose library writes the file `ran` when it is loaded."""
    (tmp_path / "evil.c").write_text(PAYLOAD % (tmp_path / "ran"))
    compiler = find_compiler(c_backend.machines()[0]) or []
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", tmp_path / "evil.so", tmp_path / "evil.c"], check=True)

    def change(folder: Path, content: dict[str, Any]) -> None:
        (library,) = folder.glob("model-*.so")
        shutil.copyfile(tmp_path / "evil.so", library)

    return rehashed(bundle_folder, tmp_path / "evil", change)


def test_no_command_runs_the_library_of_a_stranger(evil: Path, tmp_path: Path, recording: Path) -> None:
    """Every command that loads a bundle takes another backend; what `calibrate` rewrote is no more trusted."""
    traces = [tmp_path / f"{k}.csv" for k in range(2)]
    for k, path in enumerate(traces):
        plant(1, 600, seed=20 + k).write(path)
    copy = tmp_path / "calibrated"
    command("calibrate", evil, *traces, "-o", copy)
    for bundle in (evil, copy):
        command("info", bundle)
        rows = json.loads(command("verify", bundle, "--json").stdout)["backends"]
        assert [(row["backend"], row["passed"]) for row in rows] == [("c", None), ("onnx", True), ("numpy", True)]
        assert "--backend c" in rows[0]["reason"]
        command("replay", bundle, recording)
        command("evaluate", bundle, recording, "--horizon", 10, "--stride", 99)
        command("report", bundle, "--data", recording, "--horizon", 10, "-o", tmp_path / f"{bundle.name}.html")
        assert Predictor.load(bundle).backend.name == "onnx"
    assert not (tmp_path / "ran").exists()


def test_a_recording_does_not_ask_for_c(evil: Path, tmp_path: Path) -> None:
    """A live recording that names the C backend does not make a stranger's library run."""
    about = Settings(bundle="x", backend="c", budget_s=1.0).metadata()
    McapFile(tmp_path / "a.mcap", about, "rtsysid", 0).close()
    command("replay", evil, tmp_path / "a.mcap", check=1)
    assert not (tmp_path / "ran").exists()


def test_to_ask_for_c_is_to_trust_it(evil: Path, tmp_path: Path) -> None:
    """With --backend c the library is loaded, even of an unknown maker."""
    done = command("verify", evil, "--backend", "c", check=2)
    assert "C library" in done.stderr
    assert (tmp_path / "ran").exists()


def test_one_line_says_how_to_get_c(bundle_folder: Path, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bundle of another machine runs without C; one line is logged, once, and says what would load it."""
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert Predictor.load(bundle_folder, check=False).backend.name == "onnx"
    (line,) = caplog.messages
    assert '--backend c (backend="c" in Python) trusts and loads it' in line
    assert Predictor.load(bundle_folder, "c", check=False).backend.name == "c"


def test_an_exported_bundle_is_noted_for_this_user_alone(bundle_folder: Path, state: Path) -> None:
    """A noted digest is trusted; the file is the user's own, and one digest is noted once."""
    bundle = Bundle.open(bundle_folder)
    assert not bundle.trusted
    trust.note(bundle.manifest.digest)
    trust.note(bundle.manifest.digest)
    assert bundle.trusted
    assert state.read_text() == f"{bundle.manifest.digest}\n"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    assert Predictor.load(bundle, check=False).backend.name == "c"
    state.chmod(0o666)  # then anybody may have written it
    assert not bundle.trusted


def test_a_copy_of_a_trusted_bundle_is_trusted(bundle_folder: Path, state: Path, tmp_path: Path) -> None:
    """What was exported here and rewritten here runs in C, though its digest is another."""
    bundle = Bundle.open(bundle_folder)
    trust.note(bundle.manifest.digest)
    copy = bundle.rewritten(tmp_path / "copy", {"model-int8.c": b"/* new */"})
    assert copy.id != bundle.id
    assert copy.trusted


def test_the_notes_do_not_grow_without_end(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest are forgotten, and the newest stay."""
    monkeypatch.setattr(trust, "MOST_BYTES", 65 * 8)
    digests = [f"{k:064x}" for k in range(40)]
    for digest in digests:
        trust.note(digest)
        assert trust.is_noted(digest)
        assert state.stat().st_size <= 65 * 8
    assert not trust.is_noted(digests[0])


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a folder that others may write to": lambda path: (path.write_text(f"{DIGEST}\n"), path.parent.chmod(0o777)),
    "a file of somebody else": lambda path: (path.write_text(f"{DIGEST}\n"), other_owner(path)),
    "a folder of somebody else": lambda path: (path.write_text(f"{DIGEST}\n"), other_owner(path.parent)),
}


def other_owner(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_notes_that_others_could_write_count_for_nothing(
    hostile: str, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What others made, or could have put there, is not read, not waited for and not written to."""
    state.parent.mkdir(parents=True)
    HOSTILE[hostile](state)
    assert not trust.is_noted(DIGEST)
    trust.note(DIGEST)
    assert len(caplog.messages) == 1
    assert not trust.is_noted(DIGEST)


@pytest.mark.parametrize("rest", [b"", b"b" * 20, b"\xff\0\n", b"\n" * 3, b"x" * (3 << 20), b"\r"])
def test_rubbish_in_the_notes_loses_no_digest(rest: bytes, state: Path) -> None:
    """What a full disk cut off, and rubbish of any size, hides neither an old digest nor the next one."""
    state.parent.mkdir(parents=True)
    state.write_bytes(rest + f"\n{DIGEST}\n".encode() + rest[:100])
    state.chmod(0o600)
    assert trust.is_noted(DIGEST)
    trust.note("1" * 64)
    assert state.read_text() == f"{DIGEST}\n{'1' * 64}\n"


@pytest.mark.parametrize("broken", ["no home", "read-only", "a file in the way", "a link"])
def test_without_a_state_folder_nothing_is_trusted_and_nothing_fails(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be noted, one line says so, and the bundle is not trusted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if broken == "no home":
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        monkeypatch.setenv("HOME", "")
    elif broken == "read-only":
        monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    elif broken == "a file in the way":
        (tmp_path / "state").write_text("")
    else:
        (tmp_path / "state" / "rtsysid").mkdir(parents=True)
        (tmp_path / "state" / "rtsysid" / "trusted").symlink_to(tmp_path / "elsewhere")
    trust.note("0" * 64)
    assert len(caplog.messages) == 1
    assert not trust.is_noted("0" * 64)
    assert not (tmp_path / "elsewhere").exists()


def test_firmware_is_generated_and_not_taken_from_a_bundle(bundle_folder: Path, tmp_path: Path) -> None:
    """What is built for a board comes from specification and weights, whatever C the bundle holds."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        (folder / "model.c").write_text("#error of a stranger")

    changed = Bundle.open(rehashed(bundle_folder, tmp_path / "b", change))
    assert model_files(changed) == model_files(Bundle.open(bundle_folder))


@pytest.fixture
def unloadable(bundle_folder: Path, tmp_path: Path, state: Path) -> Path:
    """A bundle of this machine whose library does not load, as one for another libc or another width."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        (library,) = folder.glob("model-*.so")
        library.write_bytes(b"\x7fELF of another kind")

    folder = rehashed(bundle_folder, tmp_path / "b", change)
    trust.note(Bundle.open(folder).manifest.digest)
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
    bundle_folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where onnxruntime is installed and cannot be imported, `auto` takes NumPy, and `onnx` insists."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setattr("rtsysid.model.backends.onnx_backend.available", lambda: True)
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
