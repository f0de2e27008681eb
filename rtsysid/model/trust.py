"""Note which bundles were exported on this machine: the C library of those alone is loaded without being asked for.

The notes are one file of this user, `rtsysid/trusted` in the state folder: one digest of a bundle per line. Nobody else
may write to it, or it counts for nothing. Where there is no state folder to write to, no bundle is trusted.

Ref: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path

MOST_BYTES = 1 << 20  # about 16,000 bundles; beyond it the oldest half is forgotten
_LINE_BYTES = 65
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def notes() -> Path | None:
    """Return the file of the notes, whether or not it exists; None where this user has no home."""
    stated = os.environ.get("XDG_STATE_HOME", "")
    home = os.path.expanduser("~") if os.environ.get("HOME", "~") else ""  # an empty HOME is none
    folder = stated if os.path.isabs(stated) else os.path.join(home, ".local", "state")
    return Path(folder) / "rtsysid" / "trusted" if os.path.isabs(folder) else None


def is_noted(digest: str) -> bool:
    """Tell whether a bundle with this digest was exported on this machine by this user."""
    path = notes()
    if path is None or sys.platform != "linux":  # libraries are loaded on Linux alone
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        return _is_own(descriptor) and digest.encode() in stream.read(2 * MOST_BYTES).split(b"\n")


def note(digest: str) -> None:
    """Note that a bundle with this digest was exported here; one logged line where it cannot be noted."""
    if sys.platform != "linux":
        return
    path = notes()
    try:
        if path is None:
            raise FileNotFoundError(0, "this user has no home folder")
        _append(path, digest)
    except OSError as error:
        message = "this bundle could not be noted as exported on this machine (%s): its C library needs --backend c"
        logging.getLogger(__name__).warning(message, error.strerror or error)


def _append(path: Path, digest: str) -> None:
    import fcntl

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as stream:
        if not _is_own(stream.fileno()):
            raise PermissionError(0, f"{path} can be written by others")
        fcntl.flock(stream, fcntl.LOCK_EX)
        known = stream.read(2 * MOST_BYTES)
        if digest.encode() in known.split(b"\n"):
            return
        if len(known) + _LINE_BYTES > MOST_BYTES:
            stream.truncate(0)
            stream.write(b"\n".join(known.split(b"\n")[-MOST_BYTES // 2 // _LINE_BYTES :]))
        stream.write(digest.encode() + b"\n")


def _is_own(descriptor: int) -> bool:
    """Tell whether an open file is a regular one of this user, which nobody else may write to."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE
