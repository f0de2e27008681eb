"""Note which bundles were exported on this machine: the C library of those alone is loaded without being asked for.

The notes are one file of this user, `rtsysid/trusted` in the state folder: one digest of a bundle per line. Nobody else
may write to it or to the folder around it, or it counts for nothing. Lines that are no digests are passed over. Where
there is no state folder to write to, no bundle is trusted.

Ref: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

MOST_BYTES = 1 << 20  # about 16,000 bundles; beyond it the oldest half is forgotten
_LINE_BYTES = 65
_DIGEST = re.compile(rb"^[0-9a-f]{64}$", re.MULTILINE)
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
        with _opened(path, os.O_RDONLY) as stream:
            return digest.encode() in _digests(stream)
    except OSError:
        return False


def note(digest: str) -> None:
    """Note that a bundle with this digest was exported here; one logged line where it cannot be noted."""
    if sys.platform != "linux":
        return
    path = notes()
    try:
        if path is None:
            raise FileNotFoundError(0, "this user has no home folder")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path, os.O_RDWR | os.O_CREAT) as stream:
            _append(stream, digest.encode())
    except OSError as error:
        message = "this bundle could not be noted as exported on this machine (%s): its C library needs --backend c"
        logging.getLogger(__name__).warning(message, error.strerror or error)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[IO[bytes]]:
    """Open the notes. Raises PermissionError where others could have written them, OSError as `os.open`."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
        own = _is_own(folder, stat.S_ISDIR) and _is_own(file, stat.S_ISREG)
    finally:
        os.close(folder)
    if not own:
        os.close(file)
        raise PermissionError(0, f"{path} can be written by others")
    with os.fdopen(file, "r+b" if flags & os.O_RDWR else "rb") as stream:
        yield stream


def _digests(stream: IO[bytes]) -> list[bytes]:
    """Read the digests at the end of the notes, which are the newest, as far as a file of the largest size reaches."""
    stream.seek(max(0, os.fstat(stream.fileno()).st_size - MOST_BYTES))
    return _DIGEST.findall(stream.read(MOST_BYTES))


def _append(stream: IO[bytes], digest: bytes) -> None:
    """Add a digest. Where the file is full, or holds anything else, the newest digests are written over it.

    All lines have the same length, so that another process reads only whole ones.
    """
    import fcntl

    fcntl.flock(stream, fcntl.LOCK_EX)
    known, size = _digests(stream), os.fstat(stream.fileno()).st_size
    if digest in known:
        return
    keeps_all = size == len(known) * _LINE_BYTES and size + _LINE_BYTES <= MOST_BYTES
    kept = [] if keeps_all else known[-(MOST_BYTES // 2 // _LINE_BYTES) :]
    stream.seek(size if keeps_all else 0)
    stream.write(b"".join(each + b"\n" for each in (*kept, digest)))
    stream.truncate()


def _is_own(descriptor: int, is_kind: Callable[[int], bool]) -> bool:
    """Tell whether what is open is of this kind and of this user, and nobody else may write to it."""
    status = os.fstat(descriptor)
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE
