"""Write a draft as a commented configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from rtsysid.guards.text import visible
from rtsysid.recordings.draft.choose import Draft, DraftSource
from rtsysid.spec import split_unit

HEAD = """\
# Written by rtsysid init from {logs}. It trains as it is:
#   rtsysid check {shown} {config}
#   rtsysid train {config} --data {shown} -o run
"""


def draft_text(draft: Draft, logs: Sequence[str], guessed: bool, config: str = "CONFIG") -> str:
    """Return the configuration of a draft as TOML. `guessed`: nobody was asked; `config`: where it will be written."""
    shown = shlex.quote(logs[0]) if len(logs) == 1 else "LOGS"
    named = ", ".join(logs[:3]) + (" .." if len(logs) > 3 else "")
    words = {"logs": named, "shown": shown, "config": shlex.quote(config)}
    parts = [HEAD.format(**{name: visible(word) for name, word in words.items()})]
    if guessed:
        parts.append("# Inputs and outputs were guessed: look at the lines marked (guessed).\n")
    parts += [f"# Unsure: {each}.\n" for each in draft.unsure]
    return "".join(
        [*parts, "\n", *_data_lines(draft, guessed), *_group_lines(draft), *_source_lines(draft), *_body_lines(draft)]
    )


def _data_lines(draft: Draft, guessed: bool) -> Iterator[str]:
    mark = "  (guessed)" if guessed else ""
    yield f"[data]\nrate_hz = {draft.rate_hz:g}  # of the model\n"
    if draft.time != "t":
        yield f"time = {_toml_string(draft.time)}\n"
    yield f"inputs = {_toml_list(draft.of_role('input'))}  # actuators and commands: known in advance{mark}\n"
    yield f"outputs = {_toml_list(draft.of_role('output'))}  # sensors: to be predicted{mark}\n"
    angles = [name for source in draft.sources if source.known for name in source.known.angles]
    angles += [source.key for source in draft.sources if source.derive == "yaw"]
    if angles:
        yield f"angles = {_toml_list(angles)}  # come back after a turn\n"
    yield 'nan = "split"  # recordings are cut where a value is missing\n'
    yield '# validation = ["*_run4"]  # names of recordings that judge; without it the last fifth does\n'


def _group_lines(draft: Draft) -> Iterator[str]:
    groups = [source for source in draft.sources if len(source.channels) > 1 and source.role == "output"]
    grouped = [*groups, *(each for each in draft.sources if each.grouped and each.role == "input")]
    if grouped:
        yield "\n[data.groups]  # judged together\n"
        yield from (f"{_bare_or_quoted(each.key)} = {_toml_list(_channel_names(each))}\n" for each in grouped)


def _source_lines(draft: Draft) -> Iterator[str]:
    if draft.table:
        return
    yield "\n[data.sources]  # where each channel, or the channels of a group, come from\n"
    for source in draft.sources:
        if source.grouped:
            yield _source_line(source.key, source, f"fields = {_toml_list(source.fields)}")
            continue
        for name, field in zip(_channel_names(source), source.fields, strict=True):
            yield _source_line(name, source, f"field = {_toml_string(field)}")


def _source_line(key: str, source: DraftSource, fields: str) -> str:
    topic = f"topic = {_toml_string(source.topic)}"
    return f"{_bare_or_quoted(key)} = {{ {topic}, {fields}{_more(source)} }}  # {source.rate_hz:.3g} Hz\n"


def _more(source: DraftSource) -> str:
    known = source.known
    if known is None:
        return ""
    said = {
        "derive": source.derive,
        "unit": source.unit,
        "order": known.order if known.order != "xyzw" else "",
        "frames": known.frames,
    }
    texts = [f", {name} = {_toml_string(value)}" for name, value in said.items() if value]
    return "".join(texts) + (f", poles = {known.poles}" if "erpm" in source.unit else "")


def _body_lines(draft: Draft) -> Iterator[str]:
    """Offer the coordinates of a rigid body where attitude and rate are known."""
    body = {source.key: _channel_names(source) for source in draft.sources if source.role == "output"}
    rotation = next((each.key for each in draft.sources if each.is_rotation and each.role == "output"), None)
    if rotation is None or len(body.get("rate", ())) != 3:
        return
    yield "\n# One rigid body: its model does not depend on heading and place. Commented out: plain coordinates.\n"
    yield "# [model.rigid_body]\n"
    yield f"# attitude = {_toml_list(body[rotation])}\n# rate = {_toml_list(body['rate'])}\n"
    if len(body.get("velocity", ())) == 3:
        yield f"# velocity = {_toml_list(body['velocity'])}\n"


def _channel_names(source: DraftSource) -> list[str]:
    return [split_unit(channel)[0] for channel in source.channels]


def _toml_list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_toml_string, names))}]"


def _toml_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _bare_or_quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml_string(name)
