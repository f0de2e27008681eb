"""Writing without harm: a result appears whole under its name or not at all."""

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
    """Yield a temporary name beside `path`; on success it takes the place of `path`, on failure it is removed.

    The temporary name keeps the suffixes, since writers choose their format by them. A full disk, a missing right or
    a missing folder becomes a one-line StorageError, and whatever stood at `path` is untouched.
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
    """Yield a new empty folder that replaces the folder `path` when the block ends well."""
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
    """Hex digest of a file's bytes."""
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
