"""Only what rtsysid wrote is known as ours, whatever a file or folder holds."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outputs import put_index

from rtsysid.storage import products
from rtsysid.storage.products import BUNDLE, INDEX, MARK, PREDICTIONS, SIMULATION, Product

ALL = [each for each in vars(products).values() if isinstance(each, Product)]
FILES = [each for each in ALL if each.form == "file"]
MARKS = {"bundle": "manifest.json", "index": "index.json", "run": "run.json"}
FOLDERS = [each for each in ALL if each.form in ("folder", "workspace")]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "files", "spec", "digest", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("product", FILES, ids=lambda each: each.name)
@settings(max_examples=25)
@given(content=st.binary(max_size=200), number=st.integers(0, 2))
def test_no_bytes_are_taken_for_ours(product: Product, content: bytes, number: int) -> None:
    """Random files with each suffix are foreign, and reading them raises nothing."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{product.suffixes[number % len(product.suffixes)] if product.suffixes else ''}"
        path.write_bytes(content)
        assert product.foreign(path)


@pytest.mark.parametrize("product", FOLDERS, ids=lambda each: f"{each.name} {each.form}")
@settings(max_examples=25)
@given(mark=PLAIN)
def test_no_mark_of_another_is_taken_for_ours(product: Product, mark: Any) -> None:
    """A folder with any JSON as its mark is foreign, and reading it raises nothing."""
    with TemporaryDirectory() as folder:
        (Path(folder) / MARKS.get(product.name, MARK)).write_text(json.dumps(mark))
        assert product.foreign(Path(folder))


@pytest.mark.parametrize("product", FOLDERS, ids=lambda each: f"{each.name} {each.form}")
@pytest.mark.parametrize("mark", ["deep", "pipe", "link", "folder", "latin-1"])
def test_a_hostile_mark_is_foreign(product: Product, mark: str, tmp_path: Path) -> None:
    """A mark that is nested a million times, or no plain file, is neither read to the end nor waited for."""
    path = tmp_path / MARKS.get(product.name, MARK)
    if mark == "deep":
        path.write_text("[" * 1_000_000)
    elif mark == "pipe":
        os.mkfifo(path)
    elif mark == "link":
        path.symlink_to("/dev/zero")
    elif mark == "folder":
        path.mkdir()
    else:
        path.write_bytes(b'{"kind": "\xe9"}')
    assert product.foreign(tmp_path)


RECORDINGS = {
    "a recording with a column status": "t,y [m],status\n0.0,1.5,ok\n0.01,1.5,ok\n",
    "statuses of another program": "t,y [m],status\n0.0,nan,armed\n",
    "a sensor that begins with nan": "t,y [m],status\n0.0,nan,boot\n0.01,1.0,ok\n",
    "no rows": "t,y [m],status\n",
    "no outputs": "t,status\n0.0,ok\n",
    "another column after ours": "t,y [m],status,note\n0.0,nan,warm-up,mine\n",
}


@pytest.mark.parametrize("text", RECORDINGS.values(), ids=RECORDINGS)
def test_a_recording_is_not_taken_for_predictions(text: str, tmp_path: Path) -> None:
    """CSV files of a robot that look like predictions are foreign."""
    (tmp_path / "a.csv").write_text(text)
    assert PREDICTIONS.foreign(tmp_path / "a.csv")
    (tmp_path / "ours.csv").write_text("t,y [m],status\n0.0,nan,warm-up\n0.01,1.0,ok\n")
    assert PREDICTIONS.foreign(tmp_path / "ours.csv") == ""


def test_an_archive_with_a_password_is_foreign(tmp_path: Path) -> None:
    """An archive that only its owner can open is not ours."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("generator.npy", b"rtsysid predictions")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for at in (6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1  # the flag of an encrypted member
    (tmp_path / "a.npz").write_bytes(content)
    assert PREDICTIONS.foreign(tmp_path / "a.npz")


def test_other_things_under_known_names_are_foreign(tmp_path: Path) -> None:
    """A link or a folder under a name of ours belongs to the user; what a killed process left belongs to us."""
    put_index(tmp_path / "index", "moments")
    assert INDEX.foreign(tmp_path / "index") == ""
    left = tmp_path / "index" / ".writing-codes.u8"
    left.mkdir()
    assert INDEX.foreign(tmp_path / "index") == ""
    (left / "notes.md").write_text("mine")
    assert ".writing-codes.u8" in INDEX.foreign(tmp_path / "index")
    (left / "notes.md").unlink()
    (tmp_path / "index" / "codes.u8").rename(tmp_path / "moved")
    (tmp_path / "index" / "codes.u8").symlink_to(tmp_path / "moved")
    assert "codes.u8" in INDEX.foreign(tmp_path / "index")
    assert BUNDLE.foreign(tmp_path / "index")
    assert SIMULATION.foreign(tmp_path / "index")
