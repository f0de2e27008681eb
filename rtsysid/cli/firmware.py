"""The command that writes what a firmware needs of a bundle: the model and the table of its channels as C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json
from rtsysid.cli.outputs import output
from rtsysid.storage.products import FIRMWARE


@click.command("firmware")
@click.argument("bundle", type=PATH)
@output("-o", "--out", product=FIRMWARE, required=True, help="Folder for model.c, model.h and channels.h.")
@click.option("--int8", is_flag=True, help="Store the weights as int8.")
@click.option("--port", metavar="NAME|FOLDER", help="Build an image for this port, too: app.elf.")
@click.option(
    "--kind", type=click.Choice(["app", "sensors"]), default="app", show_default=True,
    help="Image: for the rig (hil), or the example that samples and predicts by itself.",
)  # fmt: skip
@as_json
def firmware(bundle: Path, out: Path, overwrite: bool, int8: bool, port: str | None, kind: str, json_: bool) -> None:
    """Write the C files that a firmware includes for a bundle: the model, and the table of its channels.

    Example: rtsysid firmware bundle -o firmware --port stm32f405
    """
    from export.firmware import build_image, model_files, model_hash
    from rtsysid.model.bundle import Bundle
    from rtsysid.storage import replacing
    from rtsysid.storage.products import write_mark

    opened = Bundle.open(bundle)
    opened.require_live()
    files, called = model_files(opened, int8=int8), model_hash(opened)
    facts: dict[str, Any] = {"hash": f"0x{called:08x}", "model_id": opened.model_id}
    with replacing(out, FIRMWARE, inputs=(bundle,), overwrite=overwrite) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        if port is not None:
            which: Any = kind
            image = build_image(which, files, folder / f"{kind}.elf", port=port, model_hash=called)
            facts |= {"image": f"{kind}.elf", "flash": image.flash, "ram": image.ram}
        write_mark(folder, FIRMWARE, files=sorted(path.name for path in folder.iterdir()))
    console.report({"to": str(out), "files": [*files], **facts}, json_)
