"""Where recordings lie: `RTSYSID_DATA`, else `../shared/data` where it exists. None of them is in this repository."""

from __future__ import annotations

import os
from pathlib import Path

from rtsysid.errors import TraceError

DEFAULT = Path("../shared/data")


def data_folder() -> Path | None:
    """The folder of recordings, or None on a machine without."""
    named = os.environ.get("RTSYSID_DATA")
    folder = Path(named) if named else DEFAULT
    return folder if folder.is_dir() else None


def recordings(*parts: str) -> Path:
    """A folder of recordings by name; TraceError says how to get it where it is absent."""
    folder = data_folder()
    path = (folder or DEFAULT).joinpath(*parts)
    if folder is None or not path.exists():
        raise TraceError(
            f"recordings {'/'.join(parts)}", f"none at {path}", "set RTSYSID_DATA to the folder they lie in"
        )
    return path
