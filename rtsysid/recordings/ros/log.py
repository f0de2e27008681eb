"""Read files of ROS messages as one log of topics, in the order of log time whatever the order in the files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rtsysid.guards.limits import checked_size
from rtsysid.recordings.formats import stored_bytes
from rtsysid.recordings.ros.batches import GrowingRows, decoded, message_batches
from rtsysid.recordings.ros.container import BagTopic, Damage, MessageFile, what_is_lost
from rtsysid.recordings.ros.decoder import Decoder, Offer, offer_of, varies
from rtsysid.recordings.topics import Series, Topic, topic_of

_LOOKED = 100  # messages of a topic whose arrays are looked at
_DOTTED = re.compile(r"\.(\d+)(?=\.|$)")


class _Channel(NamedTuple):
    """Locate messages of one type: the file, and the number of the channel in it."""

    file: MessageFile
    number: int
    about: BagTopic


class _Known(NamedTuple):
    """Hold a topic: the channels of its type, and what the type offers."""

    topic: Topic
    channels: Sequence[_Channel]
    offer: Offer


class RosLog:
    """Open files of ROS messages, the parts of one recording, as a log of topics.

    ``missing`` grows while a log is read: damage inside a file is found there.
    """

    def __init__(self, path: Path, files: Sequence[MessageFile], missing: str = "") -> None:
        self.path, self.files = path, files
        self._losses = {"": missing} | {each.path.name: _of_file(each, each.missing, files) for each in files}
        self.missing = "; ".join(filter(None, self._losses.values()))

    @property
    def topics(self) -> tuple[Topic, ...]:
        """List the topics in order of names, with the numbers of their messages."""
        return tuple(each.topic for each in self._known.values())

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read fields of all messages of a topic in order of log time.

        Raises TraceError where the topic, a field or the stamp does not exist, or the messages exceed the limits.
        """
        names = _indexed(fields, self._known.get(topic))
        topic_of(self, topic, names, stamp)
        known = self._known[topic]
        rows = GrowingRows(self.path, stored_bytes(self.path), len(names) + bool(stamp))
        wanted = [*names, stamp] if stamp else names
        for file in self.files:
            here = {each.number: each.about.type for each in known.channels if each.file is file}
            decoders = {k: Decoder(kind, wanted, known.offer.labels) for k, kind in here.items() if kind is not None}
            if decoders or not wanted:
                self._read_file(topic, file, decoders if wanted else dict.fromkeys(here), rows)
        return rows.series(len(names))

    def _read_file(
        self, topic: str, file: MessageFile, decoders: Mapping[int, Decoder | None], rows: GrowingRows
    ) -> None:
        """Append the messages of the channels in one file; without decoders their times alone."""
        begin = len(rows)
        try:
            for batch in message_batches(file, decoders):
                columns, damage = decoded(decoders, batch)
                rows.add(batch.log_ns[: len(columns)], columns)
                if damage:
                    return self._lose(file, topic, damage, rows.seconds(begin))
        except Damage as damage:
            if not file.missing:  # it was known when the file was opened
                self._lose(file, topic, damage, rows.seconds(begin))

    def _lose(self, file: MessageFile, topic: str, damage: Damage, seconds: float | None) -> None:
        """Note damage: of the file, told once, or of a message, which ends its topic alone."""
        loss, topic = what_is_lost(damage, file.path.stat().st_size, seconds), "" if damage.at is not None else topic
        if topic:
            after = "" if seconds is None else f" after {seconds:.1f} s"
            loss = f"{topic} is damaged{after} ({damage}): what follows is not read"
        self._losses.setdefault(f"{file.path.name} {topic}", _of_file(file, loss, self.files))
        self.missing = "; ".join(filter(None, self._losses.values()))

    @cached_property
    def _known(self) -> dict[str, _Known]:
        topics: dict[str, list[_Channel]] = {}
        for file in self.files:
            for number, about in file.topics.items():
                topics.setdefault(about.name, []).append(_Channel(file, number, about))
        checked_size(f"recording {self.path.name}: its topics", len(topics), "columns")
        looks = [_first_messages(file) for file in self.files]
        samples = {key: payloads for look in looks for key, payloads in look.items()}
        return {name: _known_topic(name, topics[name], samples) for name in sorted(topics)}


def _known_topic(name: str, channels: Sequence[_Channel], samples: Mapping[tuple[int, int], list[bytes]]) -> _Known:
    """Describe a topic. Of several types the one with most messages that can be decoded is its type."""
    counts: dict[str, int] = {}
    for each in channels:
        counts[each.about.type_name] = counts.get(each.about.type_name, 0) + (each.about.messages or 0)
    readable = {each.about.type_name for each in channels if each.about.type is not None}
    chosen = max(counts, key=lambda each: (each in readable, counts[each]))
    own = [each for each in channels if each.about.type_name == chosen]
    offers = [
        offer_of(each.about.type, samples.get((id(each.file), each.number), ()))
        for each in own
        if each.about.type is not None
    ]
    offer = _united(offers)
    stated = all(each.about.messages is not None for each in own)
    note = "; ".join(filter(None, (*_problems(own), _others(counts, chosen), _left_out(offer))))
    about = Topic(name, chosen, offer.fields, offer.stamps, counts[chosen] if stated else None, note)
    return _Known(about, own, offer)


def _united(offers: Sequence[Offer]) -> Offer:
    """Unite the offers of several definitions of one type: a message that lacks a field gives NaN."""
    fields = dict.fromkeys(field for offer in offers for field in offer.fields)
    stamps = dict.fromkeys(stamp for offer in offers for stamp in offer.stamps)
    left_out = dict.fromkeys(each for offer in offers for each in offer.left_out)
    labels = {array: source for offer in offers for array, source in offer.labels.items()}
    return Offer(tuple(fields), tuple(stamps), tuple(left_out), labels)


def _problems(channels: Sequence[_Channel]) -> list[str]:
    return list(dict.fromkeys(each.about.problem for each in channels if each.about.problem))


def _others(counts: Mapping[str, int], chosen: str) -> str:
    others = [f"{name} ({count} messages)" for name, count in counts.items() if name != chosen]
    return f"other types are not read: {', '.join(others)}" if others else ""


def _left_out(offer: Offer) -> str:
    shown = ", ".join(offer.left_out[:4]) + (f" and {len(offer.left_out) - 4} more" if len(offer.left_out) > 4 else "")
    return f"not read: {shown}" if shown else ""


def _indexed(fields: Sequence[str], known: _Known | None) -> list[str]:
    """Return names of fields; those of earlier releases, ``covariance.0``, as they are now, ``covariance[0]``."""
    names = {each.name for each in known.topic.fields} if known else set()
    indexed = {name: _DOTTED.sub(r"[\1]", name) for name in fields if name not in names}
    return [indexed[name] if indexed.get(name) in names else name for name in fields]


def _of_file(file: MessageFile, loss: str, files: Sequence[MessageFile]) -> str:
    return f"{file.path.name}: {loss}" if loss and len(files) > 1 else loss


def _first_messages(file: MessageFile) -> dict[tuple[int, int], list[bytes]]:
    """Read the first messages of each channel whose arrays have names or lengths that only messages know."""
    looked = {k for k, each in file.topics.items() if each.type is not None and varies(each.type)}
    found: dict[tuple[int, int], list[bytes]] = {(id(file), k): [] for k in looked}
    waiting = set(looked)
    try:
        for batch in message_batches(file, looked, _LOOKED) if looked else ():
            for number, payload in zip(batch.channels, batch.payloads, strict=True):
                if number in waiting:
                    found[id(file), number].append(payload)
                    waiting -= {number} if len(found[id(file), number]) == _LOOKED else set()
            if not waiting:
                break
    except Damage:  # reading reports it
        return found
    return found
