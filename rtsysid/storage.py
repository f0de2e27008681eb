"""Write files atomically: a complete result replaces the old one, or nothing changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtsysid.errors import StorageError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. On success it replaces `path`; on failure it is removed.

    The temporary name keeps the suffixes, because writers choose their format by suffix. An old file at `path` is
    unchanged on failure. Raises StorageError where the file cannot be written: full disk, no permission.
    """
    path = Path(path)
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        with _storage_errors(path):
            yield scratch / path.name
            _sync(scratch / path.name)
            os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield a new empty folder. On success it replaces the folder `path`; on failure it is removed.

    Raises StorageError where the folder cannot be written.
    """
    path = Path(path)
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        with _storage_errors(path):
            (scratch / "new").mkdir()
            yield scratch / "new"
            for file in (scratch / "new").iterdir():
                _sync(file)
            if path.exists():
                os.replace(path, scratch / "old")
            os.replace(scratch / "new", path)
    except BaseException:
        if (scratch / "old").exists() and not path.exists():
            os.replace(scratch / "old", path)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as hexadecimal text. Raises OSError where the file cannot be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}", reason, "free space or choose another place with -o") from error
