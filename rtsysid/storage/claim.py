"""Claim a path, and replace what is there in one step: the mechanics of writing, which judge nothing.

A claim is a folder `.writing-NAME` next to the path NAME:

======== ===================================================================================
lock     the process that writes, and its lock, which ends with the process
new/     the new file or folder while it is written, under its final name
old/     the old one, for the moment between two renames where the system cannot exchange
======== ===================================================================================

A process that is killed leaves this folder. The next claim of the same path puts back what was only half replaced,
removes the rest, and uses the folder again.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rtsysid.errors import StorageError

PREFIX = ".writing-"
_HEADER = b"rtsysid writes here; process "
_LONGEST = 200  # bytes of a name that the folder repeats; file systems end at 255
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # the kernel or the file system has no exchange
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class Claim:
    """Hold the right to write one path. Write to `new`, then call `publish`; `release` in any case.

    Raises StorageError where another process holds it, or where the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self._folder, lock = _acquire(path)
            self.release = weakref.finalize(self, _release, self._folder, lock, os.getpid())
            self._recover()
        self.new = self._folder / "new" / path.name
        self._old = self._folder / "old" / path.name

    def publish(self) -> None:
        """Let `new` take the place of the path, in one step. Raises OSError where that fails; the old one stays."""
        for file in [self.new] if self.new.is_file() else self.new.iterdir():
            _sync(file)
        if _one_rename(self.new, self.path):
            os.replace(self.new, self.path)
        elif not exchange(self.new, self.path):
            self._rename_twice()

    def _rename_twice(self) -> None:
        self._old.parent.mkdir()
        os.rename(self.path, self._old)
        try:
            os.rename(self.new, self.path)
        except BaseException:
            os.rename(self._old, self.path)
            raise

    def _recover(self) -> None:
        """Undo what a killed process left: half a replacement is put back, anything else removed."""
        new, old = (self._folder / name / self.path.name for name in ("new", "old"))
        if os.path.lexists(new) and os.path.lexists(old) and not os.path.lexists(self.path):
            os.rename(old, self.path)
        _remove(self._folder)
        new.parent.mkdir(mode=0o700)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step. Return False where the kernel or the file system cannot.

    Raises OSError where it can, and refuses.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # another system, or an old C library
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(second))


def is_claim(folder: Path) -> bool:
    """Return whether a folder is a claim of ours: its lock says so, and nothing else lies in it."""
    try:
        about, names = os.lstat(folder), set(os.listdir(folder))
        lock = _beginning(folder / "lock") if "lock" in names else b""
    except OSError:
        return False
    mine = stat.S_ISDIR(about.st_mode) and about.st_uid == getattr(os, "getuid", int)()
    begun = names <= {"lock"} and not lock  # killed before it wrote its process
    return mine and names <= {"lock", "new", "old"} and (begun or lock.startswith(_HEADER))


def try_lock(file: int) -> bool:
    """Lock an open file until it is closed. Return False where another process holds the lock.

    A system or file system without such locks gives none.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert an OSError to a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}", reason, "free space or choose another place with -o") from error


def _acquire(path: Path) -> tuple[Path, int]:
    """Make the folder of a claim and lock it. A lock that was removed meanwhile is tried again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = _folder_for(path)
        folder.mkdir(mode=0o700, exist_ok=True)  # fails for good where nothing can be made, as in /proc
        with suppress(FileNotFoundError):  # the process that held it has just removed it
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            if not try_lock(lock):
                holder = os.read(lock, 100).removeprefix(_HEADER).decode("ascii", "replace").strip()
                os.close(lock)
                raise StorageError(f"{path}", f"process {holder or '?'} is writing it", "wait for it, or stop it")
            if _leads_to(folder / "lock", lock):
                os.ftruncate(lock, os.write(lock, _HEADER + f"{os.getpid()}\n".encode()))  # at no time empty
                return folder, lock
            os.close(lock)


def _folder_for(path: Path) -> Path:
    """Name the folder of a claim. A user's file or folder of that name is left alone."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    folder = path.with_name(PREFIX + name)
    while os.path.lexists(folder) and not is_claim(folder):
        folder = folder.with_name(folder.name + "~")
    return folder


def _beginning(lock: Path) -> bytes:
    """Read the first bytes of a lock; a link, a pipe or a device is none."""
    if not stat.S_ISREG(lock.lstat().st_mode):
        return b"?"
    with open(lock, "rb") as stream:
        return stream.read(len(_HEADER))


def _leads_to(path: Path, file: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file))
    return False


def _release(folder: Path, lock: int, process: int) -> None:
    """Remove the folder and give the lock back. A child that was forked off leaves both to its parent."""
    if os.getpid() == process:
        _remove(folder)
        with suppress(OSError):
            os.unlink(folder / "lock")
            os.rmdir(folder)
    os.close(lock)


def _remove(folder: Path) -> None:
    for name in ("new", "old"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _one_rename(new: Path, path: Path) -> bool:
    """Whether one rename replaces `path`: nothing is there, a file takes the place of a file, or it is empty."""
    if not os.path.lexists(path):
        return True
    if new.is_dir():
        return path.is_dir() and not any(path.iterdir())
    return not path.is_dir()


def _sync(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
