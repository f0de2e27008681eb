"""Find recordings and name them by their files: distinct recordings get distinct names, and none is taken twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rtsysid.errors import TraceError
from rtsysid.guards.text import for_json
from rtsysid.recordings.formats import SUFFIXES, is_log_folder, suffix_of
from rtsysid.recordings.formats.advice import advice_for
from rtsysid.recordings.formats.csv import is_table
from rtsysid.spec import digest
from rtsysid.storage import sha256
from rtsysid.storage.kinds import kind_of, mistaken


def recording_files(path: Path) -> list[Path]:
    """List the recordings of a folder, sorted by name, or the file itself.

    A link to another recording of the folder, as `latest.csv`, is a second name and is passed over, and so is a text
    file (.txt) that holds no table. Raises TraceError where the folder has no recording; it names the converter of a
    file in it.
    """
    if is_log_folder(path):
        return [path]
    if kind_of(path) not in ("file", "folder"):
        raise TraceError(f"recording {path}", *mistaken(path, "recording"))
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.iterdir() if each.name.lower().endswith(SUFFIXES) and each.is_file())
    files = sorted([*files, *(each for each in path.iterdir() if is_log_folder(each))])
    owned = {each.resolve() for each in files if not each.is_symlink()}
    visible = [
        each for each in files if not each.name.startswith(".") and not (each.is_symlink() and each.resolve() in owned)
    ]
    visible = [each for each in visible if not each.name.lower().endswith((".txt", ".txt.gz")) or is_table(each)]
    if not visible:
        for each in sorted(path.iterdir()):
            if advice_for(each):
                suffix_of(each)
        raise TraceError(f"folder {path}", "no recording in it", f"put files of {', '.join(SUFFIXES)} there")
    return visible


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of the files in a folder that are read.

    The videos of a dataset are not among them.
    """
    if not path.is_dir():
        return sha256(path)
    parts = [path / "meta", path / "data"] if (path / "meta").is_dir() else [path]
    files = sorted(each for part in parts for each in part.rglob("*") if each.is_file())
    return digest([[str(each.relative_to(path)), sha256(each)] for each in files])


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
    return path.name if path.is_dir() else path.name[: -len(suffix_of(path))]


def _told_apart(files: Sequence[Path]) -> list[str]:
    names = [_stem(path) for path in files]
    folders = [path.absolute().parent.parts for path in files]
    depths = range(1, max(map(len, folders)) + 1)
    for ends, depth in ((ends, depth) for ends in (names, [path.name for path in files]) for depth in depths):
        if len(set(names)) == len(names):
            break
        names = ["/".join((*parts[-depth:], end)) for parts, end in zip(folders, ends, strict=True)]
    return names


def matching_names(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """Return the names that match a pattern (``run4*``). Raises TraceError for a pattern that matches none."""
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            unmatched = f"no recording is named {pattern!r}"
            raise TraceError("validation split", unmatched, f"choose among {', '.join(names)}")
        chosen |= matched
    return chosen
