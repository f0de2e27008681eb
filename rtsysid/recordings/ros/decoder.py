"""Say which numbers the messages of a type offer by name, and read chosen ones from many messages.

A time is one number in s, and so is a duration. An element of an array has an index, ``data[0]``, or the name that the
message itself gives it, ``position[left]``, whatever its place in that message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.recordings.ros.columns import (
    Batch,
    Integers,
    Items,
    Labels,
    labels_of,
    layout_of,
    skip,
    skip_array,
    stride_of,
)
from rtsysid.recordings.topics import TopicField
from rtsysid.rosmsg import SHORT, MessageType
from rtsysid.rosmsg.fields import Many, MessageField, Numbers, Text
from rtsysid.spec import Doubles

_NAMED = 512  # elements of an array that get a field each where they have names; without names it is `SHORT`


class Offer(NamedTuple):
    """List what a type offers: fields, time stamps, and the arrays that are left out, in words.

    ``labels``: for each array whose elements have names, the array that holds them.
    """

    fields: tuple[TopicField, ...]
    stamps: tuple[str, ...]
    left_out: tuple[str, ...]
    labels: Mapping[str, str]


class _Seen(NamedTuple):
    """Hold the arrays of some messages: their lengths [n], and their texts."""

    counts: dict[str, Integers]
    labels: dict[str, Labels]


def varies(kind: MessageType) -> bool:
    """Tell whether a type has arrays of numbers whose length only its messages know."""
    return any(isinstance(field, Many) and stride_of(field) is not None for field in kind.fields)


def offer_of(kind: MessageType, payloads: Sequence[bytes]) -> Offer:
    """Say what messages of a type offer; `payloads` are some of them, by which arrays get their names."""
    seen = _look(kind, payloads)
    fields: list[TopicField] = []
    labels: dict[str, str] = {}
    left_out: list[str] = []
    for field in kind.fields:
        if isinstance(field, Numbers):
            fields += _plain_fields(kind, field.names)
        elif isinstance(field, Many) and stride_of(field) is not None:
            fields += _elements(kind, field, seen, labels, left_out)
        elif not _is_texts(field) and not isinstance(field, Text) and field.names[0] not in kind.unmeasured:
            left_out.append(field.names[0])
    stamps = (name for name, instant in kind.instants.items() if instant.kind == "time" and "[]" not in name)
    return Offer(tuple(fields), tuple(stamps), tuple(left_out), labels)


def _plain_fields(kind: MessageType, names: Sequence[str]) -> list[TopicField]:
    """List numbers, a duration as one, without the parts of time stamps and what measures nothing."""
    fields = []
    for name in names:
        stem, _, last = name.rpartition(".")
        if stem in kind.instants:
            fields += [TopicField(stem, "s")] if kind.instants[stem].kind == "duration" and last == "sec" else []
        elif name not in kind.unmeasured:
            fields.append(TopicField(name))
    return fields


def _elements(
    kind: MessageType, field: Many, seen: _Seen, labels: dict[str, str], left_out: list[str]
) -> list[TopicField]:
    name = field.names[0]
    inner = [
        each.name.removeprefix(f"{name}[]") for each in _plain_fields(kind, field.element[0].names) if not each.unit
    ]
    counts = seen.counts.get(name, np.empty(0, np.int64))
    most = int(counts.max(initial=0))
    source = next((each for each, found in seen.labels.items() if _fit_names(found, counts)), None)
    if source is not None and most * len(inner) <= _NAMED:
        labels[name] = source
        elements = list(dict.fromkeys(label for texts in seen.labels[source].lists for label in texts))
    elif most * len(inner) <= SHORT:
        elements = [str(k) for k in range(most)]
    else:
        left_out.append(f"{name} of {most} elements")
        return []
    return [TopicField(f"{name}[{element}]{suffix}") for element in elements for suffix in inner]


def _fit_names(found: Labels, counts: Integers) -> bool:
    """Tell whether each array that is not empty has as many elements as there are names, all of them different."""
    if any(len(set(texts)) < len(texts) or "" in texts for texts in found.lists):
        return False
    lengths = np.array([len(texts) for texts in found.lists], np.int64)[found.which]
    filled = counts > 0
    return len(lengths) == len(counts) and bool(filled.any()) and bool((lengths == counts)[filled].all())


def _is_texts(field: MessageField) -> bool:
    return isinstance(field, Many) and len(field.element) == 1 and isinstance(field.element[0], Text)


def _look(kind: MessageType, payloads: Sequence[bytes]) -> _Seen:
    """Measure the arrays of some messages. Reading reports messages that do not fit the type."""
    seen = _Seen({}, {})
    try:
        batch = Batch(payloads, kind.wire)
        for field in kind.fields if payloads else ():
            if isinstance(field, Many) and _is_texts(field):
                seen.labels[field.names[0]] = labels_of(field, batch)
            elif isinstance(field, Many):
                seen.counts[field.names[0]] = skip_array(field, batch).counts
            else:
                skip([field], batch)
    except ValueError:
        return seen
    return seen


class _Element(NamedTuple):
    """Ask for a number of an array's element: its column, label, and place in the run of numbers of an element."""

    column: int
    label: str
    place: int


class _Step(NamedTuple):
    """Say what to read of a field: columns and places of numbers, elements of an array, or the names of elements."""

    field: MessageField
    numbers: Sequence[tuple[int, int]]
    elements: Sequence[_Element]
    names: bool

    @property
    def used(self) -> bool:
        """Whether anything of the field is read."""
        return bool(self.numbers or self.elements or self.names)


class Decoder:
    """Read numbers by name from messages of a type: the fields of an `Offer` with its `labels`, and times in s.

    A name that the type lacks reads as NaN.
    """

    def __init__(self, kind: MessageType, names: Sequence[str], labels: Mapping[str, str]) -> None:
        self._wire, self._labels, self._width = kind.wire, labels, len(names)
        self._instants = [k for k, name in enumerate(names) if name in kind.instants]
        raw = [f"{name}.sec" if name in kind.instants else name for name in names]
        raw += [f"{names[k]}.nanosec" for k in self._instants]
        elements = {field.names[0]: _elements_in(field, raw) for field in kind.fields if isinstance(field, Many)}
        sources = {labels.get(name) for name, wanted in elements.items() if wanted}
        steps = [
            _Step(field, _numbers_in(field, raw), elements.get(field.names[0], ()), field.names[0] in sources)
            for field in kind.fields
        ]
        self._steps = steps[: max((k + 1 for k, step in enumerate(steps) if step.used), default=0)]
        self._layouts = [layout_of(step.field) if isinstance(step.field, Numbers) else None for step in self._steps]

    def decode(self, payloads: Sequence[bytes]) -> Doubles:
        """Read the columns [n, F] of n messages. Raises ValueError where a message does not fit the type."""
        batch = Batch(payloads, self._wire)
        columns = np.full((len(payloads), self._width + len(self._instants)), np.nan)
        items: list[tuple[_Step, Items]] = []
        labels: dict[str, Labels] = {}
        for step, layout in zip(self._steps, self._layouts, strict=True):
            if layout is not None:
                _take_numbers(step, *layout, batch, columns)
            elif step.names:
                labels[step.field.names[0]] = labels_of(_as_many(step.field), batch)
            elif step.elements:
                items.append((step, skip_array(_as_many(step.field), batch)))
            else:
                skip([step.field], batch)
        for step, found in items:
            self._take_elements(step, found, labels, batch, columns)
        for k, place in enumerate(self._instants):
            columns[:, place] = seconds_of(columns[:, place], columns[:, self._width + k])
        return columns[:, : self._width]

    def _take_elements(
        self, step: _Step, items: Items, labels: Mapping[str, Labels], batch: Batch, columns: Doubles
    ) -> None:
        field = _as_many(step.field)
        run = field.element[0]
        assert isinstance(run, Numbers)
        offsets = layout_of(run)[0][0]
        names = labels.get(self._labels.get(field.names[0], ""))
        for each in step.elements:
            index = _index_of(each.label, names, len(columns))
            rows = np.flatnonzero((index >= 0) & (index < items.counts))
            at = items.first[rows] + index[rows] * run.least + offsets[each.place]
            columns[rows, each.column] = batch.numbers(run.codes[each.place], at, rows)


def seconds_of(sec: Doubles, nanosec: Doubles) -> Doubles:
    """Convert times [n] to s, rounded as on the serial link: whole microseconds."""
    return (sec * 1e6 + np.floor(nanosec / 1000)) * 1e-6


def _take_numbers(step: _Step, offsets: Integers, sizes: Integers, batch: Batch, columns: Doubles) -> None:
    assert isinstance(step.field, Numbers)
    residues = batch.residues()
    for column, place in step.numbers:
        columns[:, column] = batch.numbers(step.field.codes[place], batch.at + offsets[residues, place])
    batch.advance(sizes[residues])


def _index_of(label: str, names: Labels | None, rows: int) -> Integers:
    """Return the index [n] of an element in each of n messages, -1 where no element has the name."""
    if names is None:
        return np.full(rows, int(label) if label.isdecimal() else -1, np.int64)
    own = [texts.index(label) if label in texts else -1 for texts in names.lists]
    return np.array(own, np.int64)[names.which]


def _as_many(field: MessageField) -> Many:
    assert isinstance(field, Many)
    return field


def _numbers_in(field: MessageField, names: Sequence[str]) -> list[tuple[int, int]]:
    """List the column and the place of each wanted number of a run."""
    places = {name: place for place, name in enumerate(field.names)} if isinstance(field, Numbers) else {}
    return [(column, places[name]) for column, name in enumerate(names) if name in places]


def _elements_in(field: Many, names: Sequence[str]) -> list[_Element]:
    """List the wanted elements of an array of numbers."""
    array, found = field.names[0], []
    if stride_of(field) is None:
        return []
    for column, name in enumerate(names):
        for place, inner in enumerate(field.element[0].names):
            end = "]" + inner.removeprefix(f"{array}[]")
            if name.startswith(f"{array}[") and name.endswith(end) and len(name) >= len(array) + 1 + len(end):
                found.append(_Element(column, name[len(array) + 1 : -len(end)], place))
    return found
