"""Draft from files: the first log decides, the others must have its topics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rtsysid.errors import TraceError
from rtsysid.recordings.draft.choose import Draft, draft_of
from rtsysid.recordings.names import recording_files
from rtsysid.recordings.survey_table import guessed_time
from rtsysid.recordings.topic_logs import TableLog, open_topics


def draft_for(paths: Sequence[Path], time: str | None) -> Draft:
    """Draft a configuration for files and folders. `time`: time column of a table, None to guess it.

    Raises TraceError where a file cannot be read, or no output is found.
    """
    files = [file for path in paths for file in recording_files(path)]
    first = open_topics(files[0], time or "t")
    column = _time_of(first, time) if isinstance(first, TableLog) else "t"
    return draft_of(open_topics(files[0], column), isinstance(first, TableLog), column)


def _time_of(log: TableLog, time: str | None) -> str:
    guess = guessed_time(log.table) if time is None else time
    if guess is None:
        raise TraceError(f"log {log.path.name}", "no column is named like a time", "name it: --time COLUMN")
    return guess
