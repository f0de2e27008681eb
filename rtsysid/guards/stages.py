"""Say which stage long work has reached, as log records: the command line shows them, and so does any log handler."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

NAME = "rtsysid.stage"
Item = TypeVar("Item")
_log = logging.getLogger(NAME)


def say_stage(label: str, done: int = 0, total: int = 0) -> None:
    """Log that a stage begins, or that so many of its `total` parts are done; 0: their number is not known."""
    _log.info(label, extra={"done": done, "total": total})


def with_progress(items: Iterable[Item], label: str, total: int = 0, every: int = 1) -> Iterator[Item]:
    """Yield items, and say how many are done before each, or before each `every`-th."""
    for done, item in enumerate(items):
        if done % every == 0:
            say_stage(label, done, total)
        yield item
