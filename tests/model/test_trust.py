"""The library of a bundle is code: it is loaded where this machine made it, or where somebody asks for it."""

from __future__ import annotations

import json
import logging
import os
import re
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

from export.compile import find_compiler
from export.firmware import model_files
from firmware_bridge.mcap_file import McapFile
from rtsysid.errors import BundleError
from rtsysid.live.reproduce import Settings
from rtsysid.model import keys, trust
from rtsysid.model.backends import c_backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor

pytestmark = pytest.mark.skipif(
    not c_backend.machines() or find_compiler(c_backend.machines()[0]) is None, reason="wants a C compiler"
)
KEY = "ab" * 32
PAYLOAD = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) { close(open("%s", O_CREAT | O_WRONLY, 0600)); }
"""


@pytest.fixture
def evil(bundle_folder: Path, tmp_path: Path, own: Path) -> Path:
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
        assert "--trust or --backend c" in rows[0]["reason"]
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


def test_trust_for_once_loads_the_library(evil: Path, tmp_path: Path, recording: Path) -> None:
    """--trust runs a stranger's library for this command alone; the next one without it does not."""
    command("verify", evil, "--trust", check=2)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    command("replay", evil, recording)
    command("replay", evil, recording, "--trust", "--backend", "onnx")  # what is asked for by name is taken
    assert not (tmp_path / "ran").exists()


def test_one_line_says_how_to_get_c(bundle_folder: Path, own: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bundle of another maker runs without C; one line is logged, once, with his key and what would load it."""
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert Predictor.load(bundle_folder, check=False).backend.name == "onnx"
    (line,) = caplog.messages
    assert f"rtsysid trust add {Bundle.open(bundle_folder).maker.key}" in line
    assert '--trust or --backend c (backend="c" in Python) loads it once' in line
    assert Predictor.load(bundle_folder, "c", check=False).backend.name == "c"


def test_an_exported_bundle_is_signed_by_this_user(bundle_folder: Path, own: Path, tmp_path: Path) -> None:
    """The key is made with the first signature, for this user alone; what it signed is trusted, and runs in C."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    assert not Bundle.open(folder).trusted
    bundle = Bundle.open(folder).signed()
    assert bundle.maker.name == "this user"
    assert bundle.id == Bundle.open(bundle_folder).id
    assert Predictor.load(bundle, check=False).backend.name == "c"
    assert stat.S_IMODE((own / "signing_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    (own / "signing_key").chmod(0o644)  # then anybody may have signed with it
    assert not bundle.trusted


def test_a_trusted_key_is_one_that_was_added(bundle_folder: Path, own: Path, tmp_path: Path) -> None:
    """`trust add` takes the key of a maker, `trust list` shows it, and `trust remove` takes it back."""
    key = Bundle.open(bundle_folder).maker.key
    (tmp_path / "lab.key").write_text(f"{key}\n")
    command("trust", "add", tmp_path / "lab.key", "--name", "robot lab")
    assert Bundle.open(bundle_folder).maker.name == "robot lab"
    assert key in command("trust", "list").stdout
    command("trust", "remove", "robot lab")
    assert not Bundle.open(bundle_folder).trusted
    command("trust", "remove", "robot lab", check=2)


@pytest.mark.parametrize("text", ["", "f" * 63, "\xff", "no key\n", "g" * 64])
def test_what_is_no_key_is_refused(text: str, own: Path, tmp_path: Path) -> None:
    """A file that holds no key, and a text that is none, are refused in one line, and nothing is trusted."""
    (tmp_path / "key").write_text(text)
    assert len(command("trust", "add", tmp_path / "key", check=2).stderr.splitlines()) == 1
    command("trust", "add", text or "-", check=2)
    assert trust.own_public_key() is None
    assert not (own / "trusted_keys").exists()


def test_a_changed_bundle_is_not_the_signed_one(evil: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """A stranger who keeps the signature of a trusted maker gains nothing: it is that of other files."""
    keys.set_trusted_keys({Bundle.open(bundle_folder).maker.key: "lab"})
    assert Bundle.open(bundle_folder).trusted
    assert (evil / trust.NAME).read_bytes() == (bundle_folder / trust.NAME).read_bytes()
    assert "not that of these files" in Bundle.open(evil).maker.reason
    assert Predictor.load(evil).backend.name == "onnx"
    assert not (tmp_path / "ran").exists()


def test_what_was_verified_is_what_is_loaded(evil: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """Files that are exchanged after a trusted bundle was opened are not loaded."""
    keys.set_trusted_keys({Bundle.open(bundle_folder).maker.key: "lab"})
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    opened = Bundle.open(folder)
    for path in evil.iterdir():
        shutil.copyfile(path, folder / path.name)
    assert Predictor.load(opened).backend.name == "c"
    assert not (tmp_path / "ran").exists()


HOSTILE_SIGNATURES: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda path: path.write_bytes(b"\xff{"),
    "another type": lambda path: path.write_text('{"key": 1, "signature": []}'),
    "an unknown field": lambda path: path.write_text(path.read_text().replace("{", '{"more": 1,')),
    "a point that is none": lambda path: path.write_text(json.dumps({"key": "f" * 64, "signature": "f" * 128})),
    "the neutral point": lambda path: path.write_text(json.dumps({"key": f"01{'0' * 62}", "signature": "0" * 128})),
    "a changed digit": lambda path: path.write_text(changed_digit(path.read_text())),
    "capital letters": lambda path: path.write_text(path.read_text().upper()),
    "empty": lambda path: path.write_bytes(b""),
    "nested": lambda path: path.write_text("[" * 900),
}


def changed_digit(text: str) -> str:
    at = text.index('"signature": "') + 20
    return f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"


@pytest.mark.parametrize("hostile", HOSTILE_SIGNATURES)
def test_a_hostile_signature_is_none(hostile: str, bundle_folder: Path, own: Path, tmp_path: Path) -> None:
    """A signature that is damaged, forged or of another form is said in one line, and the bundle is a stranger's."""
    keys.set_trusted_keys({Bundle.open(bundle_folder).maker.key: "lab", "f" * 64: "", f"01{'0' * 62}": ""})
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    HOSTILE_SIGNATURES[hostile](folder / trust.NAME)
    maker = Bundle.open(folder).maker
    assert not maker.name
    assert "--trust" in maker.reason
    assert len(maker.reason.splitlines()) == 1


@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a folder", "too large"])
def test_a_signature_is_a_small_file(kind: str, bundle_folder: Path, tmp_path: Path) -> None:
    """A link, a FIFO, a folder and a large file are refused like any other file of a bundle, and not waited for."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    path = folder / trust.NAME
    path.unlink()
    make: dict[str, Callable[[], object]] = {
        "a link": lambda: path.symlink_to(bundle_folder / trust.NAME), "a FIFO": lambda: os.mkfifo(path),
        "a folder": path.mkdir, "too large": lambda: path.write_bytes(b" " * (trust.MOST_BYTES + 1)),
    }  # fmt: skip
    make[kind]()
    with pytest.raises(BundleError, match=re.escape(trust.NAME)):
        Bundle.open(folder)


def test_a_bundle_without_a_signature_is_whole(bundle_folder: Path, tmp_path: Path) -> None:
    """A bundle that nobody signed opens, verifies and predicts, without its C library."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    (folder / trust.NAME).unlink()
    assert "not signed" in Bundle.open(folder).maker.reason
    assert Predictor.load(folder).backend.name == "onnx"


def test_a_copy_of_a_trusted_bundle_is_trusted(bundle_folder: Path, own: Path, tmp_path: Path) -> None:
    """What a trusted maker signed, and this user rewrote, runs in C, though its digest is another."""
    bundle = Bundle.open(bundle_folder)
    assert not bundle.rewritten(tmp_path / "one", {"model-int8.c": b"/* new */"}).trusted
    keys.set_trusted_keys({bundle.maker.key: "lab"})
    copy = bundle.rewritten(tmp_path / "two", {"model-int8.c": b"/* new */"})
    assert copy.id != bundle.id
    assert copy.maker.name == "this user"


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "others may write to it": lambda path: (path.write_text(f"{KEY}\n"), path.chmod(0o666)),
    "others may write to its folder": lambda path: (path.write_text(f"{KEY}\n"), path.parent.chmod(0o777)),
    "a file of somebody else": lambda path: (path.write_text(f"{KEY}\n"), other_owner(path)),
    "a folder of somebody else": lambda path: (path.write_text(f"{KEY}\n"), other_owner(path.parent)),
    "a link": lambda path: path.symlink_to(elsewhere(path)),
    "rubbish": lambda path: path.write_bytes(b"\xff\0" * 5000),
}


def elsewhere(path: Path) -> Path:
    other = path.parent / "elsewhere"
    other.write_text(f"{KEY}\n")
    return other


def other_owner(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("name", ["trusted_keys", "signing_key"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_keys_that_others_could_write_count_for_nothing(hostile: str, name: str, own: Path) -> None:
    """What others made, or could have put there, is not read and not waited for."""
    own.mkdir(parents=True, mode=0o700)
    HOSTILE[hostile](own / name)
    assert keys.trusted_keys() == {}
    assert keys.private_key() is None


def test_a_key_that_others_can_read_signs_nothing(bundle_folder: Path, own: Path, tmp_path: Path,
                                                  caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    """One line says that the bundle could not be signed; it is whole, and not trusted."""
    own.mkdir(parents=True, mode=0o700)
    (own / "signing_key").write_text(f"{KEY}\n")
    (own / "signing_key").chmod(0o644)
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    assert not Bundle.open(folder).signed().trusted
    assert "could not be signed" in caplog.messages[0]
    command("trust", "sign", folder, check=2)


@pytest.mark.parametrize("broken", ["no home", "read-only", "a file in the way"])
def test_without_a_data_folder_nothing_is_trusted_and_nothing_fails(
    broken: str, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Where no key can be kept, one line says so, and the bundle is not trusted."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if broken == "no home":
        monkeypatch.setenv("XDG_DATA_HOME", "relative")
        monkeypatch.setenv("HOME", "")
    elif broken == "read-only":
        monkeypatch.setenv("XDG_DATA_HOME", "/proc/none")
    else:
        (tmp_path / "data").write_text("")
    trust.sign(folder, Bundle.open(folder).manifest.digest)
    assert len(caplog.messages) == 1
    assert not Bundle.open(folder).trusted
    assert command("trust", "key", check=5).stderr


def test_two_first_exports_make_one_key(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process has made the key meanwhile, that one is used, and no file of the race stays."""
    first = keys.make_private_key()
    monkeypatch.setattr(keys, "private_key", iter([None, first]).__next__)
    assert keys.make_private_key() == first
    assert [path.name for path in own.iterdir()] == ["signing_key"]


def test_firmware_is_generated_and_not_taken_from_a_bundle(bundle_folder: Path, tmp_path: Path) -> None:
    """What is built for a board comes from specification and weights, whatever C the bundle holds."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        (folder / "model.c").write_text("#error of a stranger")

    changed = Bundle.open(rehashed(bundle_folder, tmp_path / "b", change))
    assert model_files(changed) == model_files(Bundle.open(bundle_folder))
