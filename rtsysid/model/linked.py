"""Point a link at a bundle, and back at the one before: LINK leads to the bundle that runs, LINK.before to the last.

Both are symbolic links and are replaced in one step. Nothing else is ever replaced.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from rtsysid.errors import BundleError, StorageError
from rtsysid.model.bundle import Bundle
from rtsysid.model.manifest import NAME, read_manifest

_SUFFIX = ".before"


def previous(link: Path) -> Path | None:
    """Return the folder of the bundle before the one that a link leads to; None where nobody noted one."""
    noted = _before(link)
    return Path(os.path.realpath(noted)) if noted.is_symlink() else None


def note_previous(link: Path, folder: Path) -> None:
    """Note that `folder` was the bundle of this link. Raises StorageError where it cannot be noted."""
    _replace(_before(link), folder)


def point(link: Path, folder: Path) -> Bundle:
    """Point a link at the bundle in `folder`, and note the one before; return the bundle.

    Raises BundleError where `folder` holds none, StorageError where `link` is no symbolic link, or cannot be replaced.
    """
    bundle = Bundle.open(folder)
    _require_link(link)
    former = Path(os.path.realpath(link)) if link.is_symlink() else None
    _replace(link, folder)
    if former is not None and former != Path(os.path.realpath(folder)):
        note_previous(link, former)
    return bundle


def _require_link(link: Path) -> None:
    """Raise StorageError where something else than a symbolic link has this name."""
    if os.path.lexists(link) and not link.is_symlink():
        found = "it is a folder, and no link to one" if link.is_dir() else "it is a file"
        raise StorageError(f"link {link}", found, "give each bundle a folder of its own, and a link: ln -s BUNDLE LINK")


def roll_back(link: Path) -> Bundle:
    """Point a link at the bundle before; twice leads back. Raises BundleError where none is noted; see `point`."""
    folder = previous(link)
    if folder is None:
        _require_link(link)
        remedy = "name the bundle: rtsysid rollback LINK --to BUNDLE"
        raise BundleError(f"link {link}", f"no bundle before this one is noted as {_before(link).name}", remedy)
    return point(link, folder)


def neighbours(place: Path, ids: Collection[str]) -> dict[str, Bundle]:
    """Return the bundles of these ids that lie next to a bundle, or to the link that leads to it.

    A damaged one is left out.
    """
    found: dict[str, Bundle] = {}
    for parent in {place.absolute().parent, Path(os.path.realpath(place)).parent} if ids else ():
        for each in sorted(parent.iterdir()):
            with suppress(BundleError):
                name = read_manifest(each).digest[:12] if (each / NAME).is_file() else ""
                if name in ids and name not in found:
                    found[name] = Bundle.open(each)
    return found


def _before(link: Path) -> Path:
    return link.with_name(link.name + _SUFFIX)


def _replace(link: Path, folder: Path) -> None:
    """Let a link lead to a folder, in one step; by a relative path where both lie in one folder."""
    target = Path(os.path.realpath(folder))
    near = target.parent == Path(os.path.realpath(link.parent))
    if os.path.lexists(link) and not link.is_symlink():
        raise StorageError(f"link {link}", "something else has this name", "move it away")
    new = link.with_name(f".{link.name}-{secrets.token_hex(4)}")
    try:
        os.symlink(target.name if near else target, new)
        os.replace(new, link)
    except OSError as error:
        raise StorageError(f"link {link}", error.strerror or str(error), "check the rights of its folder") from None
