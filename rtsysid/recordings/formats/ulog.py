"""Read ULog files of PX4 (`.ulg`). Needs pyulog.

A topic has its name in PX4; further instances of it are `esc_status[1]`, `esc_status[2]`. Nested fields and items of
arrays have the names of pyulog: `esc[0].esc_rpm`, `q[3]`. The field `timestamp` is the time of logging, in seconds
since the board started; other times in a message are stamps, such as `timestamp_sample`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.topics import Series, Topic, TopicField, topic_of
from rtsysid.recordings.ulog import LoggedField, Subscription, UlogIndex

_STAMP = re.compile(r"(.*\.)?(timestamp(_\w+)?|\w+_timestamp)")


class Reader:
    """Open a ULog file. Raises TraceError where it is damaged from its start, ImportError where pyulog is missing."""

    def __init__(self, path: Path) -> None:
        import pyulog  # noqa: F401  # an error of the import names the extra that installs it

        self.path = path
        with reading(path):
            raw = path.read_bytes()
        try:
            self._index = UlogIndex(raw)
        except ValueError as error:
            raise damaged(path, error) from error
        self.missing = self._index.missing
        known: dict[str, tuple[int, Subscription]] = {}
        for number, each in self._index.subscriptions.items():
            if self._index.count(number) and each.stamp >= 0:
                known.setdefault(f"{each.name}[{each.instance}]" if each.instance else each.name, (number, each))
        self._known = dict(sorted(known.items()))
        self.topics: tuple[Topic, ...] = tuple(self._topic(name, *each) for name, each in self._known.items())

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read fields of all messages of a topic, in the order of the file.

        Raises TraceError where the topic, a field or the stamp does not exist, and where the file is damaged.
        """
        topic_of(self, topic, fields, stamp)
        number, _ = self._known[topic]
        data = np.frombuffer(self._index.messages(number), self._layouts[number])
        logged = data["timestamp"] * 1e-6
        values = np.empty((len(data), len(fields)))
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            for column, field in enumerate(fields):
                values[:, column] = data[field]
        return Series(data[stamp] * 1e-6 if stamp else logged, np.maximum.accumulate(logged), values)

    @cached_property
    def parameters(self) -> Mapping[str, float]:
        """Return the parameters at the start of the log, by name."""
        return {name: float(value) for name, value in self._settings.initial_parameters.items()}

    @cached_property
    def info(self) -> Mapping[str, str]:
        """Return what the log says about itself: hardware, software and the like, as text."""
        return {name: str(value) for name, value in self._settings.msg_info_dict.items()}

    @cached_property
    def _layouts(self) -> dict[int, np.dtype[Any]]:
        """Return the layout of the messages of each subscription, as pyulog lays out the first one."""
        return {
            each.msg_id: np.dtype([(field.field_name, each.data[field.field_name].dtype) for field in each.field_data])
            for each in self._decoded(self._index.definitions()).data_list
        }

    @cached_property
    def _settings(self) -> Any:
        return self._decoded(self._index.settings())

    def _decoded(self, content: bytes) -> Any:
        # pyulog decodes message by message, and says nothing of damage. Here it sees one sound message of each topic.
        from pyulog import ULog

        try:
            with redirect_stdout(StringIO()):  # it prints what it doubts
                return ULog(BytesIO(content))
        except Exception as error:  # of a library that was not written for damaged files
            raise damaged(self.path, error) from error

    def _topic(self, name: str, number: int, known: Subscription) -> Topic:
        numbers = [each for each in known.fields if _is_plain_number(each)]
        stamps = tuple(each.name for each in numbers if _is_stamp(each))
        fields = tuple(TopicField(each.name) for each in numbers if not _is_stamp(each))
        return Topic(name, known.name, fields, stamps, self._index.count(number))


def _is_plain_number(field: LoggedField) -> bool:
    last = field.name.rpartition(".")[2]
    return field.name != "timestamp" and field.type != "char" and not last.startswith("_padding")


def _is_stamp(field: LoggedField) -> bool:
    return field.type == "uint64_t" and _STAMP.fullmatch(field.name) is not None
