"""Verbs for recordings of live sessions."""

from __future__ import annotations

from pathlib import Path

import click

from rtsysid import console

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=PATH)
@click.option("-o", "--out", type=PATH, help="The rescued file.  [default: FILE with .recovered before its suffix]")
@console.as_json
def recover(file: Path, out: Path | None, json_: bool) -> None:
    """Rescue what is whole in a recording that was cut off or damaged; the file itself is only read.

    Example: rtsysid recover flight.mcap
    """
    import msgspec

    from rtsysid.recover import recover as recover_file

    out = out or file.with_name(f"{file.stem}.recovered{file.suffix}")
    rescue = recover_file(file, out)
    found = msgspec.to_builtins(rescue) if json_ else {"messages": rescue.messages, "seconds": rescue.seconds}
    console.report({"to": str(out), **found, "lost": rescue.lost}, json_)
