"""Locate recordings: the folder named by `RTSYSID_DATA`, otherwise the user's data folder.

The repository holds no recordings. The data folder is ``$XDG_DATA_HOME/rtsysid`` or ``~/.local/share/rtsysid``, on
macOS ``~/Library/Application Support/rtsysid``, on Windows ``%LOCALAPPDATA%\\rtsysid``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rtsysid.errors import TraceError


def home() -> Path:
    """Return the folder of recordings. It may not exist yet."""
    named = os.environ.get("RTSYSID_DATA")
    return Path(named) if named else _user_data_folder(sys.platform) / "rtsysid"


def _user_data_folder(platform: str) -> Path:
    user = Path.home()
    if platform == "darwin":
        return user / "Library" / "Application Support"
    if platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local")
    return Path(os.environ.get("XDG_DATA_HOME") or user / ".local" / "share")


def data_folder() -> Path | None:
    """Return the folder of recordings, or None where it does not exist."""
    folder = home()
    return folder if folder.is_dir() else None


def recordings(*parts: str) -> Path:
    """Return the path of a set of recordings, or of a file in it.

    Raises TraceError, with the command that downloads the set, where the path does not exist.
    """
    path = home().joinpath(*parts)
    if not path.exists():
        remedy = f"set RTSYSID_DATA to the folder of your recordings, or run: rtsysid data get {parts[0]}"
        raise TraceError(f"recordings {'/'.join(parts)}", f"none at {path}", remedy)
    return path
