"""The commands that begin with a robot's logs: draft a configuration, and write aligned recordings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json
from rtsysid.cli.outputs import output
from rtsysid.errors import TraceError
from rtsysid.storage.products import CONFIGURATION, RECORDING

if TYPE_CHECKING:
    from rtsysid.config import Config
    from rtsysid.recordings.draft.choose import Draft
    from rtsysid.recordings.trace import Trace


@click.command()
@click.argument("logs", metavar="LOG...", type=PATH, nargs=-1, required=True)
@output("-o", "--out", product=CONFIGURATION, required=True, help="Configuration to write, a .toml file.")
@click.option("--yes", is_flag=True, help="Ask nothing; what is guessed is marked in the file.")
@click.option("--time", "time_", metavar="COLUMN", help="Time column of a table.  [default: guessed]")
@as_json
def init(logs: tuple[Path, ...], out: Path, overwrite: bool, yes: bool, time_: str | None, json_: bool) -> None:
    """Write a configuration for logs: rate, sources, inputs and outputs. It trains as it is.

    Without a terminal nothing is asked, as with --yes.

    Example: rtsysid init flight.ulg -o robot.toml
    """
    from rtsysid.config import parse_config
    from rtsysid.recordings.draft.log import draft_for
    from rtsysid.recordings.draft.text import draft_text
    from rtsysid.storage import rewriting

    draft = draft_for(logs, time_)
    guessed = yes or not sys.stdin.isatty()
    draft = draft if guessed else _asked(draft)
    text = draft_text(draft, [str(log) for log in logs], guessed, str(out))
    text += _advised(logs, parse_config(text, str(out)))
    with rewriting(out) as path:
        path.write_text(text, "utf-8")
    lists = {"inputs": draft.of_role("input"), "outputs": draft.of_role("output"), "unsure": list(draft.unsure)}
    shown = lists if json_ else {name: ", ".join(names) for name, names in lists.items() if name != "unsure"}
    console.report({"configuration": str(out), "rate_hz": draft.rate_hz, **shown}, json_)
    for each in draft.unsure:
        console.echo(f"unsure: {each}", err=True)


def _advised(logs: Sequence[Path], config: Config) -> str:
    """Advise delays and taps from the first log, as commented lines."""
    from rtsysid.checking.advice import linear_advice
    from rtsysid.recordings.names import recording_files
    from rtsysid.recordings.reading import read_recordings

    first = recording_files(logs[0])[:1]
    try:
        return linear_advice(read_recordings(first, config.data), config)
    except TraceError:
        return ""  # the files of a run may be incomplete; rtsysid check says so


def _asked(draft: Draft) -> Draft:
    """Ask which channels are inputs and outputs; Enter keeps what was guessed."""
    roles: dict[str, Any] = {}
    console.rest()
    console.echo(f"channels: {', '.join(draft.keys)}", err=True)
    for role in ("input", "output"):
        kept = [source.key for source in draft.sources if source.role == role]
        answer = click.prompt(f"{role}s", default=", ".join(kept), err=True)
        for name in filter(None, (part.strip() for part in answer.split(","))):
            if name not in draft.keys:
                raise TraceError("init", f"no channel is named {name!r}", f"choose among {', '.join(draft.keys)}")
            roles[name] = role
    return draft.with_roles(roles)


def _write_mcap(trace: Trace, out: Path, overwrite: bool) -> None:
    """Write rows as the samples of a live session, whose device starts with each episode. Times are whole us."""
    from firmware_bridge.mcap_file import McapFile  # noqa: TID251
    from firmware_bridge.session_file import SessionFile  # noqa: TID251
    from rtsysid.spec import Arrival, Sample

    begin = min(0.0, float(trace.episodes[0].t[0]))  # device time does not go below 0
    file = McapFile(out, {"rtsysid.recording": {"format": "1", "converted": "rows"}}, "rtsysid", 0, overwrite=overwrite)
    session = SessionFile(file, trace.channels, ())
    for boot, episode in enumerate(trace.episodes):
        for seq, (t, values) in enumerate(zip((episode.t - begin).tolist(), episode.values, strict=True)):
            us = round(t * 1e6)
            session.sample(Arrival(Sample(us * 1e-6, values), us, us * 1e-6, us * 1e-6, seq & 0xFFFF, boot))
        file.flush(us * 1000)
    file.close()


@click.command("convert")
@click.argument("log", type=PATH)
@click.argument("config", metavar="[CONFIG]", required=False, type=PATH)
@output("-o", "--out", product=RECORDING, required=True, help="Recording to write: .parquet, .mcap, .csv or .npz.")
@as_json
def convert_command(log: Path, config: Path | None, out: Path, overwrite: bool, json_: bool) -> None:
    """Write the aligned recording of a log, as a configuration or a bundle reads it.

    Without CONFIG the channels are those that `rtsysid init` would choose.

    Example: rtsysid convert flight.ulg robot.toml -o flight.parquet
    """
    from rtsysid.config import read_config
    from rtsysid.recordings.draft.log import draft_for
    from rtsysid.recordings.draft.text import draft_text
    from rtsysid.recordings.reading import read_resolved

    if config is None:
        from rtsysid.config import parse_config

        data = parse_config(draft_text(draft_for([log], None), [str(log)], True)).data
    elif (config / "manifest.json").exists():
        from rtsysid.model.bundle import Bundle

        data = Bundle.open(config).data()
    else:
        data = read_config(config).data
    _, trace = read_resolved([log], data)
    console.notes(trace.notes)
    if out.suffix.lower() == ".mcap":
        _write_mcap(trace, out, overwrite)
    else:
        trace.write(out, overwrite=overwrite)
    console.report({"to": str(out), "rows": len(trace), "episodes": len(trace.episodes)}, json_)
