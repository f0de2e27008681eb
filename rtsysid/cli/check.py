"""The command that checks recordings before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, time_column
from rtsysid.cli.outputs import output
from rtsysid.errors import ConfigError
from rtsysid.storage.products import CHECK_PAGE

if TYPE_CHECKING:
    from rtsysid.checking.check import Checked
    from rtsysid.config import Config
    from rtsysid.recordings.trace import Trace

SHOWN = 30  # findings on one page of a terminal


@click.command("check")
@click.argument("paths", metavar="LOG... [CONFIG]", nargs=-1, required=True, type=PATH)
@output("--html", product=CHECK_PAGE, help="HTML page to write.")
@time_column
@as_json
def check_command(paths: tuple[Path, ...], html: Path | None, overwrite: bool, time_: str | None, json_: bool) -> None:
    """Check recordings before anything is trained: faults of the log, conventions, inputs, delays, amounts.

    CONFIG is the TOML file of a training. Without it, only the recordings are checked. Ends with exit code 1 where a
    finding is grave.

    Example: rtsysid check logs robot.toml --html check.html
    """
    from rtsysid.checking.check import check_recordings
    from rtsysid.checking.page import check_page
    from rtsysid.recordings.reading import read_recordings
    from rtsysid.storage import replacing

    logs, config = _parted(paths)
    trace = None if config is None else read_recordings(logs, config.data)
    checked = check_recordings(logs, config, trace, time_)
    if html is not None:
        with replacing(html, CHECK_PAGE, inputs=paths, overwrite=overwrite) as path:
            path.write_text(check_page(", ".join(each.name for each in logs), checked), encoding="utf-8")
    if json_:
        console.report(checked.to_builtins(), True)
    else:
        console.echo(*lines_of(checked))
    if checked.grave:
        raise click.exceptions.Exit(1)


def before_training(paths: Sequence[Path], config: Config, trace: Trace, force: bool) -> list[str]:
    """Check the recordings of a training, print its warnings in short, and return them.

    Raises TraceError where a finding is grave and `force` is not given.
    """
    from rtsysid.checking.check import check_for_training

    checked = check_for_training(paths, config, trace, force, "--force")
    console.echo(*checked.in_short, err=True)
    return [each.title for each in checked.findings]


def lines_of(checked: Checked) -> list[str]:
    """Describe a check on one page of a terminal."""
    grave, every = len(checked.grave), len(checked.findings)
    counts = f"{grave} grave, {every - grave} other findings" if every else "nothing found"
    lines = [f"{checked.recordings} recordings, {checked.rows} rows: {counts}"]
    for each in checked.findings[:SHOWN]:
        where = f": {each.where}" if each.where else ""
        lines.append(f"{'GRAVE  ' if each.grave else '       '}{each.fault}{where}")
        lines += [f"         {each.evidence}", f"         -> {each.remedy}"]
    if every > SHOWN:
        lines.append(f"       and {every - SHOWN} more: --html PAGE shows all")
    for late in checked.delays:
        interval = f"{late.low} to {late.high} ticks" if late.found else "not known"
        lines.append(f"delay of {late.input}: {late.ticks} ticks (95 %: {interval})")
    return [*lines, *checked.conventions, *checked.notes]


def _parted(paths: Sequence[Path]) -> tuple[list[Path], Config | None]:
    """Tell recordings from the configuration, which is the file that ends with .toml."""
    from rtsysid.config import read_config

    configs = [path for path in paths if path.suffix == ".toml"]
    logs = [path for path in paths if path.suffix != ".toml"]
    if not logs or len(configs) > 1:
        found = f"{len(logs)} recordings and {len(configs)} configurations"
        raise ConfigError(
            "rtsysid check", found, "name recordings and one .toml file or none: rtsysid check LOGS CONFIG"
        )
    return logs, read_config(configs[0]) if configs else None
