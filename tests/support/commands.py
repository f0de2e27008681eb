"""Every command of the command line, as the code knows them, so that a test forgets none."""

from __future__ import annotations

from collections.abc import Iterator

import click

from rtsysid.cli import cli


def every_command(group: click.Group = cli, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command with the words that call it, without the name of the program: ``data list``."""
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{before}{word} ")
        else:
            yield f"{before}{word}", command
