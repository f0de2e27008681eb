"""Name recordings by their files: distinct recordings get distinct names, and none is taken twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rtsysid.errors import TraceError
from rtsysid.guards.text import for_json
from rtsysid.recordings.formats import suffix_of


def require_distinct(files: Sequence[Path]) -> None:
    """Raise TraceError where a file is named twice: the same rows would train a model and judge it."""
    seen: dict[str, Path] = {}
    for path in files:
        first = seen.setdefault(os.path.realpath(path), path)
        if first is not path:
            raise TraceError(f"recording {path}", f"it is the same file as {first}", "name each recording once")


def names_of(files: Sequence[Path]) -> list[str]:
    """Name distinct recordings by their files without suffix.

    Equal names get the folders that tell them apart as a prefix, and keep their suffix where folders do not.
    """
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(_stem(path), []).append(path)
    names = {path: name for group in groups.values() for path, name in zip(group, _told_apart(group), strict=True)}
    return [for_json(names[path]) for path in files]


def _stem(path: Path) -> str:
    return path.name[: -len(suffix_of(path))]


def _told_apart(files: Sequence[Path]) -> list[str]:
    names = [_stem(path) for path in files]
    folders = [path.absolute().parent.parts for path in files]
    depths = range(1, max(map(len, folders)) + 1)
    for ends, depth in ((ends, depth) for ends in (names, [path.name for path in files]) for depth in depths):
        if len(set(names)) == len(names):
            break
        names = ["/".join((*parts[-depth:], end)) for parts, end in zip(folders, ends, strict=True)]
    return names
