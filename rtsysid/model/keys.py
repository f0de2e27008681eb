"""Keep the keys of this user: one to sign bundles with, and the public keys of makers whose bundles are trusted.

They lie in `rtsysid/keys` of the user's data folder. `signing_key` (mode 0600) is the private key, made when it is
first needed. `trusted_keys` has one public key per line, as 64 hexadecimal digits, and a name. Nobody else may write
to the files or to their folder, or they count for nothing.

Ref: RFC 8032, Ed25519. XDG Base Directory Specification 0.8, XDG_DATA_HOME.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rtsysid.errors import BundleError

MOST_KEYS = 1000
MOST_BYTES = 1 << 18
LONGEST_NAME = 60
_LINE = re.compile(r"([0-9a-f]{64})(?: (.*))?")
_KEY = re.compile(r"[0-9a-f]{64}")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def key_folder() -> Path | None:
    """Return the folder of the keys, whether or not it exists; None where this user has no home, or not on POSIX."""
    if os.name != "posix":
        return None
    stated = os.environ.get("XDG_DATA_HOME", "")
    home = os.path.expanduser("~") if os.environ.get("HOME", "~") else ""  # an empty HOME is none
    folder = stated if os.path.isabs(stated) else os.path.join(home, ".local", "share")
    return Path(folder) / "rtsysid" / "keys" if os.path.isabs(folder) else None


def private_key() -> bytes | None:
    """Return the private key of this user, 32 bytes; None where there is none that only this user can read."""
    text = _key_text("signing_key", _OTHERS_READ | _OTHERS_WRITE)
    return bytes.fromhex(text.strip()) if text is not None and _KEY.fullmatch(text.strip()) else None


def make_private_key() -> bytes:
    """Return the private key of this user, and make it where there is none.

    Raises OSError where it cannot be kept: there is no home folder, or others can read the key or write to its folder.
    """
    if (known := private_key()) is not None:
        return known
    folder = _made_folder()
    _write_new(folder, "signing_key", f"{secrets.token_hex(32)}\n", replace=False)
    if (made := private_key()) is None:
        raise PermissionError(0, f"{folder / 'signing_key'} can be read or written by others, or holds no key")
    return made


def trusted_keys() -> dict[str, str]:
    """Return the trusted public keys, as hexadecimal text, with their names."""
    text = _key_text("trusted_keys", _OTHERS_WRITE) or ""
    found = [match for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    return {match[1]: match[2] or "" for match in found[:MOST_KEYS]}


def set_trusted_keys(keys: dict[str, str]) -> None:
    """Replace the trusted keys. Raises OSError where they cannot be kept, BundleError for more than `MOST_KEYS`."""
    if len(keys) > MOST_KEYS:
        raise BundleError("trusted keys", f"{len(keys)}, more than {MOST_KEYS}", "remove some: rtsysid trust remove")
    _write_new(_made_folder(), "trusted_keys", "".join(f"{key} {name}".rstrip() + "\n" for key, name in keys.items()))


def read_key(text: str) -> tuple[str, str]:
    """Read a public key and its name from 64 hexadecimal digits, or from a file that `rtsysid trust key` wrote.

    Raises BundleError where it is neither.
    """
    if _KEY.fullmatch(text.lower()):
        return text.lower(), ""
    try:
        with open(text, "rb") as stream:
            line = stream.read(1000).decode("utf-8", "replace").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        line = f"it is no file ({getattr(error, 'strerror', None) or error})"
    match = _LINE.fullmatch(line)
    if match is None:
        remedy = "give 64 hexadecimal digits, or the file that rtsysid trust key > FILE wrote on the maker's machine"
        raise BundleError(f"key {text}", line[:60] or "the file is empty", remedy)
    return match[1], plain_name(match[2] or "")


def plain_name(name: str) -> str:
    """Return a name for a key as one printable line of at most `LONGEST_NAME` letters."""
    return "".join(letter for letter in " ".join(name.split()) if letter.isprintable())[:LONGEST_NAME]


def _made_folder() -> Path:
    folder = key_folder()
    if folder is None:
        raise FileNotFoundError(0, "this user has no home folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _folder_opened(folder):
        return folder


def _key_text(name: str, forbidden: int) -> str | None:
    """Return the text of a file of this user; None where there is none that counts. `forbidden`: bits of its mode."""
    folder = key_folder()
    if folder is None:
        return None
    try:
        with _folder_opened(folder) as opened, _file_opened(name, opened, forbidden) as stream:
            return stream.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None


def _write_new(folder: Path, name: str, text: str, *, replace: bool = True) -> None:
    """Write a file of this user under another name, and give it its own in one step."""
    with _folder_opened(folder) as opened:
        new = f".{name}-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=opened), "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        try:
            if replace:
                os.replace(new, name, src_dir_fd=opened, dst_dir_fd=opened)
            else:  # another process may have made it meanwhile: that one stays
                with suppress(FileExistsError):
                    os.link(new, name, src_dir_fd=opened, dst_dir_fd=opened)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=opened)


@contextmanager
def _folder_opened(path: Path) -> Iterator[int]:
    """Open the folder. Raises PermissionError where others could have written in it, OSError as `os.open`."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _require_own(folder, stat.S_ISDIR, _OTHERS_WRITE, path)
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _file_opened(name: str, folder: int, forbidden: int) -> Iterator[IO[bytes]]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as stream:
        _require_own(stream.fileno(), stat.S_ISREG, forbidden, Path(name))
        yield stream


def _require_own(descriptor: int, is_kind: Callable[[int], bool], forbidden: int, path: Path) -> None:
    """Check that what is open is of this kind and of this user, without mode bits that give it to others."""
    status = os.fstat(descriptor)
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & forbidden:
        raise PermissionError(0, f"{path} belongs to others, or can be read or written by them")
