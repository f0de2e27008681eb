"""Look at all of a folder, and make small outputs of every kind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rtsysid.retrieval.index import write_index_manifest


def tree(folder: Path) -> dict[str, str]:
    """Everything in a folder by its path: kind, target of a link, or digest of the content. Locks are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o}"
    return found


def fill_index(folder: Path, text: str) -> None:
    """Write what is known as an index, without recordings, to a folder that exists."""
    (folder / "codes.u8").write_text(text)
    write_index_manifest(folder, {"spec": {"channels": []}, "segments": []})


def put_index(folder: Path, text: str) -> None:
    """Write it to a folder that need not exist."""
    folder.mkdir(exist_ok=True)
    fill_index(folder, text)
