"""Contents of the logs of known programs: the table `rtsysid/presets/logs.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from rtsysid.alignment.source import QuaternionOrder
from rtsysid.recordings.topics import Topic

Role = Literal["input", "output"]


class KnownPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describe fields of a topic that are channels; see the comment in the table."""

    part: str
    fields: tuple[str, ...]
    channels: tuple[str, ...]
    role: Role = "output"
    topic: str = ""
    type: str = ""
    unit: str = ""
    poles: int = 2
    order: QuaternionOrder = "xyzw"
    frames: str = ""
    angles: tuple[str, ...] = ()
    unsure: str = ""

    @property
    def is_rotation(self) -> bool:
        """Whether the channels are a quaternion x, y, z, w."""
        return len(self.channels) == 4 and all(name.endswith("[quat]") for name in self.channels)

    @property
    def together(self) -> bool:
        """Whether the fields are converted together."""
        return bool(self.frames) or self.order != "xyzw"

    def fits(self, topic: Topic) -> bool:
        """Tell whether the names of a topic and of its type are those of the entry."""
        names = (self.topic, topic.name), (self.type, topic.type_name)
        return all(not pattern or re.fullmatch(pattern, name) is not None for pattern, name in names)

    def found_in(self, topic: Topic) -> tuple[tuple[str, str], ...]:
        """Return the fields of a topic with the channels that they become; empty where one is missing."""
        known = [field.name for field in topic.fields]
        if not any("*" in field for field in self.fields):
            whole = all(field in known for field in self.fields)
            return tuple(zip(self.fields, self.channels, strict=True)) if whole else ()
        pattern = re.compile(re.escape(self.fields[0]).replace(r"\*", r"([\w/ .-]+)"))
        matches = [(name, match[1]) for name in known if (match := pattern.fullmatch(name))]
        return tuple((name, self.channels[0].replace("*", _word(element), 1)) for name, element in matches)


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold patterns of the names of columns: of inputs, and of what is neither an input nor an output."""

    input: str
    nothing: str

    def role(self, name: str) -> Role | None:
        """Guess the role of a column by its name; None for neither."""
        if re.search(self.nothing, name.lower()):
            return None
        return "input" if re.search(self.input, name.lower()) else "output"


class Knowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the whole table."""

    known: tuple[KnownPart, ...]
    words: Words


@cache
def knowledge() -> Knowledge:
    """Read the table."""
    text = resources.files("rtsysid.presets").joinpath("logs.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Knowledge)


def candidates(topics: Sequence[Topic]) -> list[tuple[KnownPart, Topic]]:
    """List the entries that fit a topic, in the order of the table."""
    return [
        (part, topic) for part in knowledge().known for topic in topics if part.fits(topic) and part.found_in(topic)
    ]


def _word(element: str) -> str:
    return re.sub(r"\W+", "_", element).strip("_") or element
