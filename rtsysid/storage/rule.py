"""Decide whether an output may be written: what the program did not make is never destroyed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rtsysid.errors import StorageError
from rtsysid.storage.claim import storage_errors, try_lock
from rtsysid.storage.products import SEALED, Product


def require_output(
    path: Path | str, product: Product, inputs: Sequence[Path | str] = (), overwrite: bool = False
) -> Path:
    """Check that `path` may become an output of this kind, and return the path to write: links are followed.

    It may where nothing is, where an empty folder is to be filled, and where it replaces an output of the same kind.
    With `overwrite` it may replace any other plain file. It never replaces one of `inputs`, nor what holds one, nor the
    current folder or the home, and nothing is made in a bundle or an index, which would be damaged by it. Raises
    StorageError where it may not, where the suffix is not one of the product, and where the folder around it cannot be
    written.
    """
    path = Path(path)
    with storage_errors(path):
        # A port is itself a link; any other link stays, and what it leads to is judged and replaced.
        real = Path(os.path.abspath(path) if product.form == "link" else os.path.realpath(path))
        output = _Output(path, real, product, tuple(map(Path, inputs)), overwrite)
        output.require_suffix()
        output.require_no_input()
        output.require_apart()
        output.require_place()
        if os.path.lexists(real):
            output.require_replaceable()
    return real


class _Output(NamedTuple):
    path: Path
    real: Path
    product: Product
    inputs: tuple[Path, ...]
    overwrite: bool

    def require_suffix(self) -> None:
        suffixes = self.product.suffixes
        if suffixes and not self.path.name.lower().endswith(suffixes):
            raise self._refusal(f"suffix {self.path.suffix!r}", f"name a {' or '.join(suffixes)} file")

    def require_no_input(self) -> None:
        for each in self.inputs:
            if _same(self.real, each):
                raise self._refusal(f"it is the input {each}")
            if _holds(self.real, each):
                raise self._refusal(f"it holds the input {each}")

    def require_apart(self) -> None:
        """A bundle is refused once it holds a file that it does not list, and so is an index."""
        for folder in self.real.parents:
            for sealed in SEALED:
                if not sealed.foreign(folder):
                    raise self._refusal(f"it lies in the {sealed.name} {folder}, which may hold its own files alone")

    def require_place(self) -> None:
        """Find out before the work, not after it, that the folder around the output cannot take it."""
        steps = self.path.parts
        for before in (Path(*steps[:at]) for at, step in enumerate(steps) if step == ".."):
            if not before.is_dir():
                raise self._refusal(f"its path leads back from {before}, which is no folder")
        around = next((each for each in self.real.parents if os.path.lexists(each)), self.real)
        if not around.is_dir():
            raise self._refusal(f"{around} is not a folder")
        if not os.access(around, os.W_OK | os.X_OK):
            raise self._refusal(f"no permission to write in {around}")

    def require_replaceable(self) -> None:
        mode, form = self.real.lstat().st_mode, self.product.form
        if form == "link":
            foreign = self.product.foreign(self.real)
        elif stat.S_ISREG(mode):
            foreign = self._foreign_file()
        elif stat.S_ISDIR(mode):
            foreign = "it is a folder" if form == "file" else self._foreign_folder()
        else:
            foreign = "it is not a plain file"
        if foreign:
            offered = stat.S_ISREG(mode) and form in ("file", "folder")
            raise self._refusal(foreign, "choose another name" + ", or replace it with --overwrite" * offered)

    def _foreign_file(self) -> str:
        foreign = self.product.foreign(self.real) if self.product.form == "file" else "it is a file"
        if not (foreign and self.overwrite):
            return foreign
        for each in self.inputs:
            if _is_part(self.real, each):
                raise self._refusal(f"it belongs to the input {each}")
        with open(self.real, "rb") as file:
            if not try_lock(file.fileno()):
                raise self._refusal("another process is writing it")
        return ""

    def _foreign_folder(self) -> str:
        foreign = self.product.foreign(self.real) if any(self.real.iterdir()) else ""
        if foreign or (self.product.form == "workspace" and any(self.real.iterdir())):
            return foreign
        places = Path.cwd(), Path(os.path.expanduser("~"))
        return "it is the current folder or your home" if any(_holds(self.real, each) for each in places) else ""

    def _refusal(self, found: str, remedy: str = "choose another place") -> StorageError:
        return StorageError(f"{self.product.name} {self.path}", found, remedy)


def _holds(folder: Path, path: Path) -> bool:
    """Whether a folder is `path`, or one of the folders around it, with and without its links."""
    places = Path(os.path.realpath(path)), Path(os.path.abspath(path))
    return any(_same(folder, each) for place in places for each in (place, *place.parents))


def _is_part(file: Path, folder: Path) -> bool:
    """Whether a file is one of an input folder, also by another name, or lies deeper in it."""
    inside = folder.is_dir() and any(_same(file, each) for each in folder.iterdir())
    return inside or Path(os.path.realpath(folder)) in file.parents


def _same(first: Path, second: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(first, second)
    return first == second
