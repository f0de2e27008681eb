"""Commands for recordings of live sessions."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json
from rtsysid.cli.outputs import output
from rtsysid.errors import TraceError
from rtsysid.storage.products import RECORDING

_LISTED = 20  # columns that are left out, in text


@click.command()
@click.argument("file", type=PATH)
@output("-o", "--out", product=RECORDING, help="The rescued file.  [default: FILE with .recovered before its suffix]")
@as_json
def recover(file: Path, out: Path | None, overwrite: bool, json_: bool) -> None:
    """Copy the intact part of a recording that was cut off or damaged; the file itself is only read.

    Example: rtsysid recover flight.mcap
    """
    import msgspec

    from rtsysid.recordings.recover import recover as recover_file

    out = out or file.parent / f"{file.stem}.recovered{file.suffix}"
    rescue = recover_file(file, out, overwrite=overwrite)
    found = msgspec.to_builtins(rescue) if json_ else {"messages": rescue.messages, "seconds": rescue.seconds}
    console.report({"to": str(out), **found, "lost": rescue.lost}, json_)


def show(path: Path, time: str | None, patterns: Sequence[str], json_: bool) -> None:
    """Print what is in a recording: a table, or the topics of a log that match a pattern."""
    from rtsysid.recordings.survey import survey

    found = survey(path, time)
    if "topics" in found:
        chosen = [each for each in found["topics"] if any(fnmatchcase(each["name"], p) for p in patterns or ("*",))]
        return _show_topics({**found, "topics": chosen}, json_)
    found |= recording_facts(path) if path.suffix.lower() == ".mcap" else {}
    if json_:
        return console.report(found, True)
    _show_table(found)


def summarised(path: Path, time: str | None) -> dict[str, Any]:
    """Describe a recording in one line: rows or messages, times, and what is missing or wrong."""
    from rtsysid.recordings.survey import survey

    try:
        found = survey(path, time)
    except TraceError as error:
        keys = ("topics", "rows", "time", "duration_s", "rate_hz", "gaps")
        return {"recording": str(path), **dict.fromkeys(keys), "missing": str(error)}
    topics = found.get("topics", [])
    rows = sum(each["messages"] for each in topics) if topics else found.get("rows", 0)
    return {
        "recording": str(path),
        "topics": len(topics) or None,
        "rows": rows,
        "time": _time_text(found.get("time")),
        **{key: found.get(key) for key in ("duration_s", "rate_hz", "gaps")},
        "missing": found["missing"],
    }


def _time_text(time: dict[str, Any] | None) -> str | None:
    return f"{time['column']} [{time['unit']}]" if time else None


def _show_table(found: dict[str, Any]) -> None:
    """Print the facts about a table, then its columns."""
    first = {key: found[key] for key in ("rows", "duration_s", "rate_hz")}
    counts = {key: found.get(key) for key in ("duplicates", "backward") if found.get(key)}
    times = {"jitter %": found["jitter_percent"], "gaps": found["gaps"], **counts, "time": _time_text(found["time"])}
    own = {key: value for key, value in found.items() if isinstance(value, dict) and key != "time"}
    console.report({**first, **times, **own}, False)
    console.echo(*_remarks(found))
    keys = ["name", "unit", "min", "max", "mean", "std", "nan"]
    console.block(console.table(keys, [[console.text(row[key]) for key in keys] for row in found["channels"]]))


def _remarks(found: dict[str, Any]) -> list[str]:
    """Say what is missing, guessed and left out, a line for each."""
    missing = [f"missing: {found['missing']}"] if found["missing"] else []
    left = [f"left out: {each['name']} {each['reason']}" for each in found.get("left_out", ())]
    more = [f"left out: {len(left) - _LISTED} more columns; --json lists all of them"] if len(left) > _LISTED else []
    return [*missing, *(f"note: {note}" for note in found.get("notes", ())), *left[:_LISTED], *more]


def _show_topics(found: dict[str, Any], json_: bool) -> None:
    """Print the topics of a log, then their fields, and how to name one."""
    if json_:
        return console.report(found, True)
    topics = found["topics"]
    console.report({"topics": len(topics), "duration_s": found["duration_s"]}, False)
    console.echo(*_remarks(found))
    keys = ["messages", "rate_hz", "jitter_percent", "gaps", "duration_s"]
    head = ["topic", "type", "messages", "rate hz", "jitter %", "gaps", "duration s", "time stamps", "note"]
    rows = [
        [
            each["name"],
            each["type"],
            *(console.text(each[key]) for key in keys),
            _names_or_dash(each["stamps"]),
            each["note"] or "-",
        ]
        for each in topics
    ]
    console.block(console.table(head, rows))
    fields = [
        [
            f"{topic['name']}.{field['name']}".lstrip("."),  # arrays outside all groups are a topic without a name
            field["unit"],
            *(console.text(field[key]) for key in ("min", "max", "nan")),
        ]
        for topic in topics
        for field in topic["fields"]
    ]
    if fields:
        console.block(console.table(["field", "unit", "min", "max", "nan"], fields))
        console.echo(f'a channel is topic.field, as in inputs = ["{fields[0][0]}"]')


def _names_or_dash(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"


def recording_facts(path: Path) -> dict[str, Any]:
    """Describe an MCAP file as plain values: topics with their counts of messages, and groups of texts."""
    from rtsysid.recordings.bag import Bag

    bag = Bag(path)
    return {"topics": {each.name: each.messages for each in bag.topics.values()}, **bag.metadata()}
