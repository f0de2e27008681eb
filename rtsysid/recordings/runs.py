"""Find the files of each run: usually one, or several where sources name file patterns (``*_motor.csv``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings.names import names_of, recording_files, require_distinct


class RunFiles(NamedTuple):
    """Hold the files of a run by the pattern that names them; the only file of a run has the pattern ""."""

    name: str
    files: dict[str, Path]

    def file(self, pattern: str) -> Path:
        """Return the file that a pattern names."""
        return self.files[pattern]


def run_files(paths: Sequence[Path | str], data: Data) -> list[RunFiles]:
    """List the runs among files and folders, in the order of their names.

    With file patterns, files whose names differ in what the patterns leave open alone belong together. Raises
    TraceError where no path was given, a file twice, or a file of a run is missing.
    """
    files = [file for path in paths for file in recording_files(Path(path))]
    if not files:
        raise TraceError("recordings", "no path was given", "name at least one file or folder")
    require_distinct(files)
    patterns = list(dict.fromkeys(source.file for source in data.sources.values()))
    if patterns in ([], [""]):
        return [RunFiles(name, {"": file}) for file, name in zip(files, names_of(files), strict=True)]
    return _paired(files, patterns)


def _paired(files: Sequence[Path], patterns: Sequence[str]) -> list[RunFiles]:
    """Pair files by what the patterns leave open of their names. A pattern "" takes what no other one takes."""
    named: dict[str, dict[str, Path]] = {}
    for file in files:
        pattern = next((each for each in patterns if each and fnmatchcase(file.name, each)), "")
        if pattern or "" in patterns:
            named.setdefault(_open_part(file, pattern, patterns), {})[pattern] = file
    counts = [sum(pattern in found for found in named.values()) for pattern in patterns]
    if counts == [1] * len(patterns):  # one run: the names need not agree
        named = {next(iter(named)): {each: path for found in named.values() for each, path in found.items()}}
    for name, own in named.items():
        missing = [each or "any other" for each in patterns if each not in own]
        if missing:
            shown = ", ".join(file.name for file in own.values())
            raise TraceError(f"run {name!r}", f"{shown}, but no file {missing[0]!r}", "give all files of the run")
    if not named:
        shown = ", ".join(file.name for file in files[:5])
        raise TraceError("recordings", f"no file matches {', '.join(filter(None, patterns))}", f"there is {shown}")
    return [RunFiles(name, own) for name, own in named.items()]


def _open_part(file: Path, pattern: str, patterns: Sequence[str]) -> str:
    """Return what the stars of a pattern match in the name of a file; of a file without one, its name up to a dot."""
    if pattern:
        found = re.fullmatch("(.*)".join(map(re.escape, re.split(r"[*?]+", pattern))), file.name)
        return "".join(found.groups()) if found else file.name
    return file.name.split(".")[0]
