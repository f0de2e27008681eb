"""What several workers of pytest-xdist share: a folder that the first one makes and all others find."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtsysid.recordings.home import home


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on this file; it ends with the process that holds it, whatever happens."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def own_state(config: pytest.Config) -> None:
    """Keep the keys of tests in a folder of this run of pytest, shared by its workers, and not at home."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ.setdefault("RTSYSID_DATA", str(home()))  # recordings lie there, too
        os.environ["XDG_DATA_HOME"] = folder = tempfile.mkdtemp(prefix="rtsysid-keys-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run of pytest, made by `make(folder)` in the first worker that asks for it.

    It is not to be changed. `make` writes into a folder of another name, which is renamed once it is whole.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of a worker is a folder inside that of the run
    folder = base / name
    with locked(base / f"{name}.lock"):
        if not folder.exists():
            scratch = factory.mktemp(name) / "made"
            make(scratch)
            scratch.rename(folder)
    return folder
