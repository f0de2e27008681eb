"""A bundle says what it is: a model id that no target changes, a name, a version, a note and a card of plain text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile import rehashed
from support.shell import command

from export.bundle import export
from export.firmware import model_hash
from export.retarget import retarget
from rtsysid.errors import BundleError, ConfigError
from rtsysid.model.about import MOST_CARD_BYTES, AboutModel, about_of
from rtsysid.model.bundle import Bundle
from rtsysid.model.npz import write_npz


@pytest.fixture(scope="module")
def named(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle without C, with a name, a version, a note and a card; not to be changed."""
    about = AboutModel("arm", "1.2", "of the left arm")
    return export(run_folder, tmp_path_factory.mktemp("named") / "b", ("onnx",), about=about, card="Not for flight.")[0]


def test_another_target_is_the_same_model(named: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    """Targets, names and calibration change the id of a bundle, not that of its model, nor the number of a board."""
    plain = Bundle.open(bundle_folder)
    other = retarget(named, tmp_path / "other", ("onnx",))[0]
    recalibrated = plain.rewritten(tmp_path / "calibrated", {"calibration.json": b"{}"})
    assert plain.model_id == named.model_id == other.model_id == recalibrated.model_id
    assert len({plain.id, named.id, recalibrated.id}) == 3
    assert model_hash(plain) == model_hash(named) == int(named.model_id[:8], 16)


def test_other_weights_are_another_model(bundle_folder: Path, tmp_path: Path) -> None:
    """One changed weight changes the id of the model."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        arrays = dict(np.load(folder / "weights.npz"))
        arrays["head.bias"] = arrays["head.bias"] + np.float32(1e-6)
        (folder / "weights.npz").write_bytes(write_npz(arrays))

    changed = Bundle.open(rehashed(bundle_folder, tmp_path / "b", change))
    assert changed.model_id != Bundle.open(bundle_folder).model_id


def test_a_bundle_carries_what_its_maker_says(named: Bundle, tmp_path: Path) -> None:
    """Name, version, note and card come back, also after another target was made of the bundle."""
    other = retarget(named, tmp_path / "other", ("onnx",))[0]
    for bundle in (named, other):
        assert bundle.manifest.about == AboutModel("arm", "1.2", "of the left arm")
        assert bundle.card.startswith("# arm 1.2\n\nof the left arm\n\nNot for flight.\n")
        assert all(channel.name in bundle.card for channel in bundle.spec.channels)


@pytest.mark.parametrize(
    "texts",
    [("n" * 61, "", ""), ("", "v" * 31, ""), ("", "", "n" * 1001), ("a\nb", "", ""), ("", "\x1b[2J", "")],
    ids=range(5),
)
def test_names_are_short_printable_lines(texts: tuple[str, str, str]) -> None:
    """A text that is too long, or would move a cursor, is refused when the bundle is made."""
    with pytest.raises(ConfigError):
        about_of(*texts)


@pytest.mark.parametrize(
    "content", [b"\xff", b"a\x1b[2J", b"x" * (MOST_CARD_BYTES + 1), "\u202e".encode()], ids=range(4)
)
def test_a_card_is_plain_text(content: bytes, bundle_folder: Path, tmp_path: Path) -> None:
    """A card from outside that is no short plain text is refused in one line, by the export and by the reader."""
    folder = rehashed(
        bundle_folder, tmp_path / "b", lambda folder, _: (folder / "card.md").write_bytes(content) and None
    )
    with pytest.raises(BundleError, match=r"card\.md"):
        _ = Bundle.open(folder).card


def test_the_command_line_names_a_bundle(run_folder: Path, tmp_path: Path) -> None:
    """`export` takes name, version, note and card; `info` shows the name, the model id and the maker."""
    (tmp_path / "card.txt").write_text("Trained in the lab.\n")
    out = tmp_path / "b"
    names = ("--name", "arm", "--model-version", "2", "--note", "new", "--card", tmp_path / "card.txt")
    command("export", run_folder, "-o", out, "--target", "onnx", *names)
    found = json.loads(command("info", out, "--json").stdout)
    assert (found["name"], found["version"], found["note"]) == ("arm", "2", "new")
    assert found["maker"] == "this user, trusted"
    assert found["model_id"] == Bundle.open(out).model_id
    assert "Trained in the lab." in Bundle.open(out).card
    command("export", run_folder, "-o", tmp_path / "c", "--name", "a\nb", check=1)
    command("export", run_folder, "-o", tmp_path / "c", "--card", tmp_path / "none", check=1)
    assert not (tmp_path / "c").exists()


def test_info_compares_two_bundles(named: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    """What differs is listed with both values; the same model with another name is said to be the same model."""
    found = json.loads(command("info", named.folder, bundle_folder, "--json").stdout)
    assert found["same_model_id"]
    assert found["same_schema_hash"]
    assert found["differ"]["name"] == ["arm", None]
    assert "id" in found["differ"]
    assert "model_id" not in found["differ"]
    assert "files" not in found["differ"]
    assert "of the left arm" in command("info", named.folder, bundle_folder).stdout
    assert "nowhere" in command("info", named.folder, tmp_path / "nowhere", check=2).stderr
    copy = shutil.copytree(bundle_folder, tmp_path / "copy")
    assert "nothing differs" in command("info", copy, bundle_folder).stdout


def test_a_model_is_expected_by_its_id(named: Bundle) -> None:
    """Six digits or more of the model id are enough; others, and none, are refused."""
    named.require_model(named.model_id)
    named.require_model(named.model_id[:6].upper())
    for other in ("", named.model_id[:5], "0" * 12, named.id):
        with pytest.raises(BundleError, match="was expected"):
            named.require_model(other)
