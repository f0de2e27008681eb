"""Updates of a running session, from the command line: the options of `rtsysid run`, and `rtsysid rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json


@click.command("rollback")
@click.argument("link", type=PATH)
@click.option("--to", type=PATH, metavar="BUNDLE", help="Point LINK at this bundle instead.")
@as_json
def rollback(link: Path, to: Path | None, json_: bool) -> None:
    """Point LINK at the bundle before, which LINK.before names, in one step; twice leads back.

    A session that watches LINK takes it like any update. The bundle is opened and checked first.

    Example: rtsysid rollback /opt/robot/live
    """
    from rtsysid.model.linked import point, previous, roll_back

    bundle = roll_back(link) if to is None else point(link, to)
    before = previous(link)
    console.report({"link": str(link), "id": bundle.id, "model_id": bundle.model_id, **bundle.manifest.about.given(),
                    "before": None if before is None else str(before)}, json_)  # fmt: skip
