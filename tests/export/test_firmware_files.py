"""`rtsysid firmware` writes what a firmware includes: the model, and the table of its channels."""

from __future__ import annotations

import json
from pathlib import Path

from support.shell import command

from export.firmware import model_files, model_hash
from rtsysid.model.bundle import Bundle


def test_a_firmware_gets_the_files_of_a_bundle(bundle_folder: Path, tmp_path: Path) -> None:
    """The files are those of the images, the number is what a board announces, and a second call replaces the folder;
    a file of the user in it is refused."""
    out, bundle = tmp_path / "c", Bundle.open(bundle_folder)
    for more in ([], ["--int8"]):
        found = json.loads(command("firmware", bundle_folder, "-o", out, "--json", *more).stdout)
        assert int(found["hash"], 16) == model_hash(bundle)
        expected = model_files(bundle, int8=bool(more))
        assert {name: (out / name).read_text() for name in found["files"]} == expected
        assert '#include "model.h"' in expected["model.c"]
    (out / "main.c").write_text("mine")
    command("firmware", bundle_folder, "-o", out, check=5)
    assert (out / "main.c").read_text() == "mine"
