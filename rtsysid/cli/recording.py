"""Commands for recordings of live sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json
from rtsysid.cli.outputs import output
from rtsysid.errors import TraceError
from rtsysid.storage.products import RECORDING

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.bag import Bag


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


def recording_facts(path: Path) -> dict[str, Any]:
    """Describe an MCAP file as plain values: topics with their counts of messages, and groups of texts."""
    from rtsysid.recordings.bag import Bag

    bag = Bag(path)
    return {"topics": {each.name: each.messages for each in bag.topics.values()}, **bag.metadata()}


def show_bag(path: Path, json_: bool) -> bool:
    """Print topics and fields of a foreign ROS 2 bag, and how to name them; return False for a recording of ours.

    Raises TraceError where no topic has a number.
    """
    from rtsysid.recordings.formats.mcap import Reader, SampleTable

    log = Reader(path)
    if isinstance(log, SampleTable):
        return False
    topics = {each.name: [field.name for field in each.fields] for each in log.topics}
    if json_:
        console.report({"topics": {each.name: each.messages for each in log.topics}, "columns": topics}, json_)
        return True
    rows = [
        [each.name, each.type_name, console.text(each.messages), _field_list(topics[each.name])] for each in log.topics
    ]
    console.block(console.table(["topic", "type", "messages", "fields"], rows))
    if not any(topics.values()):
        raise TraceError(f"recording {path.name}", "no topic has a number", "name a bag with messages of numbers")
    topic, fields = next((topic, fields) for topic, fields in topics.items() if fields)
    console.echo(f'a channel is topic.field, as in inputs = ["{topic}.{fields[0]}"]; --json lists all of them')
    return True


def _field_list(fields: list[str]) -> str:
    shown = ", ".join(fields[:4])
    return f"{shown} and {len(fields) - 4} more" if len(fields) > 4 else shown or "-"


def require_answered(reproduced: dict[str, Any], path: Path) -> None:
    """Raise TraceError where a comparison with the live session compared no answer."""
    if not reproduced["finite"]:
        found = f"none of {reproduced['compared']} predictions is finite on both sides"
        raise TraceError(f"recording {path.name}", found, "record a session that outlasts the warm-up of the model")


def _taps(bag: Bag) -> Iterator[tuple[str, int, bytes]]:
    """Yield direction, host time in ns and data of the bytes on the wire. Raises TraceError where they are none."""
    from firmware_bridge.session_file import DIRECTIONS  # noqa: TID251
    from rtsysid.live.reproduce import read_topic

    for message, each in read_topic(bag, "/wire", {"direction": int, "data": bytes}):
        number, data = each["direction"], each["data"]
        if not 0 <= number < len(DIRECTIONS) or (DIRECTIONS[number] == "open" and not data):
            found = f"/wire with direction {number} and {len(data)} bytes"
            raise TraceError(f"recording {bag.path.name}", found, "name a file that rtsysid run wrote")
        yield DIRECTIONS[number], message.log_ns, data


def reproduced(bundle: Bundle, path: Path, backend: Any) -> dict[str, Any] | None:
    """Compute a recorded live session again, from its bytes to its predictions, and compare; None for other files.

    Raises TraceError where the recording cannot be read, or is not what a live session writes.
    """
    import msgspec

    from firmware_bridge.conversation import Conversation  # noqa: TID251
    from firmware_bridge.peer import Requirements  # noqa: TID251 - the decoder that took the bytes live
    from firmware_bridge.playback import arrivals  # noqa: TID251
    from rtsysid.live.loop import SessionFeeder
    from rtsysid.live.reproduce import Settings, reproduce
    from rtsysid.live.session import Session
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.bag import Bag

    bag = Bag(path)
    settings = Settings.of(bag)
    if settings is None:
        return None
    chosen: Any = settings.backend if backend == "auto" and settings.backend != "c" else backend
    session = Session(Predictor.load(bundle, chosen), settings)
    taps = _taps(bag)
    found = reproduce(bag, arrivals(Conversation(Requirements(bundle.spec)), taps), SessionFeeder(session))
    other = {"recorded_with_bundle": settings.bundle} if settings.bundle != bundle.id else {}
    counts = {name: getattr(found, name) for name in ("decoded", "dropped_live", "missing", "changed")}
    return {**counts, **other, **msgspec.to_builtins(found.predictions), "equal": found.equal}
