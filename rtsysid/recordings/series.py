"""A recording of several files, read as one: `rtsysid run --record DIR` begins a new file by size and time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from rtsysid.errors import TraceError
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.mcap_records import BagMessage
from rtsysid.recordings.ros.container import BagTopic
from rtsysid.rosmsg import Value

_GROUP = "rtsysid.part"  # of the metadata of every file
_NUMBER = re.compile(r"(.*-)(\d{3,})(\.mcap)")


class BagSeries:
    """The files of one recording, in order, as one `Bag`.

    ``path``: the first of them. ``files``: all. Raises TraceError where one is damaged, and where the first is not the
    beginning of a recording.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._bags = path, [Bag(path)]
        about = self.metadata().get(_GROUP, {})
        if not about:
            return
        if about.get("number") != "1":
            found = f"it is part {about.get('number')} of a recording, whose state began in another file"
            raise TraceError(f"recording {path.name}", found, "name the first part, which ends in -001.mcap")
        while (after := _next(self._bags[-1].path)).exists():
            self._bags.append(Bag(after))

    @property
    def files(self) -> list[Path]:
        """Return the files of this recording, in order."""
        return [bag.path for bag in self._bags]

    @property
    def topics(self) -> dict[int, BagTopic]:
        """Return the topics of the first file; those of the others have the same fields."""
        return self._bags[0].topics

    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the groups of texts of the first file. Raises TraceError where the file is damaged."""
        return self._bags[0].metadata()

    def read(self, topic: str) -> Iterator[tuple[BagMessage, dict[str, Value]]]:
        """Stream the messages of one topic, file after file; see `Bag.read`. Raises TraceError as that does."""
        for bag in self._bags:
            yield from bag.read(topic)

    def damage(self) -> AbstractContextManager[None]:
        """Convert what a damaged file raises to TraceError, as `Bag.damage` does."""
        return self._bags[0].damage()


def _next(path: Path) -> Path:
    match = _NUMBER.fullmatch(path.name)
    return path / "none" if match is None else path.with_name(f"{match[1]}{int(match[2]) + 1:03}{match[3]}")
