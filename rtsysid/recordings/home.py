"""Where recordings lie: `RTSYSID_DATA`, else `../shared/data` where it exists, else the user's cache.

None of them is in this repository.
"""

from __future__ import annotations

import os
from pathlib import Path

from rtsysid.errors import TraceError

DEFAULT = Path("../shared/data")


def home() -> Path:
    """The folder that recordings belong in, whether or not it exists yet."""
    named = os.environ.get("RTSYSID_DATA")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return DEFAULT if DEFAULT.is_dir() else cache / "rtsysid" / "data"


def data_folder() -> Path | None:
    """The folder of recordings, or None on a machine without."""
    folder = home()
    return folder if folder.is_dir() else None


def recordings(*parts: str) -> Path:
    """A folder or file of recordings by name; TraceError says how to get it where it is absent."""
    path = home().joinpath(*parts)
    if not path.exists():
        remedy = f"set RTSYSID_DATA to the folder they lie in, or: rtsysid data get {parts[0]}"
        raise TraceError(f"recordings {'/'.join(parts)}", f"none at {path}", remedy)
    return path
