"""Write files and folders: a complete result replaces the old one, or nothing changes.

`replacing` is the way of every output. `rtsysid.storage.rule` decides which path may be replaced,
`rtsysid.storage.products` recognises kinds of output, and `rtsysid.storage.claim` exchanges the old for the new.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rtsysid.storage.claim import Claim, storage_errors
from rtsysid.storage.products import MARK, Product, write_mark
from rtsysid.storage.products import sha256 as sha256
from rtsysid.storage.rule import require_output as require_output

_log = logging.getLogger(__name__)


@contextmanager
def replacing(
    path: Path | str, product: Product, *, inputs: Sequence[Path | str] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield a path to write; when it is complete it takes the place of `path`, and on failure it is removed.

    Of a folder it is a new empty folder. It keeps the name, because writers choose their format by the suffix. The
    old file is unchanged on failure and while the new one is written, also by a process that is killed. `inputs` and
    `overwrite` are those of `rtsysid.storage.rule.require_output`; a replacement is logged. Raises StorageError where
    the output is refused, where another process is writing it, and where it cannot be written.
    """
    real = require_output(path, product, inputs, overwrite)
    with _claimed(real) as new:
        if product.form == "folder":
            new.mkdir()
        yield new
        require_output(path, product, inputs, overwrite)
        replaced = os.path.lexists(real) and not (real.is_dir() and not any(real.iterdir()))
    if replaced:
        _log.info("replaced %s: %s", product.name, path)


@contextmanager
def rewriting(path: Path) -> Iterator[Path]:
    """Yield a path to write, which then replaces the file `path` in a folder that is ours.

    Raises StorageError where it cannot be written.
    """
    with _claimed(path) as new:
        yield new


def enter(folder: Path | str, product: Product, inputs: Sequence[Path | str] = ()) -> None:
    """Make a workspace, or go on in one. Raises StorageError where the folder is neither empty nor of this kind."""
    real = require_output(folder, product, inputs)
    if not (real / MARK).exists():
        with storage_errors(real):
            real.mkdir(parents=True, exist_ok=True)
            write_mark(real, product)


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    claim = Claim(path)
    try:
        with storage_errors(path):
            yield claim.new
            claim.publish()
    finally:
        claim.release()
