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
from rtsysid.recordings.ros.container import BagTopic, Damage, MessageBatch, MessageFile, what_is_lost
from rtsysid.recordings.ros.decoder import Decoder, Offer, offer_of, varies
from rtsysid.recordings.topics import Series, Topic, TopicRequest, topic_of

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


class _Target(NamedTuple):
    """Collect a topic: its rows, and the decoders of its channels by file."""

    topic: str
    fields: int
    rows: GrowingRows
    decoders: Mapping[int, Mapping[int, Decoder | None]]


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
        [series] = self.read_each([TopicRequest(topic, fields, stamp)])
        return series

    def read_each(self, requests: Sequence[TopicRequest]) -> list[Series]:
        """Read several topics in one pass over the files; see `read`."""
        targets = [self._target(*each) for each in requests]
        for file in self.files:
            self._read_file(file, targets)
        return [each.rows.series(each.fields) for each in targets]

    def _target(self, topic: str, fields: Sequence[str], stamp: str) -> _Target:
        names = _indexed(fields, self._known.get(topic))
        topic_of(self, topic, names, stamp)
        known, wanted = self._known[topic], [*names, stamp] if stamp else names
        decoders: dict[int, dict[int, Decoder | None]] = {id(file): {} for file in self.files}
        for file, number, about in known.channels:
            if about.type is not None or not wanted:  # the times of messages need no type
                decoder = Decoder(about.type, wanted, known.offer.labels) if about.type and wanted else None
                decoders[id(file)][number] = decoder
        return _Target(topic, len(names), GrowingRows(self.path, stored_bytes(self.path), len(wanted)), decoders)

    def _read_file(self, file: MessageFile, targets: Sequence[_Target]) -> None:
        routes: dict[int, list[_Target]] = {}
        for target in targets:
            for number in target.decoders[id(file)]:
                routes.setdefault(number, []).append(target)
        try:
            for batch in message_batches(file, list(routes)) if routes else ():
                for number, part in batch.by_channel().items():
                    routes[number] = [each for each in routes[number] if self._take(file, number, part, each)]
        except Damage as damage:
            if not file.missing:  # it was known when the file was opened
                self._lose(file, "", damage, max(each.rows.seconds or 0.0 for each in targets))

    def _take(self, file: MessageFile, number: int, part: MessageBatch, target: _Target) -> bool:
        """Append messages; return False where one of them is damaged, which ends its topic."""
        columns, damage = decoded(target.decoders[id(file)][number], part)
        target.rows.add(part.log_ns[: len(columns)], columns)
        if damage:
            self._lose(file, target.topic, damage, target.rows.seconds)
        return damage is None

    def _lose(self, file: MessageFile, topic: str, damage: Damage, seconds: float | None) -> None:
        """Note the damage of a file, or of a message of a topic."""
        loss = f"{topic} {what_is_lost(damage, file.path.stat().st_size, seconds)}".lstrip()
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
